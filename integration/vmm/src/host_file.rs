//! Files that the user names. They may be anything, and change at any time.

use std::ffi::CStr;
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// How long is waited for somebody to open the other end of a named pipe.
const WRITER_WAIT: Duration = Duration::from_millis(500);

/// The number of a descriptor that whoever started this program has left open, of `fd=N`.
pub(crate) fn descriptor(number: &str) -> Result<RawFd, String> {
    match number.parse() {
        Ok(fd) if fd > libc::STDERR_FILENO => Ok(fd),
        Ok(fd) => Err(format!("fd={fd}: it is a number from 3 on")),
        Err(_) => Err(format!("fd={number}: this is no descriptor")),
    }
}

/// A file that is open for reading.
#[derive(Debug)]
pub(crate) enum HostFile {
    /// It has a size and can be read at any place, again and again.
    Sized(File),
    /// It can be read but once, and ends when it does.
    Pipe(Pipe),
}

impl HostFile {
    /// Opens a file, and waits for nothing.
    ///
    /// Regular files, block devices and pipes are files in this sense. Others are refused before
    /// they are opened, as opening a device may do things: nothing that a machine is made of comes
    /// out of one, and some have no end.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        refuse_others(std::fs::metadata(path)?.file_type())?;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)?;
        // Another file may have come in its place.
        let kind = file.metadata()?.file_type();
        refuse_others(kind)?;
        Ok(if kind.is_fifo() { Self::Pipe(Pipe(file)) } else { Self::Sized(file) })
    }

    /// Reads all of it, if that is no more than `most` bytes.
    pub(crate) fn read(self, most: u64) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        match self {
            // What says that it is empty may not be, below /proc.
            Self::Sized(mut file) if size_bytes(&file)? <= most => {
                file.rewind()?;
                file.take(most + 1).read_to_end(&mut data)?
            }
            Self::Sized(_) => return Err(too_long(most)),
            Self::Pipe(pipe) => pipe.take(most + 1).read_to_end(&mut data)?,
        };
        if data.len() as u64 > most { Err(too_long(most)) } else { Ok(data) }
    }
}

fn too_long(most: u64) -> io::Error {
    io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {most} bytes"))
}

/// How long a file is that can be read at any place.
pub(crate) fn size_bytes(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    // A device says how large it is where it ends.
    if metadata.file_type().is_block_device() {
        (&*file).seek(SeekFrom::End(0))
    } else {
        Ok(metadata.len())
    }
}

fn refuse_others(kind: FileType) -> io::Result<()> {
    let what = if kind.is_dir() {
        "it is a directory"
    } else if kind.is_char_device() {
        "it is a character device, not a file"
    } else if kind.is_socket() {
        "it is a socket, not a file"
    } else {
        return Ok(());
    };
    Err(io::Error::new(ErrorKind::InvalidInput, what))
}

/// A file in memory, empty. Its name is for people who look at this process; `pages` are the flags of
/// memfd_create(2) that say what it is made of, 0 for usual pages.
pub(crate) fn without_a_name(name: &CStr, pages: libc::c_uint) -> io::Result<File> {
    // SAFETY: reads the name; makes a new descriptor.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | pages) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fresh, and nobody else's.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Whether the host is to blame for an error with a file, and not whoever named it.
pub(crate) fn is_the_hosts(error: &io::Error) -> bool {
    let host = [libc::EIO, libc::ENOMEM, libc::EMFILE, libc::ENFILE, libc::ENOSPC];
    error.raw_os_error().is_some_and(|error| host.contains(&error))
}

/// The reading end of a pipe.
///
/// Who writes to it may take his time; whoever does not want to wait ends the process. A named
/// pipe that nobody writes to is not waited for.
#[derive(Debug)]
pub(crate) struct Pipe(File);

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut limit = i32::try_from(WRITER_WAIT.as_millis()).unwrap_or(i32::MAX);
        loop {
            let has_changed = wait(&self.0, limit)?;
            match self.0.read(buf) {
                // There is a writer, who has nothing to say yet.
                Err(error) if error.kind() == ErrorKind::WouldBlock => limit = -1,
                Ok(0) if !has_changed && !buf.is_empty() => {
                    // Somebody may have come, and even have gone, since it was too long.
                    if !wait(&self.0, 0)? {
                        return Err(io::Error::new(
                            ErrorKind::TimedOut,
                            "it is a pipe that nobody writes to",
                        ));
                    }
                }
                read => return read,
            }
        }
    }
}

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Waits until there is something to read, or the last writer is gone, for so many milliseconds
/// (without end where that is negative). `false` when neither came.
fn wait(file: &File, milliseconds: i32) -> io::Result<bool> {
    loop {
        let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: reads and writes one structure.
        let changed = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
        match io::Error::last_os_error() {
            _ if changed >= 0 => return Ok(changed == 1),
            error if error.kind() == ErrorKind::Interrupted => {}
            error => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_no_file_is_named() {
        for (path, words) in [
            ("/", "directory"),
            ("/dev/zero", "character device"),
            ("/dev/null", "character device"),
            ("/nonexistent", "No such file"),
            ("", "No such file"),
        ] {
            let error = HostFile::open(Path::new(path)).unwrap_err().to_string();
            assert!(error.contains(words), "{path}: {error}");
        }
    }

    #[test]
    fn a_file_is_read_up_to_a_limit() {
        let path = std::env::temp_dir().join(format!("pseries-vmm-limit-{}", std::process::id()));
        std::fs::write(&path, b"eight of").unwrap();
        let read = |most| HostFile::open(&path).unwrap().read(most);
        assert_eq!(read(8).unwrap(), b"eight of");
        assert_eq!(read(7).unwrap_err().kind(), ErrorKind::FileTooLarge);
        std::fs::remove_file(&path).unwrap();
        // It says that it has no bytes.
        let proc = HostFile::open(Path::new("/proc/self/status")).unwrap().read(1 << 20).unwrap();
        assert!(!proc.is_empty());
        assert!(HostFile::open(Path::new("/proc/self/status")).unwrap().read(1).is_err());
    }

    #[test]
    fn a_pipe_is_read_to_its_end() {
        let mut ends = [0; 2];
        // SAFETY: writes two descriptors.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        // SAFETY: fresh, and nobody else's.
        let [reader, mut writer] = ends.map(|fd| unsafe { File::from_raw_fd(fd) });
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let open = || HostFile::open(Path::new(&path)).unwrap();
        let slow = open();
        let thread = std::thread::spawn(move || {
            // Longer than a pipe without a writer is waited for.
            std::thread::sleep(WRITER_WAIT * 2);
            writer.write_all(b"late").unwrap();
        });
        assert_eq!(slow.read(4).unwrap(), b"late");
        thread.join().unwrap();
        // Whoever wrote is gone.
        assert_eq!(open().read(4).unwrap(), b"");
    }
}
