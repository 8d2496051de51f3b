//! The files that a guest is started from.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use arch_ppc64::Machine;
use arch_ppc64::loader::{Client, LoadError, Placement};

use super::{BootError, Plan};
use crate::config::PayloadConfig;

/// Open files. They are read anew for each start of the machine, so that their contents are only
/// in the guest while it runs; what comes in the place of a file does not matter, what is written
/// into it does. What can be read but once, such as a pipe, is kept.
#[derive(Debug)]
pub struct Payload {
    kernel: Named,
    initramfs: Option<Named>,
    /// What was read to check it, for the first start.
    first: Mutex<Option<Contents>>,
}

#[derive(Debug)]
struct Named {
    path: PathBuf,
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(File),
    Kept(Vec<u8>),
}

/// The bytes of a payload.
#[derive(Debug)]
pub(super) struct Contents {
    kernel: Vec<u8>,
    pub(super) initrd: Option<Vec<u8>>,
}

impl Payload {
    /// Opens and reads the files.
    ///
    /// # Errors
    /// [`BootError::NoKernel`] when there is none, [`BootError::File`] names the one that cannot be
    /// read.
    pub fn open(config: &PayloadConfig) -> Result<Self, BootError> {
        let kernel = Named::open(config.kernel.as_deref().ok_or(BootError::NoKernel)?)?;
        let initramfs = config.initramfs.as_deref().map(Named::open).transpose()?;
        let payload = Self { kernel, initramfs, first: Mutex::new(None) };
        let contents = payload.read()?;
        *payload.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(contents);
        Ok(payload)
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
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = match first.take() {
            Some(contents) => contents,
            None => self.read()?,
        };
        let placement = Plan::new(machine, self, &contents).map(|plan| plan.placement);
        *first = Some(contents);
        placement
    }

    /// The files' contents, for one start.
    pub(super) fn take(&self) -> Result<Contents, BootError> {
        match self.first.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(contents) => Ok(contents),
            None => self.read(),
        }
    }

    fn read(&self) -> Result<Contents, BootError> {
        Ok(Contents {
            kernel: self.kernel.read()?,
            initrd: self.initramfs.as_ref().map(Named::read).transpose()?,
        })
    }

    pub(super) fn client<'a>(&self, contents: &'a Contents) -> Result<Client<'a>, BootError> {
        Client::parse(&contents.kernel).map_err(|source| self.unusable(source))
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
    fn open(path: &Path) -> Result<Self, BootError> {
        let opened = File::open(path).and_then(Source::of);
        let source = opened.map_err(|source| BootError::File { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), source })
    }

    fn read(&self) -> Result<Vec<u8>, BootError> {
        match &self.source {
            Source::Kept(data) => Ok(data.clone()),
            Source::File(file) => {
                read_all(file).map_err(|source| BootError::File { path: self.path.clone(), source })
            }
        }
    }
}

impl Source {
    fn of(mut file: File) -> io::Result<Self> {
        if file.metadata()?.is_file() {
            return Ok(Self::File(file));
        }
        let mut data = Vec::new();
        file.read_to_end(&mut data)?;
        Ok(Self::Kept(data))
    }
}

fn read_all(mut file: &File) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut data = Vec::with_capacity(bytes);
    file.rewind()?;
    file.read_to_end(&mut data)?;
    Ok(data)
}
