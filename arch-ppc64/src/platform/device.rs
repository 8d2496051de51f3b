//! What a device shows of itself.

use std::time::Instant;

use super::mmio::MmioHandler;
use super::observer::PropertyObserver;
use super::state_error::StateError;
use crate::fdt::{FdtError, Phandle, Start, Tree};
use crate::hypercall::HypercallHandler;
use crate::machine::Machine;
use crate::rtas::RtasHandler;

/// What a device may have to know to describe itself.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Describe<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// The start that the tree is for.
    pub start: &'a Start,
    /// The node of the interrupt controller: `interrupt-parent` of devices that have interrupts.
    pub interrupt_parent: Phandle,
}

/// One device of the machine: all that it has to do with the guest, in one place.
///
/// Every view has a default: a device that only adds a node has only that. They are asked when
/// the machine is built, and called from any vCPU thread after that.
///
/// ```
/// use arch_ppc64::fdt::{FdtError, Tree};
/// use arch_ppc64::platform::{Describe, Device, NoInterrupts, PlatformBuilder};
/// use arch_ppc64::{CpuIndex, GuestRam, Hypercall, HypercallHandler, Next, Status};
/// # use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
/// # use std::sync::Arc;
/// # struct Config;
/// # impl MachineConfig for Config {
/// #     fn memory(&self) -> Memory { Memory::of_size(512 << 20) }
/// #     fn cpus(&self) -> Cpus { Cpus::new(1, Default::default()) }
/// #     fn boot(&self) -> Boot<'_> { Boot::new("") }
/// #     fn x_vof(&self) -> bool { true }
/// # }
///
/// /// Tells the guest how warm it is: a node, a property, and a hypercall.
/// struct Thermometer;
///
/// impl Device for Thermometer {
///     fn id(&self) -> &str {
///         "thermometer"
///     }
///
///     fn describe(&self, tree: &mut Tree, _: &Describe<'_>) -> Result<(), FdtError> {
///         tree.node("/thermometer")?.text("unit", &["kelvin"])?.cell("hypercall", 0xf100)?;
///         Ok(())
///     }
///
///     fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
///         Some(self)
///     }
/// }
///
/// impl HypercallHandler for Thermometer {
///     fn tokens(&self) -> &[u64] {
///         &[0xf100]
///     }
///
///     fn handle(&self, _: CpuIndex, _: &dyn GuestRam, call: &mut Hypercall) -> Next {
///         call.args[0] = 294;
///         call.finish(Status::SUCCESS)
///     }
/// }
///
/// # let machine = arch_ppc64::Machine::new(&Config)?;
/// let mut builder = PlatformBuilder::new(&machine, Arc::new(NoInterrupts));
/// builder.add(Arc::new(Thermometer));
/// let platform = builder.build()?;
/// # let ram: vm_memory::GuestMemoryMmap =
/// #     vm_memory::GuestMemoryMmap::from_ranges(&[(vm_memory::GuestAddress(0), 0x1000)])?;
/// let mut call = Hypercall::new(0xf100, &[]);
/// let _ = platform.hypercalls().dispatch(CpuIndex(0), &ram, &mut call);
/// assert_eq!(call.args[0], 294);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Device: Send + Sync {
    /// What tells the device from others of the machine, and what its saved state and its
    /// interrupts are found by: the same in every release, such as `vty@71000000`.
    fn id(&self) -> &str;

    /// Says in the tree what there is of it: its node, its properties. All nodes of the machine
    /// are there, and those of the devices before it in the list; `/vdevice` is where virtual
    /// devices go. Called for each tree that is made, and has to say the same each time.
    ///
    /// # Errors
    /// [`FdtError`] for what the tree cannot have, such as a property that somebody else has set.
    fn describe(&self, tree: &mut Tree, cx: &Describe<'_>) -> Result<(), FdtError> {
        let _ = (tree, cx);
        Ok(())
    }

    /// The hypercalls that it answers.
    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        None
    }

    /// The sets of hypercalls that are complete with this device: strings of
    /// `ibm,hypertas-functions` (LoPAPR table 171, "Hypervisor Call Function Set").
    fn function_sets(&self) -> &[&'static str] {
        &[]
    }

    /// The RTAS calls that it answers; `/rtas` has a property for each.
    fn rtas(&self) -> Option<&dyn RtasHandler> {
        None
    }

    /// Its memory-mapped registers.
    fn mmio(&self) -> Option<&dyn MmioHandler> {
        None
    }

    /// What learns of properties that a client of the client interface sets in the tree.
    fn properties(&self) -> Option<&dyn PropertyObserver> {
        None
    }

    /// What has to be saved of it. (Feature `serde`.)
    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn super::state::SaveState> {
        None
    }

    /// Comes to rest, by `until` at the latest: when this returns, it does nothing by itself any
    /// more. It writes to no RAM and raises no interrupt, what it was asked for is done or not begun,
    /// and nothing is lost. Calls of the guest are still answered. By default, there is nothing to
    /// do.
    ///
    /// # Errors
    /// [`StateError`] names what does not come to rest; it goes on as before then.
    fn pause(&self, until: Instant) -> Result<(), StateError> {
        let _ = until;
        Ok(())
    }

    /// Goes on after a [pause](Self::pause), or with a state that it has taken up, and with what came
    /// meanwhile. Nothing changes where it is at work.
    ///
    /// # Errors
    /// [`StateError`] names what cannot go on.
    fn resume(&self) -> Result<(), StateError> {
        Ok(())
    }

    /// The machine is switched on, or starts again. A restart is a new platform; this is for what
    /// the VMM keeps over restarts and plugs into each, such as a console. Called as the platform
    /// is built, before any CPU runs.
    fn reset(&self) {}
}
