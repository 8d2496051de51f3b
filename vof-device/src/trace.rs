//! The trace of client calls, one a line: `vcpu0 client getprop(0x3, "bootargs", 0xfe00, 0x100) = 0xd`.

use std::fmt::Write;

use arch_ppc64::{CpuIndex, Status, TRACE_TARGET};

use crate::args::{ArgumentArray, Guest, Results};
use crate::limits::MAX_CALL_CELLS;
use crate::services::{self, NAME_ROOM};

/// As much of a string as is shown.
const SHOWN_BYTES: usize = 80;

/// The call that an array asks for, as text.
pub(crate) fn call(guest: Guest<'_>, array: &ArgumentArray<'_>) -> String {
    let mut room = NAME_ROOM;
    let name = guest.text(array.service(), &mut room);
    let service = name.ok().and_then(services::find).map(|(_, service)| service.name());
    let mut text = match (service, name) {
        (Some(service), _) => service.to_owned(),
        (None, Ok(name)) => format!("\"{}\"", name.escape_ascii()),
        (None, Err(_)) => format!("[{:#x}]", array.service()),
    };
    let arguments = array.arguments();
    let cells = arguments.first::<MAX_CALL_CELLS>();
    let strings = strings(service.unwrap_or_default());
    text.push('(');
    for (number, cell) in cells.iter().take(arguments.count()).enumerate() {
        text.push_str(if number == 0 { "" } else { ", " });
        // Writing to a string cannot fail.
        let _ = match strings.contains(&number).then(|| shown(guest, *cell)).flatten() {
            Some(string) => write!(text, "\"{string}\""),
            None => write!(text, "{cell:#x}"),
        };
    }
    text.push(')');
    text
}

/// Writes a line about a call that was answered.
pub(crate) fn tell(caller: CpuIndex, call: &str, status: Status, results: &Results) {
    let mut line = format!("{caller} client {call} =");
    for result in results.iter() {
        let _ = write!(line, " {result:#x}");
    }
    if status != Status::SUCCESS {
        let _ = write!(line, " ({status})");
    }
    log::trace!(target: TRACE_TARGET, "{line}");
}

/// Which arguments of a service are strings.
fn strings(service: &str) -> &'static [usize] {
    match service {
        "test" | "finddevice" | "open" | "canon" | "call-method" => &[0],
        "getprop" | "getproplen" | "nextprop" | "setprop" | "test-method" => &[1],
        _ => &[],
    }
}

fn shown(guest: Guest<'_>, at: u32) -> Option<String> {
    // No string is where the address is 0: `nextprop` takes that for "the first".
    if at == 0 {
        return None;
    }
    let mut room = [0; SHOWN_BYTES];
    let text = guest.text(at, &mut room).ok()?;
    Some(text.escape_ascii().to_string())
}
