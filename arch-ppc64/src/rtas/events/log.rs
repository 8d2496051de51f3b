//! Logs of events as a guest gets them (LoPAPR §10.3): a fixed part of eight bytes, and behind it
//! an extended log of version 6, which consists of sections.

use std::time::Duration;

use crate::hotplug::{Action, Event, EventKind};
use crate::rtas::clock::civil;

/// The fixed part: version, a byte of flags, who had part in it, type, length of what follows.
pub(super) const FIXED_BYTES: usize = 8;
/// Where the fixed part says how much follows.
const LENGTH_AT: usize = 4;

/// No log is longer, in bytes: the value of `rtas-error-log-max` (LoPAPR §7.2.6.1).
pub const ERROR_LOG_BYTES_MAX: u32 = 2048;

const VERSION_6: u8 = 6;
/// Severity "event" (§10.3.1): nothing is broken.
const SEVERITY_EVENT: u8 = 1 << 5;
/// Disposition "not recovered": it is for the system to do something.
const NOT_RECOVERED: u8 = 2 << 3;
/// An extended log follows.
const HAS_EXTENSION: u8 = 1 << 2;
/// What the upper half of the fixed part's third byte says of who began it (§10.3.1).
const NOBODY_IN_PARTICULAR: u8 = 0;
const BY_HOT_PLUG: u8 = 6 << 4;
/// Type of an environmental and power warning.
const TYPE_EPOW: u8 = 0x40;
/// Type of a hotplug event.
const TYPE_HOT_PLUG: u8 = 0xe5;

/// What the "main-B" section says an event is about (§10.3.2, subsystem and event sub-type).
const SHUTDOWN: [u8; 2] = [EXTERNAL_ENVIRONMENT, 0xd0];
const RECONFIGURATION: [u8; 2] = [PLATFORM_FIRMWARE, 0x80];
const EXTERNAL_ENVIRONMENT: u8 = 0xa0;
const PLATFORM_FIRMWARE: u8 = 0x80;

/// The extended log's first byte: valid, new, big-endian (§10.3.2).
const VALID_NEW_BIG_ENDIAN: u8 = 0x80 | 0x04 | 0x02;
/// Its third byte: PowerPC format, "platform event log" as the format of what follows.
const PLATFORM_EVENT_LOG: u8 = 0x80 | 0x0e;
const COMPANY: &[u8; 4] = b"IBM\0";

/// A request to switch the machine off, for a system that may take its time: EPOW "system
/// shutdown" with the modifier "normal" (§10.3.2, EPOW section).
///
/// `id` tells events of a machine from each other; `time` is since 1970.
pub(super) fn normal_shutdown(id: u32, time: Duration) -> Vec<u8> {
    const SYSTEM_SHUTDOWN: u8 = 3;
    const NORMAL: u8 = 1;
    const OF_THIS_PARTITION: u8 = 1;
    let mut epow = [0; 12];
    epow[..3].copy_from_slice(&[SYSTEM_SHUTDOWN, NORMAL, OF_THIS_PARTITION]);
    let what = section(b"EP", &epow);
    log([NOBODY_IN_PARTICULAR, TYPE_EPOW], &main_a(id, time, 3), SHUTDOWN, &what)
}

/// A request to take something or to give it back (§10.3.2, table "Hotplug Section"): of one
/// connector by its index, of several by how many there are from one on.
pub(super) fn hot_plug(id: u32, time: Duration, event: &Event) -> Vec<u8> {
    const CPU: u8 = 1;
    const MEMORY: u8 = 2;
    const PCI: u8 = 5;
    const BY_INDEX: u8 = 2;
    const BY_COUNT_AND_INDEX: u8 = 4;
    /// The guest is to do what it can of it, and need not undo that where it cannot do all.
    const NOT_TRANSACTIONAL: u8 = 0x40;
    let resource = match event.kind() {
        EventKind::Core => CPU,
        EventKind::Memory => MEMORY,
        EventKind::Slot => PCI,
    };
    let action = match event.action {
        Action::Add => 1,
        Action::Remove => 2,
    };
    let mut what = vec![resource, action];
    if event.count == 1 {
        what.extend_from_slice(&[BY_INDEX, 0]);
    } else {
        what.extend_from_slice(&[BY_COUNT_AND_INDEX, NOT_TRANSACTIONAL]);
        what.extend_from_slice(&event.count.to_be_bytes());
    }
    what.extend_from_slice(&event.first.to_be_bytes());
    let what = section(b"HP", &what);
    log([BY_HOT_PLUG, TYPE_HOT_PLUG], &main_a(id, time, 3), RECONFIGURATION, &what)
}

/// As much of a log as there is room for: what is behind the fixed part is cut, and the fixed part
/// says how much is left of it. `None` where not even that has room.
pub(super) fn cut(mut log: Vec<u8>, room: usize) -> Option<Vec<u8>> {
    if room < FIXED_BYTES {
        return None;
    }
    log.truncate(room);
    let extended = log.len() - FIXED_BYTES;
    log[LENGTH_AT..FIXED_BYTES].copy_from_slice(&(extended as u32).to_be_bytes());
    if extended == 0 {
        log[1] &= !HAS_EXTENSION;
    }
    Some(log)
}

/// The log of an event: who began it and its type, when it was, what it is about, and the section of
/// its own.
fn log([by, kind]: [u8; 2], main_a: &[u8], about: [u8; 2], what: &[u8]) -> Vec<u8> {
    let sections = [&section(b"PH", main_a)[..], &section(b"UH", &main_b(about)), what].concat();
    let mut extended = [0; 16];
    (extended[0], extended[2]) = (VALID_NEW_BIG_ENDIAN, PLATFORM_EVENT_LOG);
    extended[12..].copy_from_slice(COMPANY);
    let flags = SEVERITY_EVENT | NOT_RECOVERED | HAS_EXTENSION;
    let mut log = vec![VERSION_6, flags, by, kind];
    log.extend_from_slice(&((extended.len() + sections.len()) as u32).to_be_bytes());
    log.extend_from_slice(&extended);
    log.extend_from_slice(&sections);
    log
}

/// A section: its id, its length with this header, its version, and what it says.
fn section(id: &[u8; 2], data: &[u8]) -> Vec<u8> {
    const HEADER_BYTES: usize = 8;
    const VERSION: u8 = 1;
    let mut section = id.to_vec();
    section.extend_from_slice(&((HEADER_BYTES + data.len()) as u16).to_be_bytes());
    // No subtype, and no component that made it.
    section.extend_from_slice(&[VERSION, 0, 0, 0]);
    section.extend_from_slice(data);
    section
}

/// The "main-A" section: when, by whom, how many sections, which event.
fn main_a(id: u32, time: Duration, sections: u8) -> [u8; 40] {
    const BY_THE_HYPERVISOR: u8 = b'H';
    let [year, month, day, hour, minute, second, ns] = civil(time);
    let hundredth = ns / 10_000_000;
    let mut data = [0; 40];
    let when = [year / 100, year % 100, month, day, hour, minute, second, hundredth];
    for (to, number) in data.iter_mut().zip(when) {
        *to = bcd(number);
    }
    (data[16], data[19]) = (BY_THE_HYPERVISOR, sections);
    data[32..36].copy_from_slice(&id.to_be_bytes());
    data
}

/// The "main-B" section: what the event is about.
fn main_b([subsystem, kind]: [u8; 2]) -> [u8; 16] {
    const INFORMATIONAL: u8 = 0;
    let mut data = [0; 16];
    (data[0], data[2], data[3]) = (subsystem, INFORMATIONAL, kind);
    data
}

/// Two decimal digits.
fn bcd(number: u32) -> u8 {
    (number / 10 % 10 * 16 + number % 10) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    // 2024-02-29 12:34:56.78 UTC.
    const TIME: Duration = Duration::new(1_709_210_096, 780_000_000);

    /// Byte for byte, as §10.3 draws it.
    #[test]
    fn shutdown_is_a_log_of_three_sections() {
        let log = normal_shutdown(0x0102_0304, TIME);
        assert!(log.len() <= ERROR_LOG_BYTES_MAX as usize);
        assert_eq!(log[..8], [6, 0x34, 0, 0x40, 0, 0, 0, 108]);
        assert_eq!(log[8..24], *b"\x86\0\x8e\0\0\0\0\0\0\0\0\0IBM\0");
        assert_eq!(log[24..32], *b"PH\0\x30\x01\0\0\0");
        assert_eq!(log[32..40], [0x20, 0x24, 0x02, 0x29, 0x12, 0x34, 0x56, 0x78]);
        assert_eq!(
            log[40..72],
            *b"\0\0\0\0\0\0\0\0H\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\x03\x04\0\0\0\0"
        );
        assert_eq!(log[72..96], *b"UH\0\x18\x01\0\0\0\xa0\0\0\xd0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(log[96..], *b"EP\0\x14\x01\0\0\0\x03\x01\x01\0\0\0\0\0\0\0\0\0");
    }

    /// Section "HP": resource, action, identifier type, capabilities, identifier (§10.3.2).
    #[test]
    fn hotplug_names_one_connector_or_counts_several() {
        let event = Event { action: Action::Remove, first: 0x1000_0003, count: 1 };
        let log = hot_plug(7, TIME, &event);
        assert_eq!(log[..8], [6, 0x34, 0x60, 0xe5, 0, 0, 0, 104]);
        assert_eq!(log[72..96], *b"UH\0\x18\x01\0\0\0\x80\0\0\x80\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(log[96..], *b"HP\0\x10\x01\0\0\0\x01\x02\x02\0\x10\0\0\x03");
        let event = Event { action: Action::Add, first: 0x8000_0010, count: 4 };
        let log = hot_plug(7, TIME, &event);
        assert_eq!(log[4..8], [0, 0, 0, 108]);
        assert_eq!(log[96..], *b"HP\0\x14\x01\0\0\0\x02\x01\x04\x40\0\0\0\x04\x80\0\0\x10");
        let event = Event { action: Action::Add, first: 0x4000_0003, count: 1 };
        let log = hot_plug(7, TIME, &event);
        assert_eq!(log[96..], *b"HP\0\x10\x01\0\0\0\x05\x01\x02\0\x40\0\0\x03");
    }

    #[test]
    fn cut_log_says_how_much_is_left() {
        let log = normal_shutdown(1, TIME);
        assert_eq!(cut(log.clone(), 7), None);
        assert_eq!(cut(log.clone(), 8).unwrap(), [6, 0x30, 0, 0x40, 0, 0, 0, 0]);
        let some = cut(log.clone(), 40).unwrap();
        assert_eq!((some.len(), &some[..8]), (40, &[6, 0x34, 0, 0x40, 0, 0, 0, 32][..]));
        assert_eq!(some[8..], log[8..40]);
        assert_eq!(cut(log.clone(), usize::MAX).unwrap(), log);
    }
}
