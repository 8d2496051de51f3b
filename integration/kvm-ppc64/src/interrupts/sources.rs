//! The sources that devices have, whatever controller tells CPUs of them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::EventFd;

/// The sources that were claimed, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Sources(Mutex<BTreeMap<u32, Source>>);

#[derive(Debug)]
struct Source {
    is_level: bool,
    /// What its device asserts.
    level: bool,
    /// Its file, if somebody asked for it.
    irqfd: Option<EventFd>,
}

impl Sources {
    /// Claims a source, which `make` makes if there was none. Again for the same one is no error.
    pub(super) fn claim(
        &self,
        number: u32,
        is_level: bool,
        make: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut sources = self.lock();
        match sources.get(&number) {
            Some(known) if known.is_level == is_level => return Ok(()),
            Some(_) => {
                let what = "it was claimed as one of the other kind";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            None => {}
        }
        make()?;
        sources.insert(number, Source { is_level, level: false, irqfd: None });
        Ok(())
    }

    /// All of them in the order of their numbers, with whether each is a level.
    pub(super) fn kinds(&self) -> Vec<(u32, bool)> {
        self.lock().iter().map(|(&number, source)| (number, source.is_level)).collect()
    }

    /// Whether a source is a level; `None` for one that was not claimed.
    pub(super) fn is_level(&self, number: u32) -> Option<bool> {
        self.lock().get(&number).map(|source| source.is_level)
    }

    /// What the device of a source asserts.
    pub(super) fn level(&self, number: u32) -> bool {
        self.lock().get(&number).is_some_and(|source| source.level)
    }

    pub(super) fn set_level(&self, number: u32, level: bool) {
        if let Some(source) = self.lock().get_mut(&number) {
            source.level = level;
        }
    }

    /// The file of a source, the same one each time; `attach` gives it to the kernel.
    pub(super) fn file(
        &self,
        number: u32,
        attach: impl FnOnce(&EventFd) -> io::Result<()>,
    ) -> io::Result<EventFd> {
        let mut sources = self.lock();
        let Some(known) = sources.get_mut(&number) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it was not claimed"));
        };
        if let Some(file) = &known.irqfd {
            return file.try_clone();
        }
        let file = EventFd::new(vmm_sys_util::eventfd::EFD_NONBLOCK)?;
        attach(&file)?;
        known.irqfd.insert(file).try_clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Source>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
