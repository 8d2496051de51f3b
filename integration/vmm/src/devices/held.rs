//! Files that only one machine may have, and that a machine which moves hands over.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pseries_devices::disk::Disk;
use pseries_devices::nvram::NvramFile;

/// How long the last changes of the non-volatile memory are waited for.
const NVRAM_WAIT: Duration = Duration::from_secs(5);

/// A file, or what is one, that only one machine may have.
pub(crate) trait Held: Send + Sync {
    /// Takes it; one that is had already is not changed.
    fn lock(&self) -> Result<(), HeldError>;

    /// Lets go of it.
    fn unlock(&self);

    /// Has what was written seen by others, also on other hosts.
    fn flush(&self) -> Result<(), HeldError>;
}

/// A file that cannot be handed over.
#[derive(Debug, thiserror::Error)]
#[error("{device}")]
pub struct HeldError {
    /// Which device has it, as on the command line.
    device: String,
    /// The reason.
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl HeldError {
    fn of<E: Error + Send + Sync + 'static>(device: &str) -> impl FnOnce(E) -> Self {
        move |error| Self { device: device.to_owned(), source: Box::new(error) }
    }
}

/// That of a disk.
pub(super) struct HeldDisk {
    pub(super) disk: Arc<dyn Disk>,
    /// What it is called.
    pub(super) device: String,
}

impl Held for HeldDisk {
    fn lock(&self) -> Result<(), HeldError> {
        let failed = HeldError::of(&self.device);
        // The device is named by the file already.
        self.disk.lock().map_err(|error| failed(io::Error::other(error.reason)))
    }

    fn unlock(&self) {
        self.disk.unlock();
    }

    fn flush(&self) -> Result<(), HeldError> {
        match self.disk.is_read_only() {
            true => Ok(()),
            false => self.disk.flush().map_err(HeldError::of(&self.device)),
        }
    }
}

/// That of the non-volatile memory.
pub(crate) struct HeldNvram {
    pub(crate) file: NvramFile,
    /// What it is called.
    pub(crate) device: String,
}

impl Held for HeldNvram {
    fn lock(&self) -> Result<(), HeldError> {
        let failed = HeldError::of(&self.device);
        self.file.lock().map_err(|error| failed(io::Error::other(error.reason)))
    }

    fn unlock(&self) {
        self.file.unlock();
    }

    fn flush(&self) -> Result<(), HeldError> {
        self.file.flush(NVRAM_WAIT).map_err(HeldError::of(&self.device))
    }
}
