//! The way in through Open Firmware: the image in the guest, the client interface in here.

use std::error::Error;
use std::sync::Arc;

use arch_ppc64::cas;
use arch_ppc64::layout::VTY_PATH;
use arch_ppc64::loader::Placement;
use arch_ppc64::{Console, EntryRegisters, GuestRam, Machine, VcpuHost};
use vm_memory::GuestAddress;
use vof_device::{DeviceTree, Vof};

use super::{BootError, ClientReport, ClientReporter};

/// What the host supplies to the client interface.
pub(super) struct Host {
    pub(super) console: Arc<dyn Console>,
    pub(super) cpus: Arc<dyn VcpuHost>,
}

/// Puts the image in place and makes the client interface; how the image is entered then.
pub(super) fn enter(
    machine: &Machine,
    placement: &Placement,
    tree: &[u8],
    ram: &dyn GuestRam,
    host: Host,
    boot_arguments: Option<String>,
) -> Result<(EntryRegisters, Arc<Vof>), BootError> {
    ram.write(GuestAddress(vof_firmware::LOAD_ADDRESS), vof_firmware::IMAGE)?;
    let tree = DeviceTree::from_blob(tree).map_err(refused)?;
    let (client, client_bytes) = placement.client();
    let mut vof = Vof::builder(tree, machine.memory_map())
        .console(VTY_PATH, host.console)
        .cpus(host.cpus, machine.topology())
        .boot_arguments(boot_arguments)
        .cas(Box::new(cas::Platform::of(machine)))
        .firmware(GuestAddress(0), vof_firmware::RESERVED_BYTES)
        .reserve(client, client_bytes);
    if let Some((initrd, bytes)) = placement.initrd() {
        vof = vof.reserve(initrd, bytes);
    }
    let vof = vof.build().map_err(refused)?;
    // The image needs nothing more.
    let registers = EntryRegisters::at(GuestAddress(vof_firmware::ENTRY));
    Ok((registers, Arc::new(vof)))
}

/// What tells what the client did.
pub(super) fn reporter(vof: &Arc<Vof>) -> ClientReporter {
    let vof = vof.clone();
    Box::new(move || ClientReport { calls: vof.calls(), boot_arguments: vof.boot_arguments() })
}

fn refused(error: impl Error + Send + Sync + 'static) -> BootError {
    BootError::Vof(Box::new(error))
}
