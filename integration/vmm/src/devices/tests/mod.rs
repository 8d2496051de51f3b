//! Devices from their configuration to the guest's accesses, without a guest.

mod door;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arch_ppc64::Machine;
use arch_ppc64::fdt::Start;
use arch_ppc64::pci::PciAddress;
use arch_ppc64::platform::outline_with;
use pseries_devices::virtio::driver::Buffer;
use pseries_devices::virtio::pci_driver::Driver;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::boot::{BootError, plain_ram};
use door::Door;

/// What hangs is ended so late.
const HANGS: Duration = Duration::from_secs(120);

/// Requests of a disk (Virtio 1.2 §5.2.6), and their good end.
const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
const OK: u8 = 0;

/// Where the guest has its queue, and the parts of a request.
const QUEUE: GuestAddress = GuestAddress(0x10_0000);
const HEADER: GuestAddress = GuestAddress(0x11_0000);
const STATUS: GuestAddress = GuestAddress(0x11_1000);
const DATA: GuestAddress = GuestAddress(0x12_0000);

/// A folder of one test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pseries-vmm-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn disk(&self, name: &str, bytes: usize) -> String {
        let path = self.path(name);
        fs::write(&path, (0..bytes).map(|at| (at / 512) as u8).collect::<Vec<_>>()).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn config(json: &str) -> VmConfig {
    VmConfig::from_json(json.as_bytes(), Path::new("m.json")).unwrap()
}

fn tree(devices: &Devices, config: &VmConfig) -> Vec<u8> {
    let machine = Machine::new(config).unwrap();
    let mut plugged = None;
    let platform = outline_with(&machine, |builder| {
        plugged = devices.plug(builder, Wires::default(), None)?;
        Ok::<_, BootError>(())
    });
    platform.unwrap().blob(&Start::new(GuestAddress(0x40_0000), [0; 32])).unwrap()
}

#[test]
fn the_outline_is_as_the_devices_are() {
    let folder = Folder::new("outline");
    let (disk, passt) = (folder.disk("disk", 4096), folder.path("passt"));
    let _listener = UnixListener::bind(&passt).unwrap();
    let config = config(&format!(
        r#"{{
            "disks": [{{"path": "{disk}", "num_queues": 3, "queue_size": 64}}],
            "net": [{{"socket": "{passt}", "mac": "52:54:00:12:34:56"}}],
            "rng": {{"src": "/dev/urandom"}},
            "vsock": {{"cid": 3, "socket": "{}"}},
            "console": {{"mode": "Null"}}
        }}"#,
        folder.path("vsock")
    ));
    let console = Box::new(pseries_devices::host_console::NullEnd::new());
    let devices = Devices::open(&config, Some(console), Needs::default()).unwrap();
    assert_eq!(devices.places().len(), 5);
    let outline = tree(&Devices::outline(&config), &config);
    assert!(tree(&devices, &config) == outline);
    // It is not just empty.
    let without = VmConfig::default();
    assert!(outline.len() > tree(&Devices::outline(&without), &without).len() + 1000);
}

/// Reads, writes and flushes a disk as a driver does, with messages; gives what was in its second
/// sector.
fn use_disk(door: &Door) -> Vec<u8> {
    let function = PciAddress::device_0(0).unwrap();
    let driver = Driver::probe(door, function);
    assert_eq!(driver.config_16(2), 0x1042);

    // Messages, in the order in which Linux asks for them.
    let control = driver.msix.capability + 2;
    driver.set_config_16(control, 0xc000);
    let vectors = u32::from(driver.msix.vectors);
    let change = Door::about(function, 0, &[4, vectors, 1]);
    assert_eq!(door.rtas("ibm,change-msi", &change), [vectors, 2, 2]);
    let query = Door::about(function, 0, &[1]);
    let [source, is_edge] = door.rtas("ibm,query-interrupt-source-number", &query);
    assert_eq!(is_edge, 1);
    driver.set_config_16(control, 0x8000);
    driver.mask(1, false);
    let [] = door.rtas("ibm,set-xive", &[source, 0, 5]);
    let [] = door.rtas("ibm,int-on", &[source]);
    door.open_interrupts();

    driver.negotiate(0).unwrap();
    let mut queue = driver.queue(door.memory.clone(), 0, 16, QUEUE);
    driver.driver_ok();
    let mut request = |kind: u32, sector: u64, data: &[Buffer]| {
        door.memory.write_obj(kind.to_le(), HEADER).unwrap();
        door.memory.write_obj(sector.to_le(), GuestAddress(HEADER.0 + 8)).unwrap();
        door.memory.write_obj(0xff_u8, STATUS).unwrap();
        let (header, status) = (Buffer::readable(HEADER.0, 16), Buffer::writable(STATUS.0, 1));
        queue.add(&[&[header], data, &[status]].concat());
        driver.notify(0);
        let start = Instant::now();
        while door.accept_interrupt() != source {
            assert!(start.elapsed() < HANGS, "no interrupt");
            thread::yield_now();
        }
        queue.next_used().unwrap();
        assert_eq!(door.memory.read_obj::<u8>(STATUS).unwrap(), OK);
        // The end of the interrupt.
        door.end_interrupt(source);
    };
    request(READ, 1, &[Buffer::writable(DATA.0, 512)]);
    let mut sector = vec![0; 512];
    door.memory.read_slice(&mut sector, DATA).unwrap();
    door.memory.write_slice(&[0xa5; 1024], DATA).unwrap();
    request(WRITE, 1, &[Buffer::readable(DATA.0, 1024)]);
    request(FLUSH, 0, &[]);
    sector
}

#[test]
fn a_disk_is_read_and_written_through_the_bridge() {
    let folder = Folder::new("door");
    let path = folder.disk("disk", 1 << 20);
    let config =
        config(&format!(r#"{{"memory": {{"size": "64M"}}, "disks": [{{"path": "{path}"}}]}}"#));
    let ram = Arc::new(plain_ram(&Machine::new(&config).unwrap()));
    for repeatable in [false, true] {
        folder.disk("disk", 1 << 20);
        let devices =
            Devices::open(&config, None, Needs { repeatable, ..Needs::default() }).unwrap();
        let first = use_disk(&Door::new(&config, &devices, &ram));
        assert_eq!(first, [1; 512]);
        // The machine starts again, with the same disk.
        let again = use_disk(&Door::new(&config, &devices, &ram));
        assert_eq!(again, [0xa5; 512]);
        drop(devices);
        let content = fs::read(&path).unwrap();
        assert_eq!(content.len(), 1 << 20);
        assert_eq!((content[0], content[511], content[2047], content[2048]), (0, 0, 3, 4));
        assert!(content[512..1536].iter().all(|&byte| byte == 0xa5));
    }
}

#[test]
fn a_disk_belongs_to_one_machine() {
    let folder = Folder::new("locked");
    let path = folder.disk("disk", 4096);
    let disk = |more: &str| config(&format!(r#"{{"disks": [{{"path": "{path}"{more}}}]}}"#));
    let read_only = disk(r#", "readonly": true"#);
    let open = |config: &VmConfig| Devices::open(config, None, Needs::default());
    let devices = open(&disk("")).unwrap();
    for config in [&disk(""), &read_only] {
        let error = open(config).unwrap_err();
        assert!(error.is_the_users(), "{error}");
        assert!(error.to_string().contains(&path), "{error}");
    }
    drop(devices);
    let _readers = [open(&read_only).unwrap(), open(&read_only).unwrap()];
    assert!(open(&disk("")).is_err());
}

/// Who has nothing that it may not have keeps what it has, and takes all or nothing.
#[test]
fn disks_are_handed_over_together() {
    let folder = Folder::new("handed-over");
    let paths = [folder.disk("a", 4096), folder.disk("b", 4096)];
    let [first, second] = &paths;
    let both = format!(r#"{{"disks": [{{"path": "{first}"}}, {{"path": "{second}"}}]}}"#);
    let needs = Needs { handed_over: true, ..Needs::default() };
    let from = Devices::open(&config(&both), None, Needs::default()).unwrap();
    let to = Devices::open(&config(&both), None, needs).unwrap();
    let error = to.lock_files().unwrap_err();
    assert!(error.to_string().contains(first), "{error}");
    from.flush_files().unwrap();
    from.unlock_files();
    let only_second = config(&format!(r#"{{"disks": [{{"path": "{second}"}}]}}"#));
    let third = Devices::open(&only_second, None, Needs::default()).unwrap();
    assert!(to.lock_files().unwrap_err().to_string().contains(second));
    third.unlock_files();
    // The first was not kept.
    from.lock_files().unwrap();
    from.unlock_files();
    to.lock_files().unwrap();
    to.lock_files().unwrap();
    assert!(from.lock_files().is_err());
}
