//! A tree as a blob: vm-fdt, and what PAPR trees need beyond it, which is
//! [names of any length](super::long_names) and slack behind the last block.

use vm_fdt::{Error, FdtReserveEntry, FdtWriter};

use super::error::FdtError;
use super::long_names::{LongNames, put_cell};
use super::tree::{Tree, phandle};

/// Where the header has the size of the blob (Devicetree specification v0.4, §5.2).
const HEADER_TOTALSIZE: usize = 4;

impl Tree {
    /// The tree flattened, with room for `slack_bytes` of further properties behind it: it is not
    /// packed, so that tools can append in place.
    ///
    /// # Errors
    /// [`FdtError::TooLarge`] when the blob would pass 4 GiB. No other is known that a tree can
    /// cause which could be made.
    pub fn flatten(&self, slack_bytes: usize) -> Result<Vec<u8>, FdtError> {
        let entry = |&(at, bytes): &(u64, u64)| FdtReserveEntry::new(at, bytes);
        let reserved: Result<Vec<_>, _> = self.reserved().iter().map(entry).collect();
        let reserved = reserved.map_err(refused)?;
        let mut fdt = FdtWriter::new_with_mem_reserv(&reserved).map_err(refused)?;
        fdt.set_boot_cpuid_phys(self.boot_cpu());
        let mut long_names = LongNames::default();
        self.write(0, &mut fdt, &mut long_names).map_err(refused)?;
        let blob = fdt.finish().map_err(refused)?;
        let mut blob = long_names.put_into(&blob, slack_bytes)?;
        let size = blob.len().checked_add(slack_bytes).ok_or(FdtError::TooLarge)?;
        let total = u32::try_from(size).map_err(|_| FdtError::TooLarge)?;
        blob.resize(size, 0);
        put_cell(&mut blob, HEADER_TOTALSIZE, total)?;
        Ok(blob)
    }

    /// Writes a node and those below it, as many levels as a tree can have.
    fn write(
        &self,
        node: usize,
        fdt: &mut FdtWriter,
        long_names: &mut LongNames,
    ) -> Result<(), Error> {
        let open = fdt.begin_node(&long_names.node(self.nodes()[node].name()))?;
        fdt.property_phandle(phandle(node).cell())?;
        for (name, value) in self.properties(node) {
            fdt.property(long_names.property(name), value)?;
        }
        for &child in self.children(node) {
            self.write(child, fdt, long_names)?;
        }
        fdt.end_node(open)
    }
}

fn refused(error: Error) -> FdtError {
    match error {
        Error::TotalSizeTooLarge | Error::PropertyValueTooLarge => FdtError::TooLarge,
        other => FdtError::Writer { reason: other.to_string() },
    }
}
