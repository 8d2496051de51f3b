//! What a guest does, by its ways in: RTAS calls, hypercalls, loads and stores.

use std::sync::Arc;

use arch_ppc64::pci::{PciAddress, PciBus, PciWindows, unit_of};
use arch_ppc64::platform::{Platform, PlatformBuilder};
use arch_ppc64::{CpuIndex, GuestRam, Hypercall, Machine};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace};

use super::{Devices, Plugged, Wires};
use crate::boot::MachineRam;
use crate::config::VmConfig;
use crate::ram::{HostRam, Ram};
use crate::software::{Clock, Software};
use crate::vcpu::Backend;

/// Where the buffers of RTAS calls are.
const BUFFER: GuestAddress = GuestAddress(0x1000);

/// The hypercalls that are made here.
const H_RTAS: u64 = 0xf000;
const H_EOI: u64 = 0x64;
const H_CPPR: u64 = 0x68;
const H_XIRR: u64 = 0x74;

/// A machine in software that no CPU runs in.
pub(super) struct Door {
    pub(super) memory: Arc<Ram>,
    platform: Platform,
    ram: Arc<dyn GuestRam>,
    windows: PciWindows,
    _devices: Option<Plugged>,
}

impl Door {
    /// A start of the machine.
    pub(super) fn new(config: &VmConfig, devices: &Devices, ram: &Arc<MachineRam>) -> Self {
        let machine = Machine::new(config).unwrap();
        let host_ram: Arc<dyn HostRam> = ram.clone();
        let software = Software::new(Arc::new(Clock::of_host()));
        let vm = software.create(&machine, &host_ram).unwrap();
        let mut builder = PlatformBuilder::new(&machine, vm.interrupts);
        builder.add_all(vm.devices);
        let wires = Wires { memory: ram.memory().clone(), notify_events: vm.notify_events };
        let devices = devices.plug(&mut builder, wires, None).unwrap();
        Self {
            memory: ram.memory().memory().into_inner(),
            platform: builder.build().unwrap(),
            ram: vm.ram,
            windows: PciWindows::of_bridge(0),
            _devices: devices,
        }
    }

    /// An RTAS call that succeeds: its other results.
    pub(super) fn rtas<const N: usize>(&self, name: &str, inputs: &[u32]) -> [u32; N] {
        let calls = self.platform.rtas_calls();
        let (_, token) = calls.iter().find(|(known, _)| *known == name).unwrap();
        let header = [*token, inputs.len() as u32, 1 + N as u32];
        let cells = header.iter().chain(inputs);
        for (at, cell) in (BUFFER.0..).step_by(4).zip(cells) {
            self.memory.write_obj(cell.to_be(), GuestAddress(at)).unwrap();
        }
        assert_eq!(self.hypercall(H_RTAS, BUFFER.0), 0, "{name}");
        let results = BUFFER.0 + 4 * (3 + inputs.len() as u64);
        let result = |number| {
            let cell: u32 = self.memory.read_obj(GuestAddress(results + 4 * number)).unwrap();
            u32::from_be(cell)
        };
        assert_eq!(result(0), 0, "the status of {name}");
        std::array::from_fn(|number| result(1 + number as u64))
    }

    /// Lets all interrupts through to the first CPU.
    pub(super) fn open_interrupts(&self) {
        assert_eq!(self.hypercall(H_CPPR, 0xff), 0);
    }

    /// The source of an interrupt that waits; 0 where there is none.
    pub(super) fn accept_interrupt(&self) -> u32 {
        let mut call = Hypercall::new(H_XIRR, &[0]);
        let _ = self.platform.hypercalls().dispatch(CpuIndex(0), &*self.ram, &mut call);
        call.args[0] as u32 & 0xff_ffff
    }

    /// The interrupt of this source is dealt with.
    pub(super) fn end_interrupt(&self, source: u32) {
        assert_eq!(self.hypercall(H_EOI, 0xff << 24 | u64::from(source)), 0);
    }

    fn hypercall(&self, token: u64, argument: u64) -> u64 {
        let mut call = Hypercall::new(token, &[argument]);
        let _ = self.platform.hypercalls().dispatch(CpuIndex(0), &*self.ram, &mut call);
        call.status
    }

    /// The inputs of a call about a function.
    pub(super) fn about(function: PciAddress, register: u32, more: &[u32]) -> Vec<u32> {
        let unit = unit_of(0);
        let begin = [function.cell() | register, (unit >> 32) as u32, unit as u32];
        begin.iter().chain(more).copied().collect()
    }
}

/// The bus as a guest has it.
impl PciBus for Door {
    fn functions(&self) -> Vec<PciAddress> {
        (0..32).filter_map(PciAddress::device_0).collect()
    }

    fn read_config(&self, function: PciAddress, register: u16, data: &mut [u8]) {
        let inputs = Self::about(function, register.into(), &[data.len() as u32]);
        let [value] = self.rtas("ibm,read-pci-config", &inputs);
        data.copy_from_slice(&value.to_le_bytes()[..data.len()]);
    }

    fn write_config(&self, function: PciAddress, register: u16, data: &[u8]) {
        let mut value = [0; 4];
        value[..data.len()].copy_from_slice(data);
        let more = [data.len() as u32, u32::from_le_bytes(value)];
        let [] = self.rtas("ibm,write-pci-config", &Self::about(function, register.into(), &more));
    }

    fn read_memory(&self, at: u64, data: &mut [u8]) {
        let real = self.windows.real(at, data.len() as u64).unwrap();
        assert!(self.platform.mmio().read(real, data));
    }

    fn write_memory(&self, at: u64, data: &[u8]) {
        let real = self.windows.real(at, data.len() as u64).unwrap();
        assert!(self.platform.mmio().write(real, data));
    }
}
