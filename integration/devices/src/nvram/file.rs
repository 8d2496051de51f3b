//! The file, and what is put aside.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::nvram::{MAX_BYTES, NvramStore};

use super::error::{NvramFault, NvramFileError};
use super::writer::Writer;
use crate::disk;

/// How many contents are put aside at most: a guest may destroy its NVRAM as often as it likes.
const ASIDE_MAX: u32 = 9;

/// How long the last changes are waited for when the file is dropped, by who has not waited before.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// The file that an [`Nvram`](arch_ppc64::nvram::Nvram) is kept in, byte for byte. Clones are the
/// same file. As long as there is one, it is locked against others.
///
/// What changes is written in its place at once, by a thread, and flushed to the disk: then the next
/// changes, as many as have come meanwhile. Nobody waits for that. Whatever happens to the host, what
/// was flushed is there, and of what was not, each sector of the disk is as before or as after. If it
/// cannot be written, the log says so once, and changes fail until it can: each tries again.
///
/// What cannot be used is put aside, to `FILE.damaged-1` and so on, and flushed before the file is
/// written anew. Where there are nine, the ninth is written anew.
#[derive(Clone)]
pub struct NvramFile(Arc<Opened>);

struct Opened {
    path: PathBuf,
    file: Arc<File>,
    writer: Writer,
}

impl NvramFile {
    /// Opens and locks the file. One that is not there is made, for its owner only.
    ///
    /// # Errors
    /// [`NvramFileError`] with what is wrong: it cannot be had, is no file, too long, or in use.
    pub fn open(path: &Path) -> Result<Self, NvramFileError> {
        let opened = Self::open_file(path, false);
        opened.map_err(|reason| NvramFileError { path: path.to_path_buf(), reason })
    }

    /// Opens the file of a machine that another process still runs, and hands over: it is not written,
    /// whatever is stored, until it is [locked](Self::lock).
    ///
    /// # Errors
    /// As [`open`](Self::open), but for a file that is in use.
    pub fn open_unlocked(path: &Path) -> Result<Self, NvramFileError> {
        let opened = Self::open_file(path, true);
        opened.map_err(|reason| NvramFileError { path: path.to_path_buf(), reason })
    }

    fn open_file(path: &Path, is_held: bool) -> Result<Self, NvramFault> {
        // Before it is opened, as opening a device may do things.
        match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => return Err(NvramFault::Kind),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
            .open(path)?;
        let metadata = file.metadata()?;
        // Another file may have come in its place.
        if !metadata.is_file() {
            return Err(NvramFault::Kind);
        }
        if !is_held && !disk::lock_file(&file, true)? {
            return Err(NvramFault::InUse);
        }
        let bytes = metadata.len();
        if bytes > MAX_BYTES as u64 {
            return Err(NvramFault::TooLong { bytes });
        }
        if !is_held {
            allocate(&file, bytes);
        }
        let file = Arc::new(file);
        let writer = Writer::start(file.clone(), path.display().to_string())?;
        if is_held {
            writer.hold();
        }
        Ok(Self(Arc::new(Opened { path: path.to_path_buf(), file, writer })))
    }

    /// Takes the lock of a file that is another process's until now, and has all of the content
    /// written. One that is this process's is not changed.
    ///
    /// # Errors
    /// [`NvramFileError`]: somebody else has it, or what the host says.
    pub fn lock(&self) -> Result<(), NvramFileError> {
        let Opened { path, file, writer } = &*self.0;
        if writer.is_held() {
            let locked = disk::lock_file(file, true).map_err(NvramFault::Host);
            let locked =
                locked.and_then(|locked| if locked { Ok(()) } else { Err(NvramFault::InUse) });
            locked.map_err(|reason| NvramFileError { path: path.clone(), reason })?;
            // One that was just made is empty.
            let content = writer.content_bytes();
            if file.metadata().is_ok_and(|metadata| metadata.len() != content) {
                let _ = file.set_len(content);
            }
            writer.go_on();
        }
        Ok(())
    }

    /// Lets go of the lock, so that another process can have the file. What changes from here on is
    /// written when it is [locked](Self::lock) again. What changed before was
    /// [flushed](Self::flush).
    pub fn unlock(&self) {
        self.0.writer.hold();
        disk::unlock_file(&self.0.file);
    }

    /// Waits until all changes are on the disk, but for no longer than this.
    ///
    /// # Errors
    /// Why they are not: what the host says, or `TimedOut`.
    pub fn flush(&self, within: Duration) -> io::Result<()> {
        self.0.writer.flush(within)
    }
}

impl NvramStore for NvramFile {
    fn load(&self) -> io::Result<Vec<u8>> {
        let file = &self.0.file;
        let bytes = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX).min(MAX_BYTES);
        let mut content = vec![0; bytes];
        file.read_exact_at(&mut content, 0)?;
        self.0.writer.begin(content.clone());
        Ok(content)
    }

    fn renew(&self, damaged: &[u8], content: &[u8]) -> io::Result<Option<String>> {
        let Opened { path, file, writer } = &*self.0;
        if writer.is_held() {
            // What is in the file is another process's, and may be half of what that writes.
            writer.hold_content(content);
            return Ok(None);
        }
        let aside = || match damaged {
            [] => Ok(None),
            _ => put_aside(path, damaged).map(|path| Some(path.display().to_string())),
        };
        writer.replace(content, aside, || {
            let before = file.metadata()?.len();
            let written = write_anew(file, content);
            if written.is_err() {
                // What was there is written by the thread.
                let _ = file.set_len(before);
            }
            sync_folder(path);
            written
        })
    }

    fn store(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.0.writer.store(offset, bytes)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // What cannot be written was told.
        let _ = self.writer.flush_last(LAST_WAIT);
    }
}

impl fmt::Debug for NvramFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NvramFile").field("path", &self.0.path).finish_non_exhaustive()
    }
}

/// Has the space there before it is needed, where the file system can: then a disk that is full later
/// is none of the guest's concern.
fn allocate(file: &File, bytes: u64) {
    if bytes != 0 {
        // A file system that cannot is no error.
        let _ = disk::allocate_ahead(file, bytes);
    }
}

fn write_anew(file: &File, content: &[u8]) -> io::Result<()> {
    file.set_len(content.len() as u64)?;
    allocate(file, content.len() as u64);
    file.write_all_at(content, 0)?;
    file.sync_all()
}

/// Writes what cannot be used to a file of its own, which is on the disk then.
fn put_aside(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    for number in 1..=ASIDE_MAX {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        let aside = PathBuf::from(name);
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        match number {
            ASIDE_MAX => options
                .create(true)
                .truncate(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK),
            // Never what is there, links included.
            _ => options.create_new(true),
        };
        let mut file = match options.open(&aside) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            opened => opened?,
        };
        let written = file.write_all(content).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // A part of it is of no use.
            let _ = std::fs::remove_file(&aside);
            return Err(error);
        }
        sync_folder(path);
        return Ok(aside);
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Makes the names of new files last. Not every file system has that.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let _ = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
}
