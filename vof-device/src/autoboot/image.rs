//! What was found: a program, and how it says where it came from.

use std::fmt;
use std::io;
use std::sync::Arc;

use arch_ppc64::loader::Source;

use crate::block::{BlockDevice, Region, SECTOR_BYTES};
#[cfg(feature = "netboot")]
use crate::network::netboot::Image;

/// A program to be started. It is read from its device when it is loaded, as far as it is needed.
pub struct BootImage {
    bootpath: String,
    arguments: Option<String>,
    bootp_response: Option<Vec<u8>>,
    source: Box<dyn Source>,
}

impl BootImage {
    pub(super) fn on_disk(
        bootpath: String,
        arguments: Option<String>,
        disk: Arc<dyn BlockDevice>,
        region: Region,
    ) -> Self {
        let source = Box::new(Part { disk, region });
        Self { bootpath, arguments, bootp_response: None, source }
    }

    #[cfg(feature = "netboot")]
    pub(super) fn from_network(bootpath: String, image: Image) -> Self {
        let Image { bytes, loaded, .. } = image;
        let bootp_response = Some(loaded.reply);
        Self { bootpath, arguments: None, bootp_response, source: Box::new(bytes) }
    }

    /// Where it is, for [`Boot::with_bootpath`](arch_ppc64::boot::Boot::with_bootpath): the path of
    /// the device, a colon, and what of it: a partition (`:1`), a file on a partition
    /// (`:2,\boot\grub`), or a file on the whole disk (`:\boot\grub`). Of a network, see
    /// [`Loaded::arguments`](crate::network::netboot::Loaded::arguments).
    pub fn bootpath(&self) -> &str {
        &self.bootpath
    }

    /// The arguments that were found with it.
    pub fn arguments(&self) -> Option<&str> {
        self.arguments.as_deref()
    }

    /// What the DHCP server said, if it came from a network: for
    /// [`Boot::with_bootp_response`](arch_ppc64::boot::Boot::with_bootp_response).
    pub fn bootp_response(&self) -> Option<&[u8]> {
        self.bootp_response.as_deref()
    }

    /// Its bytes.
    pub fn source(&self) -> &dyn Source {
        &*self.source
    }

    /// These, if it has none.
    pub(super) fn default_arguments(&mut self, arguments: &str) {
        self.arguments.get_or_insert_with(|| arguments.to_owned());
    }
}

impl fmt::Debug for BootImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootImage")
            .field("bootpath", &self.bootpath)
            .field("arguments", &self.arguments)
            .finish_non_exhaustive()
    }
}

/// A part of a disk, at any offset.
struct Part {
    disk: Arc<dyn BlockDevice>,
    region: Region,
}

/// How much is read at once, where it is not in whole sectors.
const PIECE_BYTES: u64 = 128 << 10;

impl Source for Part {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.region.bytes())
    }

    fn read_bytes(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut sectors = Vec::new();
        let (mut offset, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let wanted = PIECE_BYTES.min(rest.len() as u64);
            let extent = self.region.at(offset, wanted).ok_or(io::ErrorKind::UnexpectedEof)?;
            let (now, later) = rest.split_at_mut(extent.bytes as usize);
            let skipped = extent.start % SECTOR_BYTES;
            let sectors_bytes = (skipped + extent.bytes).next_multiple_of(SECTOR_BYTES);
            if sectors_bytes == extent.bytes {
                self.disk.read(now, extent.start)?;
            } else {
                sectors.resize(sectors_bytes as usize, 0);
                self.disk.read(&mut sectors, extent.start - skipped)?;
                now.copy_from_slice(&sectors[skipped as usize..][..now.len()]);
            }
            offset += extent.bytes;
            rest = later;
        }
        Ok(())
    }
}
