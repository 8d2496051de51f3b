use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::direct::{Alignment, Direct};
use super::*;

#[cfg(feature = "vof")]
mod client;
mod devices;
mod open;
mod transfers;

/// A file that is gone when this is.
struct Temporary(PathBuf);

impl Temporary {
    /// A name in the folder of temporary files that nobody else has.
    fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    fn below(folder: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(folder.join(format!("pseries-devices-disk-{}-{count}", std::process::id())))
    }

    /// An image in which each sector has its number in every byte.
    fn image(sectors: u64) -> Self {
        let image = Self::new();
        image.fill(sectors);
        image
    }

    fn fill(&self, sectors: u64) {
        let data: Vec<u8> = (0..sectors * 512).map(|at| (at / 512) as u8).collect();
        std::fs::write(&self.0, data).unwrap();
    }

    fn open(&self, options: &DiskOptions) -> Result<FileDisk, DiskError> {
        FileDisk::open(&self.0, options)
    }

    fn disk(&self) -> FileDisk {
        self.open_unlocked(&DiskOptions::new()).unwrap()
    }

    /// Nobody has it locked, but for a moment: processes that other tests start have the files of
    /// this one until they are another program.
    fn open_unlocked(&self, options: &DiskOptions) -> Result<FileDisk, DiskError> {
        for _ in 0..1000 {
            match self.open(options) {
                Err(DiskError { reason: DiskFault::InUse { .. }, .. }) => {}
                result => return result,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.open(options)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn read(disk: &dyn Disk, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut data = vec![0xff; bytes];
    disk.read_at(&mut Scatter::from(&mut data[..]), offset)?;
    Ok(data)
}

fn write(disk: &dyn Disk, offset: u64, data: &[u8]) -> io::Result<()> {
    disk.write_at(&mut Gather::from(data), offset)
}

/// Calls a test of this program that is ignored else, behind other words, with a path.
fn this_program(before: &[&str], test: &str, path: &Path) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut words: Vec<_> = before.iter().map(std::ffi::OsStr::new).collect();
    words.push(program.as_os_str());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command.args(["--exact", "--nocapture", "--include-ignored", test]);
    command.env(PATH, path).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// The variable that such a test is told its path by.
const PATH: &str = "PSERIES_DEVICES_TEST_PATH";

/// The path, in such a test.
fn path_of_this_process() -> Option<PathBuf> {
    std::env::var_os(PATH).map(PathBuf::from)
}

/// The test that was called said so, unless it could not be called here.
fn expect_or_skip(output: io::Result<std::process::Output>, words: &str) {
    match output {
        Ok(output) if output.status.success() => {
            assert!(String::from_utf8_lossy(&output.stdout).contains(words));
        }
        // The status of a test that failed.
        Ok(output) if output.status.code() == Some(101) => {
            panic!("{}", String::from_utf8_lossy(&output.stderr))
        }
        other => eprintln!("skipped: {other:?}"),
    }
}
