//! The files that a guest is started from.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use arch_ppc64::Machine;
use arch_ppc64::loader::{Client, LoadError, Placement};

use super::{BootError, Plan};
use crate::config::PayloadConfig;

/// Files in memory: a restart of the guest starts from the same bytes, whatever became of the
/// files meanwhile.
#[derive(Debug)]
pub struct Payload {
    kernel: Named,
    initramfs: Option<Named>,
}

#[derive(Debug)]
struct Named {
    path: PathBuf,
    data: Vec<u8>,
}

impl Payload {
    /// Reads the files.
    ///
    /// # Errors
    /// [`BootError::NoKernel`] when there is none, [`BootError::File`] names the one that cannot be
    /// read.
    pub fn open(config: &PayloadConfig) -> Result<Self, BootError> {
        let kernel = config.kernel.as_deref().ok_or(BootError::NoKernel)?;
        Ok(Self {
            kernel: Named::read(kernel)?,
            initramfs: config.initramfs.as_deref().map(Named::read).transpose()?,
        })
    }

    /// Checks that `machine` can start from these files.
    ///
    /// # Errors
    /// [`BootError::Unusable`] says what is wrong with a file, or what there is no room for.
    pub fn check(&self, machine: &Machine) -> Result<(), BootError> {
        self.placement(machine).map(drop)
    }

    /// Where everything goes in `machine`.
    pub(crate) fn placement(&self, machine: &Machine) -> Result<Placement, BootError> {
        Plan::new(machine, self).map(|plan| plan.placement)
    }

    pub(super) fn client(&self) -> Result<Client<'_>, BootError> {
        Client::parse(&self.kernel.data).map_err(|source| self.unusable(source))
    }

    pub(super) fn initrd(&self) -> Option<&[u8]> {
        self.initramfs.as_ref().map(|file| file.data.as_slice())
    }

    /// Says of the file that it is about that it cannot be used.
    pub(super) fn unusable(&self, source: LoadError) -> BootError {
        let about_initrd = matches!(
            source,
            LoadError::InitrdEmpty
                | LoadError::InitrdTooLarge { .. }
                | LoadError::OtherInitrd { .. }
        );
        let file = self.initramfs.as_ref().filter(|_| about_initrd).unwrap_or(&self.kernel);
        BootError::Unusable { path: file.path.clone(), source }
    }
}

impl Named {
    fn read(path: &Path) -> Result<Self, BootError> {
        let mut data = Vec::new();
        let read = File::open(path).and_then(|mut file| file.read_to_end(&mut data));
        match read {
            Ok(_) => Ok(Self { path: path.to_owned(), data }),
            Err(source) => Err(BootError::File { path: path.to_owned(), source }),
        }
    }
}
