//! Where the content is kept while there is no machine.

use std::io;

/// Keeps the content of an NVRAM, as the VMM does it: in a file, say.
///
/// [`store`](Self::store) is called by vCPUs that make an RTAS call or one of the client interface.
/// It notes what has changed, and no more: whoever writes to a disk does that on another thread, and
/// tells at the next change that the last ones could not be kept. The platform may do so: "Return from
/// the nvram-store call with a 'success' Status is permissible after placing the data into a
/// store-through cache and prior to the actual writing to the NVRAM" (LoPAPR §7.3.1.2).
pub trait NvramStore: Send + Sync {
    /// What was kept; nothing where there never was anything. Called once.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn load(&self) -> io::Result<Vec<u8>>;

    /// Begins anew with `content`, whatever is there, of whatever size. `damaged` is what could not
    /// be used, and is kept in another place first, unless it is empty. Called before any CPU of the
    /// machine runs.
    ///
    /// Tells where `damaged` is now, for people.
    ///
    /// # Errors
    /// Why there is no other place or no new beginning: what is there stays then.
    fn renew(&self, damaged: &[u8], content: &[u8]) -> io::Result<Option<String>>;

    /// From `offset` on the content is `bytes`. Calls come in the order of the changes, and wait for
    /// nobody.
    ///
    /// # Errors
    /// Why nothing can be kept at present. The NVRAM does not change then, and the guest is told of
    /// a hardware error.
    fn store(&self, offset: usize, bytes: &[u8]) -> io::Result<()>;
}

/// Keeps nothing: the content lasts as long as the [`Nvram`](super::Nvram) does.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Forgotten;

impl NvramStore for Forgotten {
    fn load(&self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn renew(&self, _: &[u8], _: &[u8]) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn store(&self, _: usize, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}
