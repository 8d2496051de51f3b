//! Writing without a wait, for those who have something else to do.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

/// A file that takes what it has room for, at once.
#[derive(Debug)]
pub(super) enum Direct {
    /// Opened once more: whether somebody waits is a property of what is open, which other processes
    /// share.
    File(File),
    Socket(File),
}

impl Direct {
    /// A way into `file`, where it is a pipe, a terminal or a socket, and this process may open it. A
    /// disk has no writes that do not wait.
    pub(super) fn open(file: &File, is_terminal: bool) -> Option<Self> {
        let kind = file.metadata().ok()?.file_type();
        if kind.is_socket() {
            return file.try_clone().ok().map(Self::Socket);
        }
        if !kind.is_fifo() && (!is_terminal || is_upper_end(file)) {
            return None;
        }
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        OpenOptions::new().write(true).custom_flags(flags).open(path).ok().map(Self::File)
    }

    /// Writes what there is room for; how much that was. Nothing where it fails: whoever waits for the
    /// file is told why.
    pub(super) fn write(&self, text: &[u8]) -> usize {
        match self {
            Self::File(file) => (&*file).write(text).unwrap_or(0),
            Self::Socket(socket) => send(socket, text).unwrap_or(0),
        }
    }
}

/// Whether it is the upper end of a pseudoterminal: whoever opens that once more gets another one.
fn is_upper_end(file: &File) -> bool {
    let mut number: libc::c_uint = 0;
    // SAFETY: fills the number, if it is such an end.
    unsafe { libc::ioctl(file.as_raw_fd(), libc::TIOCGPTN, &raw mut number) == 0 }
}

fn send(socket: &File, text: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the pointer and the length are those of a slice, which is only read.
    let count = unsafe { libc::send(socket.as_raw_fd(), text.as_ptr().cast(), text.len(), flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::{FromRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;

    fn pipe() -> (File, File) {
        let mut ends = [0; 2];
        // SAFETY: fills the array.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        // SAFETY: fresh, and nobody else's.
        ends.map(|end| unsafe { File::from_raw_fd(end) }).into()
    }

    #[test]
    fn pipes_and_sockets_take_what_they_have_room_for() {
        let sockets = UnixStream::pair().unwrap();
        let sockets = <[UnixStream; 2]>::from(sockets).map(|end| File::from(OwnedFd::from(end)));
        for (mut reader, file) in [pipe(), sockets.into()] {
            let direct = Direct::open(&file, false).unwrap();
            let mut written = 0;
            loop {
                match direct.write(&[7; 1000]) {
                    0 => break,
                    count => written += count,
                }
            }
            assert!(written > 0);
            drop((file, direct));
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert_eq!(read, vec![7; written]);
        }
    }

    /// To open the upper end of a pseudoterminal is to make another one, which nobody reads.
    #[test]
    fn pseudoterminals_are_written_to_from_below() {
        let none = std::ptr::null_mut();
        let mut ends = [0; 2];
        let [upper, lower] = &mut ends;
        // SAFETY: fills both, and takes nothing else.
        let made = unsafe { libc::openpty(upper, lower, none, none.cast(), none.cast()) };
        assert_eq!(made, 0);
        // SAFETY: fresh, and nobody else's.
        let [mut upper, lower] = ends.map(|end| unsafe { File::from_raw_fd(end) });
        assert!(Direct::open(&upper, true).is_none());
        let direct = Direct::open(&lower, true).unwrap();
        assert_eq!(direct.write(b"text"), 4);
        let mut text = [0; 4];
        upper.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"text");
    }

    #[test]
    fn files_are_for_those_who_wait() {
        let file = crate::host_file::without_a_name(c"direct", 0).unwrap();
        assert!(Direct::open(&file, false).is_none());
        // Nobody reads it any more: not for this one to tell.
        let (reader, file) = pipe();
        let direct = Direct::open(&file, false).unwrap();
        drop(reader);
        assert_eq!(direct.write(b"text"), 0);
    }
}
