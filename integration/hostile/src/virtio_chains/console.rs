//! The console device, at a socket with somebody at it, or at none.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use pseries_devices::console::{Console, ConsoleSize};
use pseries_devices::host_console::{HostEnd, NullEnd, SocketEnd};
use vmm_sys_util::tempdir::TempDir;

use crate::device_ram::{DeviceRam, address};
use crate::input::Input;

use super::kind::{Buffer, Host, Made, Request};
use super::{Goals, length};

pub(super) const GOALS: &[&str] = &["text is shown", "text is typed"];
const SHOWN: usize = 0;
const TYPED: usize = 1;

/// Queues: typed text, and text to be shown.
const RX: usize = 0;
const TX: usize = 1;

pub(super) fn make(flags: u8) -> Made {
    let folder = TempDir::new().expect("a folder");
    let path = folder.as_path().join("console");
    let end: Box<dyn HostEnd> = match flags & 1 {
        0 => Box::new(SocketEnd::listen(&path).expect("a socket")),
        _ => Box::new(NullEnd::new()),
    };
    let mut console = Console::new(end);
    if flags & 2 != 0 {
        console = console.with_size(ConsoleSize { columns: 80, rows: 25 });
    }
    let host = Terminal { path, stream: None, _folder: folder };
    Made { device: Box::new(console), host: Box::new(host) }
}

struct Terminal {
    path: PathBuf,
    stream: Option<UnixStream>,
    // Goes last.
    _folder: TempDir,
}

impl Host for Terminal {
    fn request(&self, _: &DeviceRam, _: u64, queue: usize, input: &mut Input<'_>) -> Request {
        let count = input.byte() % 4;
        let is_writable = queue % 2 == RX;
        let buffer = |_| Buffer { at: address(input), bytes: length(input), is_writable };
        let buffers = (0..=count).map(buffer).collect();
        Request { queue: if is_writable { RX } else { TX }, buffers, ..Request::default() }
    }

    fn used(&mut self, queue: usize, _: &[u8], bytes: u32, goals: &mut Goals) {
        if queue != RX {
            assert_eq!(bytes, 0, "text of the guest is written to");
        } else if bytes > 0 {
            goals.own(TYPED);
        }
    }

    fn act(&mut self, input: &mut Input<'_>, goals: &mut Goals) {
        let what = input.byte() % 8;
        if what == 0 {
            self.stream = UnixStream::connect(&self.path).ok();
            if let Some(stream) = &self.stream {
                stream.set_nonblocking(true).expect("it can be");
            }
        }
        let Some(stream) = &mut self.stream else { return };
        match what {
            1..=3 => {
                let bytes = length(input).min(1 << 14) as usize;
                let _ = stream.write(&vec![b'k'; bytes]);
            }
            4..=6 if stream.read(&mut [0; 0x4000]).is_ok_and(|bytes| bytes > 0) => {
                goals.own(SHOWN);
            }
            7 => self.stream = None,
            _ => {}
        }
    }
}
