//! Non-volatile memory: what a guest and its firmware keep from one start to the next (LoPAPR
//! chapter 8).
//!
//! [`Nvram`] is a device. Its node is `/vdevice/nvram@71000001`, guests read and write it with the
//! RTAS calls `nvram-fetch` and `nvram-store`, and the configuration variables that are in it are the
//! properties of `/options`. Where it is kept while there is no machine is the VMM's affair, behind
//! [`NvramStore`]. A VMM makes one, and plugs it into each start of its machine.
//!
//! It is divided into [partitions](Partition). There is one for configuration variables, `common`,
//! and the rest is free: systems make their own of that, as Linux does for the last words of a kernel.
//! Guests may write what they like. What is no NVRAM any more when the machine starts again is put
//! aside, and there is a new one: "Firmware must reinitialize NVRAM to a bootable state if NVRAM data
//! corruption is detected" (R1-8.1-3).

mod device;
mod error;
mod partitions;
#[cfg(feature = "serde")]
mod saved;
mod store;
mod variables;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::layout::NVRAM_UNIT;
use crate::log_limit::LogLimit;

pub use error::{Damage, NvramError, VariableError};
pub use partitions::{FREE_SPACE, OS, Partition, SYSTEM};
pub use store::NvramStore;

/// How many bytes an NVRAM has unless it is told otherwise.
pub const USUAL_BYTES: usize = 64 << 10;

/// "Platforms must implement at least 8 KB of Non-Volatile Memory" (R1-8.1-1).
pub const MIN_BYTES: usize = 8 << 10;

/// The most bytes that an NVRAM can have: what a start looks through, and what one call may copy.
pub const MAX_BYTES: usize = 256 << 10;

/// How many bytes sizes are multiples of: those of a block.
const UNIT_BYTES: usize = 16;

/// How many messages a guest can cause between two starts.
const MESSAGES_MAX: u32 = 16;

/// The non-volatile memory of a machine. A VMM keeps one over all restarts.
///
/// ```
/// use arch_ppc64::nvram::Nvram;
///
/// // One that is forgotten when it is dropped.
/// let nvram = Nvram::default();
/// assert_eq!(nvram.variable("boot-device"), None);
/// nvram.set_variable("boot-device", "/pci@800000020000000/disk@1")?;
/// assert_eq!(nvram.variable("boot-device").as_deref(), Some("/pci@800000020000000/disk@1"));
/// # Ok::<(), arch_ppc64::nvram::VariableError>(())
/// ```
pub struct Nvram {
    unit: u32,
    id: String,
    /// What is in it. Whoever holds the lock waits for nobody.
    content: Mutex<Vec<u8>>,
    store: Box<dyn NvramStore>,
    messages: LogLimit,
}

impl Nvram {
    /// An NVRAM of so many bytes that is kept in `store`: [`USUAL_BYTES`], or from [`MIN_BYTES`] to
    /// [`MAX_BYTES`] in blocks of 16.
    ///
    /// Where nothing is kept, or what is kept is no NVRAM of this size, it begins anew, and the log
    /// says so; what was there is put aside. Where that cannot be, content of this size stays: a guest
    /// may have made it what it is, and is not to keep its machine from starting.
    ///
    /// # Errors
    /// [`NvramError`] for a size that cannot be, and when the store fails to load, or to begin anew
    /// where it has content of another size.
    pub fn open(bytes: usize, store: Box<dyn NvramStore>) -> Result<Self, NvramError> {
        if !(MIN_BYTES..=MAX_BYTES).contains(&bytes) || bytes % UNIT_BYTES != 0 {
            return Err(NvramError::Size { bytes });
        }
        let mut content = store.load().map_err(NvramError::Load)?;
        if let Err(reason) = check(&content, bytes) {
            match renew(&*store, &content, bytes, reason) {
                Ok(fresh) => content = fresh,
                Err(error) if content.len() == bytes => log_kept(reason, &error),
                Err(source) => return Err(NvramError::Renew { reason, source }),
            }
        }
        Ok(Self::of(content, store))
    }

    /// With this content, which is in `store`.
    fn of(content: Vec<u8>, store: Box<dyn NvramStore>) -> Self {
        let messages = LogLimit::new(MESSAGES_MAX, Duration::MAX).with_target(module_path!());
        let (unit, id) = (NVRAM_UNIT, id_of(NVRAM_UNIT));
        Self { unit, id, content: Mutex::new(content), store, messages }
    }

    /// How many bytes it has.
    pub fn size_bytes(&self) -> usize {
        self.content().len()
    }

    /// What is in it.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.content().clone()
    }

    /// Its partitions, in their order.
    ///
    /// # Errors
    /// [`Damage`] where a guest has destroyed them.
    pub fn partitions(&self) -> Result<Vec<Partition>, Damage> {
        partitions::all(&self.content())
    }

    /// The value of a configuration variable, such as `boot-device`. `None` where it is not set ("the
    /// absence of a configuration variable in the System NVRAM partition indicates that the value is
    /// set to its default value", §8.4.1.1.3), and where it is no text.
    ///
    /// A guest may have set it to anything.
    pub fn variable(&self, name: &str) -> Option<String> {
        let content = self.content();
        let value = variables::value(common(&content).ok()?, name)?;
        String::from_utf8(value).ok()
    }

    /// All configuration variables that are set, by name and value.
    pub fn variables(&self) -> Vec<(String, Vec<u8>)> {
        let content = self.content();
        let data = common(&content).unwrap_or_default();
        variables::all(data).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Sets a configuration variable. The tree has it at the machine's next start.
    ///
    /// # Errors
    /// [`VariableError`] when it cannot be; its value is what it was then.
    pub fn set_variable(&self, name: &str, value: &str) -> Result<(), VariableError> {
        self.change_variable(name, Some(value.as_bytes()))
    }

    /// Removes a configuration variable: it has its default value then.
    ///
    /// # Errors
    /// As [`set_variable`](Self::set_variable).
    pub fn remove_variable(&self, name: &str) -> Result<(), VariableError> {
        self.change_variable(name, None)
    }

    fn change_variable(&self, name: &str, value: Option<&[u8]>) -> Result<(), VariableError> {
        let mut content = self.content();
        let data = with_variable(&content, name, value)?;
        let range = partitions::common(&content)?;
        let place = content.get_mut(range.clone()).unwrap_or_default();
        if *place != *data {
            self.store.store(range.start, &data)?;
            place.copy_from_slice(&data);
        }
        Ok(())
    }

    /// Begins anew where the content is none any more.
    fn repair(&self) {
        let mut content = self.content();
        let bytes = content.len();
        let Err(reason) = check(&content, bytes) else { return };
        match renew(&*self.store, &content, bytes, reason) {
            Ok(fresh) => *content = fresh,
            Err(error) => log_kept(reason, &error),
        }
    }

    fn content(&self) -> MutexGuard<'_, Vec<u8>> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the usual size that is forgotten when it is dropped.
impl Default for Nvram {
    fn default() -> Self {
        Self::of(partitions::fresh(USUAL_BYTES), Box::new(store::Forgotten))
    }
}

impl fmt::Debug for Nvram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nvram").field("size_bytes", &self.size_bytes()).finish_non_exhaustive()
    }
}

/// The [id](crate::platform::Device::id) of the NVRAM of this unit address, and the name of its node.
fn id_of(unit: u32) -> String {
    format!("nvram@{unit:x}")
}

/// Whether this is the content of an NVRAM of so many bytes.
fn check(content: &[u8], bytes: usize) -> Result<(), Damage> {
    if content.iter().all(|&byte| byte == 0) {
        return Err(Damage::Blank);
    }
    if content.len() != bytes {
        return Err(Damage::Size { found: content.len(), expected: bytes });
    }
    partitions::all(content).map(drop)
}

/// Begins anew, and says so where there was something.
fn renew(
    store: &dyn NvramStore,
    content: &[u8],
    bytes: usize,
    reason: Damage,
) -> std::io::Result<Vec<u8>> {
    let fresh = partitions::fresh(bytes);
    let is_blank = reason == Damage::Blank;
    let kept = store.renew(if is_blank { &[] } else { content }, &fresh)?;
    match kept {
        _ if is_blank => log::info!("{reason}, and begins with no variables"),
        Some(place) => log::warn!("{reason}; it begins anew, and what it had is in {place}"),
        None => log::warn!("{reason}; it begins anew"),
    }
    Ok(fresh)
}

fn log_kept(reason: Damage, error: &std::io::Error) {
    log::error!("{reason}; it stays as it is: {error}");
}

/// The data of the partition for configuration variables.
fn common(content: &[u8]) -> Result<&[u8], Damage> {
    Ok(content.get(partitions::common(content)?).unwrap_or_default())
}

/// That data with a variable that has this value, or none.
fn with_variable(
    content: &[u8],
    name: &str,
    value: Option<&[u8]>,
) -> Result<Vec<u8>, VariableError> {
    if !variables::is_name(name) {
        return Err(VariableError::Name);
    }
    let changed = variables::with(common(content)?, name, value);
    changed.map_err(|variables::NoRoom { needed, room }| VariableError::Room { needed, room })
}

#[cfg(test)]
mod tests;
