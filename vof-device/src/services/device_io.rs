//! Device input and output (IEEE 1275 §6.3.2.3).

use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::Console;

use super::{Call, Reply};
use crate::args::{Failed, Guest, PATH_ROOM, characters};
use crate::instances::Kind;
use crate::limits::{EMPTY_READ_WAIT, MAX_INSTANCES, MAX_TRANSFER_BYTES, MAX_WRITE_WAIT};

/// How much text passes between guest and console at once.
const CHUNK_BYTES: usize = 256;

/// How long a `write` waits before it looks whether the console takes more.
const WRITE_PAUSE: Duration = Duration::from_millis(1);

/// How many reads in a row that find nothing are answered at once.
const EAGER_READS: u32 = 32;

/// The result of a `read` that finds nothing yet: −2.
const NOTHING_YET: u32 = -2_i32 as u32;

/// open (device specifier) → ihandle, or 0.
///
/// Every package can be opened; most of them have no other methods.
pub(super) fn open(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [path] = call.arguments();
    let mut text = PATH_ROOM;
    let path = characters(call.guest.text(path, &mut text)?)?;
    let found = call.state.tree.resolve(path).ok_or(Failed)?;
    let (node, arguments) = (found.node, found.arguments.to_owned());
    match call.state.open(node, &arguments) {
        Some(ihandle) => Ok(ihandle.into()),
        None => {
            let complaints = &mut call.state.complaints;
            complaints.tell(format_args!("open: {MAX_INSTANCES} packages are open, the most"));
            Err(Failed)
        }
    }
}

/// close (ihandle).
pub(super) fn close(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [ihandle] = call.arguments();
    if call.state.instances.close(ihandle) { Ok(Reply::default()) } else { Err(Failed) }
}

/// read (ihandle, buffer, length) → how many bytes were read; −2 when there are none yet, −1 when
/// there never are.
pub(super) fn read(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [ihandle, buffer, len] = call.arguments();
    let console = console(call, ihandle)?;
    Ok(poll(call, &*console, buffer, len)?.into())
}

/// What `read` does, for any instance of a console.
///
/// A client that waits for a key asks again and again: it is made to sleep a little then.
pub(super) fn poll(
    call: &mut Call<'_>,
    console: &dyn Console,
    buffer: u32,
    len: u32,
) -> Result<u32, Failed> {
    let read = read_from(console, call.guest, buffer, len)?;
    if read != NOTHING_YET {
        call.state.empty_reads = 0;
    } else if call.state.empty_reads < EAGER_READS {
        call.state.empty_reads += 1;
    } else {
        console.wait(EMPTY_READ_WAIT);
    }
    Ok(read)
}

fn read_from(
    console: &dyn Console,
    guest: Guest<'_>,
    buffer: u32,
    len: u32,
) -> Result<u32, Failed> {
    let len = (len as usize).min(MAX_TRANSFER_BYTES);
    // What was typed is not to be lost because the buffer is none.
    guest.check(buffer, len)?;
    let mut done = 0;
    while done < len {
        let mut chunk = [0; CHUNK_BYTES];
        let wanted = chunk.get_mut(..CHUNK_BYTES.min(len - done)).unwrap_or_default();
        let read = console.read(wanted).min(wanted.len());
        guest.write(buffer + done as u32, wanted.get(..read).unwrap_or_default())?;
        done += read;
        if read < wanted.len() {
            break;
        }
    }
    Ok(if done == 0 && len > 0 { NOTHING_YET } else { done as u32 })
}

/// write (ihandle, buffer, length) → how many bytes were written, or −1.
///
/// Clients do not look at the result: Linux's last words would be lost in a terminal that is slow.
/// So this waits for one, a little.
pub(super) fn write(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [ihandle, buffer, len] = call.arguments();
    let console = console(call, ihandle)?;
    Ok(write_to(&*console, call.guest, buffer, len)?.into())
}

/// What `write` does, for any instance of a console.
pub(super) fn write_to(
    console: &dyn Console,
    guest: Guest<'_>,
    buffer: u32,
    len: u32,
) -> Result<u32, Failed> {
    let len = (len as usize).min(MAX_TRANSFER_BYTES);
    guest.check(buffer, len)?;
    let (mut done, mut waited) = (0, Duration::ZERO);
    while done < len {
        let mut chunk = [0; CHUNK_BYTES];
        let text = chunk.get_mut(..CHUNK_BYTES.min(len - done)).unwrap_or_default();
        guest.read(buffer + done as u32, text)?;
        let mut rest = &*text;
        while !rest.is_empty() {
            let taken = console.write(rest).min(rest.len());
            rest = rest.get(taken..).unwrap_or_default();
            done += taken;
            if taken == 0 {
                if waited >= MAX_WRITE_WAIT {
                    return Ok(done as u32);
                }
                std::thread::sleep(WRITE_PAUSE);
                waited += WRITE_PAUSE;
            }
        }
    }
    Ok(done as u32)
}

/// seek (ihandle, high, low) → −1: a console has no places to go to.
pub(super) fn seek(_call: &mut Call<'_>) -> Result<Reply, Failed> {
    Err(Failed)
}

fn console(call: &Call<'_>, ihandle: u32) -> Result<Arc<dyn Console>, Failed> {
    let instance = call.state.instances.get(ihandle).ok_or(Failed)?;
    match &call.state.console {
        Some(console) if instance.kind == Kind::Console => Ok(console.device.clone()),
        _ => Err(Failed),
    }
}
