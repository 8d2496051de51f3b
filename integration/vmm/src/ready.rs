//! Waiting for files.

use std::os::fd::AsRawFd;
use std::time::Duration;

/// Waits until something can be read from one of these, or nobody writes to it any more, for so long at
/// most, or without an end. Gives of which; a signal may end the wait with none.
pub(crate) fn wait<const N: usize>(files: [&dyn AsRawFd; N], limit: Option<Duration>) -> [bool; N] {
    let entry = |file: &dyn AsRawFd| libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut entries = files.map(entry);
    // Rounded up: not awake before it is time.
    let milliseconds = limit.map_or(-1, |limit| {
        let whole = limit.as_nanos().div_ceil(1_000_000);
        libc::c_int::try_from(whole).unwrap_or(libc::c_int::MAX)
    });
    // SAFETY: the array is borrowed for the call.
    unsafe { libc::poll(entries.as_mut_ptr(), N as libc::nfds_t, milliseconds) };
    entries.map(|entry| entry.revents != 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_can_be_read_is_told() {
        let ((one, mut to_one), (other, to_other)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        assert_eq!(wait([&one, &other], Some(Duration::ZERO)), [false, false]);
        to_one.write_all(&[1]).unwrap();
        assert_eq!(wait([&one, &other], None), [true, false]);
        drop(to_other);
        assert_eq!(wait([&one, &other], Some(Duration::MAX)), [true, true]);
    }

    #[test]
    fn it_is_not_over_before_its_time() {
        let (one, _writer) = UnixStream::pair().unwrap();
        let start = Instant::now();
        assert_eq!(wait([&one], Some(Duration::from_micros(1500))), [false]);
        assert!(start.elapsed() >= Duration::from_micros(1500));
    }
}
