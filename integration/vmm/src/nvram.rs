//! The machine's non-volatile memory, and the file that it is kept in.

use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::nvram::{Nvram, NvramError, USUAL_BYTES};
use pseries_devices::nvram::{NvramFault, NvramFile, NvramFileError};

use crate::config::NvramConfig;
use crate::devices::HeldNvram;
use crate::host_file;

/// How long the last changes are waited for when the machine has ended; less than the second in
/// which this program ends.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// A file that cannot be the machine's non-volatile memory, named as on the command line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NvramOpenError {
    /// It cannot be had.
    #[error("{device}")]
    File {
        /// How it is named.
        device: String,
        /// What is wrong with it.
        #[source]
        source: NvramFault,
    },
    /// What is in it can neither be used nor be put aside.
    #[error("{device}")]
    Content {
        /// How it is named.
        device: String,
        /// What is wrong with it.
        #[source]
        source: NvramError,
    },
}

impl NvramOpenError {
    /// Whether it is for the user to put right, rather than for the host.
    pub fn is_the_users(&self) -> bool {
        match self {
            Self::File { source: NvramFault::Host(error), .. } => !host_file::is_the_hosts(error),
            Self::File { .. } => true,
            Self::Content { source, .. } => match source {
                NvramError::Load(error) | NvramError::Renew { source: error, .. } => {
                    !host_file::is_the_hosts(error)
                }
                _ => true,
            },
        }
    }
}

/// Non-volatile memory that outlives restarts of the machine, and where there is a file, the machine.
#[derive(Debug)]
pub struct KeptNvram {
    nvram: Arc<Nvram>,
    file: Option<(NvramFile, String)>,
}

impl KeptNvram {
    /// Opens the file, if there is to be one: without its lock if another process has it, and hands it
    /// over.
    ///
    /// # Errors
    /// [`NvramOpenError`] names it, and the reason.
    pub fn open(
        config: Option<&NvramConfig>,
        is_handed_over: bool,
    ) -> Result<Self, NvramOpenError> {
        let Some(config) = config else {
            return Ok(Self { nvram: Arc::default(), file: None });
        };
        let device = config.label();
        let path = config.path.as_path();
        let opened = match is_handed_over {
            true => NvramFile::open_unlocked(path),
            false => NvramFile::open(path),
        };
        let file = match opened {
            Ok(file) => file,
            Err(NvramFileError { reason: source, .. }) => {
                return Err(NvramOpenError::File { device, source });
            }
        };
        match Nvram::open(USUAL_BYTES, Box::new(file.clone())) {
            Ok(nvram) => Ok(Self { nvram: Arc::new(nvram), file: Some((file, device)) }),
            Err(source) => Err(NvramOpenError::Content { device, source }),
        }
    }

    /// The file, as it is handed over.
    pub(crate) fn held(&self) -> Option<HeldNvram> {
        let (file, device) = self.file.clone()?;
        Some(HeldNvram { file, device })
    }

    /// The device.
    pub fn device(&self) -> &Arc<Nvram> {
        &self.nvram
    }

    /// Waits for the last changes to be on the disk, but not for long. The log says what is missing.
    pub fn finish(&self) {
        let Some((file, device)) = &self.file else { return };
        if let Err(error) = file.flush(LAST_WAIT) {
            log::error!("{device}: the last changes may be lost: {error}");
        }
    }
}
