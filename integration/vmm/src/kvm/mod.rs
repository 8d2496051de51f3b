//! KVM on a POWER host (KVM-HV): radix guests, XICS in the kernel.
//!
//! Everything compiles anywhere; [`Kvm::open`] is where a host that is not POWER is turned away.

mod modes;
mod sys;
mod vcpu;

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use arch_ppc64::layout::{FIRST_INTERRUPT, INTERRUPT_COUNT};
use arch_ppc64::{Machine, rtas};

use crate::ram::{HostRam, SharedRam};
use crate::vcpu::{Backend, BackendError, InterruptController, Vcpu, VirtualMachine};
use modes::Modes;
use vcpu::KvmVcpu;

const DEVICE: &str = "/dev/kvm";

/// The RTAS calls that the kernel's XICS answers by itself, once it knows their tokens.
const IN_KERNEL_RTAS_CALLS: [&str; 4] =
    ["ibm,set-xive", "ibm,get-xive", "ibm,int-on", "ibm,int-off"];

/// Priority of a source that is not to interrupt anybody (LoPAPR §15.2).
const LEAST_FAVORED: u64 = 0xff;

/// KVM of this host.
#[derive(Debug)]
pub struct Kvm {
    device: File,
    run_area_bytes: usize,
}

impl Kvm {
    /// Opens `/dev/kvm` and checks that it can run pseries guests.
    ///
    /// # Errors
    /// [`BackendError`] says what is missing.
    pub fn open() -> Result<Self, BackendError> {
        if !cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
            return Err(BackendError::Unsuitable(format!(
                "this host is {}; pseries guests need the KVM of a POWER host",
                std::env::consts::ARCH
            )));
        }
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open(DEVICE)
            .map_err(|source| BackendError::Open { path: DEVICE, source })?;
        let version = sys::with_value(&device, sys::GET_API_VERSION, 0)
            .map_err(BackendError::kernel("ask KVM for its version"))?;
        if version != sys::API_VERSION {
            return Err(BackendError::Unsuitable(format!(
                "KVM has API version {version}; the only one known is {}",
                sys::API_VERSION
            )));
        }
        for (capability, what) in [
            (sys::CAP_PPC_PAPR, "PAPR guests"),
            (sys::CAP_PPC_MMU_RADIX, "radix guests"),
            (sys::CAP_IRQ_XICS, "an XICS interrupt controller"),
            (sys::CAP_IMMEDIATE_EXIT, "immediate exits"),
        ] {
            let has = sys::with_value(&device, sys::CHECK_EXTENSION, capability.into())
                .map_err(BackendError::kernel("ask KVM what it can do"))?;
            if has == 0 {
                return Err(BackendError::Unsuitable(format!(
                    "KVM of this host cannot do {what}; a POWER9 or later host in radix mode \
                     with the module kvm-hv is needed"
                )));
            }
        }
        let run_area_bytes = sys::with_value(&device, sys::GET_VCPU_MMAP_SIZE, 0)
            .map_err(BackendError::kernel("ask KVM for the size of its run area"))?;
        Ok(Self { device, run_area_bytes: run_area_bytes as usize })
    }

    fn create_vm(&self) -> Result<Arc<OwnedFd>, BackendError> {
        let vm = sys::with_value(&self.device, sys::CREATE_VM, sys::VM_PPC_HV)
            .map_err(BackendError::kernel("create a virtual machine"))?;
        Ok(Arc::new(sys::owned(vm)))
    }
}

impl Backend for Kvm {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn host_pvr(&self) -> Result<Option<u32>, BackendError> {
        let vm = self.create_vm()?;
        let vcpu = sys::with_value(&vm.as_fd(), sys::CREATE_VCPU, 0)
            .map(sys::owned)
            .map_err(BackendError::kernel("create a virtual CPU"))?;
        let mut sregs = sys::Sregs::default();
        sys::with_struct(&vcpu, sys::GET_SREGS, &mut sregs)
            .map_err(BackendError::kernel("read the processor version"))?;
        Ok(Some(sregs.pvr))
    }

    fn create(
        &self,
        machine: &Machine,
        ram: &Arc<dyn HostRam>,
    ) -> Result<VirtualMachine, BackendError> {
        let vm = self.create_vm()?;
        give_memory(&vm, &**ram)?;
        let xics = Xics::create(&vm)?;
        let modes = Arc::new(Modes::new(vm.clone(), machine));
        let mut vcpus = Vec::with_capacity(machine.vcpus().len());
        for id in machine.vcpus() {
            let vcpu = KvmVcpu::create(&vm, ram, self.run_area_bytes, id, modes.clone())?;
            vcpu.enable(sys::CAP_PPC_PAPR, 0, 0)
                .map_err(BackendError::kernel("make a virtual CPU a PAPR one"))?;
            vcpu.enable(sys::CAP_IRQ_XICS, xics.device_number(), id.0.into())
                .map_err(BackendError::kernel("connect a virtual CPU to the XICS"))?;
            if let Some(level) = machine.cpu().compat() {
                vcpu.set_compat(level)
                    .map_err(BackendError::kernel("hold a virtual CPU to an older architecture"))?;
            }
            vcpus.push(vcpu);
        }
        xics.add_sources()?;
        modes.know(machine, &vcpus)?;
        Ok(VirtualMachine {
            vcpus: vcpus.into_iter().map(|vcpu| Box::new(vcpu) as Box<dyn Vcpu>).collect(),
            handlers: modes::handlers(&modes, machine.max_cpus()),
            level: modes,
            interrupts: Arc::new(xics),
            // The kernel answers the calls.
            sources: None,
            ram: Arc::new(SharedRam(ram.clone())),
        })
    }
}

/// Makes `ram` the guest's memory. The VM's descriptor must not outlive `ram`: the CPUs, which
/// are what can use the memory, hold it.
fn give_memory(vm: &OwnedFd, ram: &dyn HostRam) -> Result<(), BackendError> {
    for (slot, region) in (0..).zip(ram.regions()) {
        // SAFETY: `HostRam` vouches for the region while `ram` lives; every `KvmVcpu` holds `ram`,
        // and without a CPU nothing runs that could touch the memory.
        unsafe { sys::set_memory_region(vm, slot, &region) }
            .map_err(BackendError::kernel("give memory to the guest"))?;
    }
    Ok(())
}

/// The kernel's XICS.
struct Xics {
    vm: Arc<OwnedFd>,
    device: OwnedFd,
}

impl Xics {
    fn create(vm: &Arc<OwnedFd>) -> Result<Self, BackendError> {
        let mut device = sys::CreateDevice { kind: sys::DEV_TYPE_XICS, ..Default::default() };
        sys::with_struct(vm, sys::CREATE_DEVICE, &mut device)
            .map_err(BackendError::kernel("create the XICS"))?;
        let device = sys::owned(device.fd as i32);
        for name in IN_KERNEL_RTAS_CALLS {
            let known = rtas::token_of(name).and_then(|token| sys::RtasToken::new(name, token));
            let mut token = known.ok_or_else(|| {
                BackendError::Unsuitable(format!("the machine has no RTAS call {name}"))
            })?;
            sys::with_struct(vm, sys::PPC_RTAS_DEFINE_TOKEN, &mut token)
                .map_err(BackendError::kernel("give RTAS calls to the XICS"))?;
        }
        Ok(Self { vm: vm.clone(), device })
    }

    fn device_number(&self) -> u64 {
        self.device.as_raw_fd() as u64
    }

    /// Makes the sources of the machine: edges, masked until the guest sets them up.
    fn add_sources(&self) -> Result<(), BackendError> {
        let masked = LEAST_FAVORED << sys::XICS_PRIORITY_SHIFT | sys::XICS_MASKED;
        for number in FIRST_INTERRUPT..FIRST_INTERRUPT + INTERRUPT_COUNT {
            sys::set_device_attr(&self.device, sys::DEV_XICS_GRP_SOURCES, number.into(), masked)
                .map_err(BackendError::kernel("make an interrupt source"))?;
        }
        Ok(())
    }
}

impl InterruptController for Xics {
    fn raise(&self, number: u32) {
        let mut edge = sys::IrqLevel { irq: number, level: 1 };
        if let Err(error) = sys::with_struct(&self.vm, sys::IRQ_LINE, &mut edge) {
            log::warn!("cannot raise interrupt {number:#x}: {error}");
        }
    }
}
