//! `--dump-fdt`: the device tree of a machine, for people and tools.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arch_ppc64::fdt::Start;
use arch_ppc64::layout::PAGE_BYTES;
use arch_ppc64::loader::KERNEL_BASE;
use arch_ppc64::nvram::Nvram;
use arch_ppc64::platform::outline_with;
use arch_ppc64::{Machine, boot};
use vm_memory::GuestAddress;

use crate::boot::{BootError, Payload};
use crate::config::VmConfig;
use crate::devices::{Devices, Wires};
use crate::outlet::is_reader_gone;
use crate::quoted;

/// Why there is no device tree in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The tree cannot be made.
    #[error("cannot describe the machine")]
    Boot(#[from] BootError),
    /// There cannot be such a file.
    #[error("cannot create {}", quoted::path(.path))]
    Create {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}", quoted::path(.path))]
    Write {
        /// Which file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// Writes to `path`, or to standard output for `-`, the tree of `machine` at its first start, with
/// its slack. A guest on KVM sees the host's revision of the processor in it; the client interface
/// adds `stdin`, `stdout`, `memory` and `mmu` to `/chosen` and `available` to `/memory@0`.
///
/// Without a kernel in `config`, the tree says that it starts where kernels do, without an initial
/// RAM disk. The random seed is zero, and so is what is random in a network's address: the same
/// machine gives the same file. Nothing of what is behind the devices is opened.
///
/// # Errors
/// [`DumpError`].
pub(crate) fn dump_fdt(machine: &Machine, config: &VmConfig, path: &Path) -> Result<(), DumpError> {
    let rtas_base = GuestAddress(KERNEL_BASE.0 - PAGE_BYTES);
    let mut plugged = None;
    let platform = outline_with(machine, |builder| {
        builder.add(Arc::new(Nvram::default()));
        plugged = Devices::outline(config).plug(builder, Wires::default(), None)?;
        Ok::<_, BootError>(())
    })?;
    let mut start =
        Start::new(KERNEL_BASE, [0; 32]).with_flat_rtas((!machine.x_vof()).then_some(rtas_base));
    if config.payload.kernel.is_some() {
        let payload = Payload::open(&config.payload, machine)?;
        start = Start::of_placement(&payload.plan(&platform)?, [0; 32]);
    }
    let tree = platform.blob(&start).map_err(boot::BootError::from).map_err(BootError::from)?;
    let path = path.to_owned();
    let written = if path.as_os_str() == "-" {
        let mut output = io::stdout().lock();
        match output.write_all(&tree).and_then(|()| output.flush()) {
            // Who does not read to the end has read enough.
            Err(error) if is_reader_gone(&error) => Ok(()),
            written => written,
        }
    } else {
        match File::create(&path) {
            Ok(mut file) => file.write_all(&tree),
            Err(source) => return Err(DumpError::Create { path, source }),
        }
    };
    written.map_err(|source| DumpError::Write { path, source })
}
