use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Mutex;

use arch_ppc64::hotplug::NoHost;
use arch_ppc64::platform::NoInterrupts;
use arch_ppc64::{MemoryFault, NoConsole, NoCpus};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryBackend, GuestMemoryRegion};

use super::*;
use crate::config::{Backing, MemoryConfig, PayloadConfig, Size, VmConfig};
use crate::devices::Needs;

/// A 64-bit little-endian ELF file with one segment: eight bytes of code in 64 KiB.
fn kernel() -> Vec<u8> {
    const BASE: u64 = 0xc000_0000_0000_0000;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2_u16, 21].iter().flat_map(|half| half.to_le_bytes()));
    file.extend(1_u32.to_le_bytes());
    file.extend([BASE, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 1, 0, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    file.extend([1_u32, 7].iter().flat_map(|word| word.to_le_bytes()));
    let header = [120, BASE, 0, 8, 0x1_0000, 0x1_0000];
    file.extend(header.iter().flat_map(|word: &u64| word.to_le_bytes()));
    file.extend(*b"the code");
    file
}

/// Files of one test.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("pseries-vmm-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("kernel"), kernel()).unwrap();
        std::fs::write(folder.join("initrd"), b"the initrd").unwrap();
        Self(folder)
    }

    fn config(&self, x_vof: bool) -> VmConfig {
        VmConfig {
            memory: MemoryConfig { size: Size(64 << 20), ..Default::default() },
            payload: PayloadConfig {
                kernel: Some(self.0.join("kernel")),
                initramfs: Some(self.0.join("initrd")),
                cmdline: None,
                boot: None,
            },
            machine: arch_ppc64::config::PseriesOptions::default().with_x_vof(x_vof),
            ..Default::default()
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn board() -> Board {
    Board {
        console: Arc::new(NoConsole),
        is_on_terminal: false,
        clock: Arc::default(),
        nvram: Arc::default(),
        randomness: Randomness::Host,
        ram: RamPlan::default(),
        devices: Arc::new(Devices::open(&VmConfig::default(), None, Needs::default()).unwrap()),
    }
}

fn parts(ram: &dyn GuestRam) -> Parts<'_> {
    Parts {
        ram,
        cpus: Arc::new(NoCpus),
        boot_count: 1,
        interrupts: Arc::new(NoInterrupts),
        devices: Vec::new(),
        hotplug: Arc::new(NoHost),
        wires: Wires::default(),
        resumed: None,
        boot_arguments: None,
        boot_device: None,
        stopping: Stopping::new(|| false),
    }
}

#[test]
fn each_file_is_named_in_what_is_said_of_it() {
    let files = Files::new("named");
    let config = files.config(false);
    std::fs::write(files.0.join("kernel"), b"#!/bin/sh").unwrap();
    let machine = Machine::new(&config).unwrap();
    let message = |config: &VmConfig| {
        let error = Payload::open(&config.payload, &machine).unwrap_err();
        assert!(error.is_the_users());
        error.to_string()
    };
    assert!(message(&config).ends_with("kernel"));
    std::fs::write(files.0.join("kernel"), kernel()).unwrap();
    std::fs::write(files.0.join("initrd"), b"").unwrap();
    assert!(message(&config).ends_with("initrd"));
    std::fs::remove_file(files.0.join("initrd")).unwrap();
    assert!(message(&config).ends_with("initrd"));
}

#[test]
fn memory_that_is_cleared_is_as_new() {
    let files = Files::new("clear");
    let machine = Machine::new(&files.config(true)).unwrap();
    // Of a file one can tell what it takes.
    let (plan, goes_on) = (RamPlan::uniform(Backing::default().shared()), Stopping::new(|| false));
    let ram = create_ram(machine.memory_map(), &plan, &goes_on).unwrap();
    let memory = ram.memory();
    let ram = memory.memory();
    let places = [0, 1 << 20, (64 << 20) - 8];
    for at in places {
        ram.write_obj(u64::MAX, GuestAddress(at)).unwrap();
    }
    clear_ram(memory, &plan, &goes_on).unwrap();
    // Nothing of it takes memory of the host.
    let region = ram.iter().next().unwrap();
    assert_eq!(region.file_offset().unwrap().file().metadata().unwrap().blocks(), 0);
    for at in places {
        assert_eq!(ram.read_obj::<u64>(GuestAddress(at)).unwrap(), 0);
    }
}

/// RAM during whose first write something happens.
struct Meanwhile<'a> {
    ram: &'a MachineRam,
    happens: Mutex<Option<Box<dyn FnOnce() + Send + 'a>>>,
}

impl GuestRam for Meanwhile<'_> {
    fn read(&self, at: GuestAddress, buf: &mut [u8]) -> Result<(), MemoryFault> {
        GuestRam::read(self.ram, at, buf)
    }

    fn write(&self, at: GuestAddress, data: &[u8]) -> Result<(), MemoryFault> {
        if let Some(happens) = self.happens.lock().unwrap().take() {
            happens();
        }
        GuestRam::write(self.ram, at, data)
    }

    fn read_available(&self, at: GuestAddress, buf: &mut [u8]) -> usize {
        self.ram.read_available(at, buf)
    }

    fn check_ram(&self, at: GuestAddress, bytes: u64) -> Result<(), MemoryFault> {
        self.ram.check_ram(at, bytes)
    }
}

#[test]
fn files_that_change_while_they_are_read_are_told() {
    let files = Files::new("change");
    let config = files.config(false);
    let machine = Machine::new(&config).unwrap();
    let ram = plain_ram(&machine);
    for name in ["kernel", "initrd"] {
        for bytes in [0, 1, 1 << 40] {
            std::fs::write(files.0.join("kernel"), kernel()).unwrap();
            std::fs::write(files.0.join("initrd"), b"the initrd").unwrap();
            let from = BootFrom::open(&config, &machine).unwrap();
            let change = || {
                let file = File::options().write(true).open(files.0.join(name)).unwrap();
                file.set_len(bytes).unwrap();
            };
            let ram = Meanwhile { ram: &ram, happens: Mutex::new(Some(Box::new(change))) };
            for _ in 0..2 {
                // While it is read, and before.
                let error = prepare(&machine, &from, &board(), parts(&ram)).err().unwrap();
                assert!(matches!(error, BootError::Changed { .. }), "{name} {bytes}: {error}");
                assert!(error.is_the_users() && error.to_string().contains(name), "{error}");
            }
        }
    }
}

/// A disk that does not answer must not keep anybody: once somebody wants to leave, it is not asked.
#[cfg(feature = "vof")]
#[test]
fn nothing_is_read_of_a_machine_that_is_to_stop() {
    let files = Files::new("stop");
    std::fs::write(files.0.join("disk"), [0; 4096]).unwrap();
    let mut config = files.config(true);
    config.payload = PayloadConfig::default();
    let disk = format!("path={}", files.0.join("disk").display());
    config.disks.push(crate::config::DiskConfig::parse(&disk).unwrap());
    let machine = Machine::new(&config).unwrap();
    let ram = Arc::new(plain_ram(&machine));
    let from = BootFrom::open(&config, &machine).unwrap();
    let devices = Arc::new(Devices::open(&config, None, Needs::default()).unwrap());
    let start = |is_ending: bool| {
        let board = Board { devices: devices.clone(), ..board() };
        let wires = Wires { memory: ram.memory().clone(), notify_events: None };
        let stopping = Stopping::new(move || is_ending);
        prepare(&machine, &from, &board, Parts { wires, stopping, ..parts(&*ram) }).err().unwrap()
    };
    assert!(matches!(start(true), BootError::Ending));
    assert!(matches!(start(false), BootError::Nothing));
}
