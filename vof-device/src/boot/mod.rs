//! The start of a machine, whichever of the two ways in is its own.

mod error;

use std::sync::Arc;

use arch_ppc64::boot::{self, Boot, ClientBoot};
use arch_ppc64::fdt::Start;
use arch_ppc64::layout::RAM_START;
use arch_ppc64::loader::KERNEL_BASE;
use arch_ppc64::platform::Platform;
use arch_ppc64::{EntryRegisters, GuestRam, cas};
use vm_memory::GuestAddress;

use crate::builder::VofBuilder;
use crate::tree::DeviceTree;
use crate::vof::Vof;
pub use error::BootError;

/// A machine that is ready for its first CPU.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Booted {
    /// How the first CPU is entered. All others are stopped.
    pub registers: EntryRegisters,
    /// The client interface, which is among the devices of the platform by now; `None` with `x-vof`
    /// off.
    pub vof: Option<Arc<Vof>>,
}

/// Starts a machine the way it says ([`Machine::x_vof`](arch_ppc64::Machine::x_vof)): everything is
/// put in its place in `ram`, and with `x-vof` on the client interface is made and plugged into
/// `platform`. It is the one call that each start takes, the first and those after a reset, with a
/// new platform each time; RAM may be as it was left.
///
/// `host` adds what the VMM has for the client interface, and is not called with `x-vof` off. The
/// rest is in place: the tree, what is reserved, the firmware's memory, who negotiates, and what the
/// client before gave as arguments. The [crate's documentation](crate) has an example.
///
/// # Errors
/// [`BootError`]; what is in RAM then is nothing to start, and nothing was plugged in.
pub fn boot(
    boot: &Boot<'_>,
    platform: &mut Platform,
    ram: &dyn GuestRam,
    host: impl FnOnce(VofBuilder) -> VofBuilder,
) -> Result<Booted, BootError> {
    if !platform.machine().x_vof() {
        return Ok(Booted { registers: boot.flat(platform, ram)?, vof: None });
    }
    let ClientBoot { tree, firmware, reserved, registers, .. } = boot.client(platform, ram)?;
    let builder = builder(platform, &tree, firmware)?;
    let builder = reserved.into_iter().fold(builder, |vof, (at, bytes)| vof.reserve(at, bytes));
    let arguments = boot.boot_arguments().map(str::to_owned);
    let vof = plugged_in(platform, host(builder.boot_arguments(arguments)))?;
    Ok(Booted { registers, vof: Some(vof) })
}

/// Makes the client interface of a machine that goes on where another one was saved, and plugs it
/// in: [`Platform::restore`] then gives it that one's tree, claims and open packages, as it gives
/// the other devices theirs. Nothing is loaded. `None` with `x-vof` off.
///
/// `host` is the same as for [`boot()`].
///
/// # Errors
/// [`BootError`]; nothing was plugged in then.
pub fn plug_in(
    platform: &mut Platform,
    host: impl FnOnce(VofBuilder) -> VofBuilder,
) -> Result<Option<Arc<Vof>>, BootError> {
    if !platform.machine().x_vof() {
        return Ok(None);
    }
    // Where a client would be and what it has is in the state that comes, tree and all.
    let start = Start::new(KERNEL_BASE, [0; 32]);
    let tree = platform.blob(&start).map_err(boot::BootError::from)?;
    let firmware = (RAM_START, vof_firmware::RESERVED_BYTES);
    let builder = builder(platform, &tree, firmware)?;
    plugged_in(platform, host(builder)).map(Some)
}

/// A client interface with what every machine has.
fn builder(
    platform: &Platform,
    tree: &[u8],
    (firmware, firmware_bytes): (GuestAddress, u64),
) -> Result<VofBuilder, BootError> {
    let machine = platform.machine();
    let builder = Vof::builder(DeviceTree::from_blob(tree)?, machine.memory_map());
    let builder = builder.cas(Box::new(cas::Platform::of(machine)));
    let observers = platform.property_observers().into_iter();
    let builder = observers.fold(builder, VofBuilder::observer);
    Ok(builder.firmware(firmware, firmware_bytes))
}

fn plugged_in(platform: &mut Platform, builder: VofBuilder) -> Result<Arc<Vof>, BootError> {
    let vof = Arc::new(builder.build()?);
    platform.plug_in(vof.clone())?;
    Ok(vof)
}
