//! Device input and output (IEEE 1275 §6.3.2.3).

use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::Console;

use super::{Call, Reply};
use crate::args::{Failed, PATH_ROOM, characters};
use crate::instances::Kind;
use crate::limits::{MAX_INSTANCES, MAX_TRANSFER_BYTES, MAX_WRITE_WAIT};

/// How much text passes between guest and console at once.
const CHUNK_BYTES: usize = 256;

/// How long a `write` waits before it looks whether the console takes more.
const WRITE_PAUSE: Duration = Duration::from_millis(1);

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
    let len = (len as usize).min(MAX_TRANSFER_BYTES);
    // What was typed is not to be lost because the buffer is none.
    call.guest.check(buffer, len)?;
    let mut done = 0;
    while done < len {
        let mut chunk = [0; CHUNK_BYTES];
        let wanted = chunk.get_mut(..CHUNK_BYTES.min(len - done)).unwrap_or_default();
        let read = console.read(wanted).min(wanted.len());
        call.guest.write(buffer + done as u32, wanted.get(..read).unwrap_or_default())?;
        done += read;
        if read < wanted.len() {
            break;
        }
    }
    Ok(if done == 0 && len > 0 { NOTHING_YET } else { done as u32 }.into())
}

/// write (ihandle, buffer, length) → how many bytes were written, or −1.
///
/// Clients do not look at the result: Linux's last words would be lost in a terminal that is slow.
/// So this waits for one, a little.
pub(super) fn write(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [ihandle, buffer, len] = call.arguments();
    let console = console(call, ihandle)?;
    let len = (len as usize).min(MAX_TRANSFER_BYTES);
    call.guest.check(buffer, len)?;
    let (mut done, mut waited) = (0, Duration::ZERO);
    while done < len {
        let mut chunk = [0; CHUNK_BYTES];
        let text = chunk.get_mut(..CHUNK_BYTES.min(len - done)).unwrap_or_default();
        call.guest.read(buffer + done as u32, text)?;
        let taken = console.write(text).min(text.len());
        done += taken;
        if taken == 0 {
            if waited >= MAX_WRITE_WAIT {
                break;
            }
            std::thread::sleep(WRITE_PAUSE);
            waited += WRITE_PAUSE;
        }
    }
    Ok((done as u32).into())
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
