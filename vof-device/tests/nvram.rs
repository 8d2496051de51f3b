//! Configuration variables as a client of the interface sees and sets them (IEEE 1275-1994 §3.5,
//! LoPAPR §8.4.1.1): in `/options`, over the machine's starts.

mod pseries;

use std::sync::Arc;

use arch_ppc64::Machine;
use arch_ppc64::config::Memory;
use arch_ppc64::nvram::Nvram;
use arch_ppc64::platform::{Platform, PlatformError, outline_with};
use pseries::Config;
use vm_memory::{GuestAddress, GuestMemoryMmap};
use vof_device::test_utils::Client;

const NONE: u32 = u32::MAX;
const RAM_BYTES: u32 = 64 << 20;
/// Where the client has its arrays.
const WORKSPACE: u32 = 0x100_0000;
const WORKSPACE_BYTES: u32 = 0x10_0000;

/// One start of a machine with this NVRAM.
struct Start {
    platform: Platform,
    ram: GuestMemoryMmap,
}

impl Start {
    fn of(nvram: &Arc<Nvram>) -> Self {
        let memory = Memory::of_size(RAM_BYTES.into());
        let machine = Machine::new(&Config { memory, boot_cpus: 1, max_cpus: 1 }).unwrap();
        let mut platform = outline_with(&machine, |builder| {
            builder.add(nvram.clone());
            Ok::<_, PlatformError>(())
        })
        .unwrap();
        vof_device::plug_in(&mut platform, |vof| vof).unwrap();
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM_BYTES as usize)]).unwrap();
        Self { platform, ram }
    }

    fn client(&self) -> Client<'_> {
        Client::new(self.platform.hypercalls(), &self.ram, WORKSPACE, WORKSPACE_BYTES)
    }

    fn option(&self, name: &str) -> Option<Vec<u8>> {
        let client = self.client();
        client.getprop(client.phandle("/options"), name)
    }

    /// What `setprop` gives.
    fn set(&self, name: &str, value: &[u8]) -> u32 {
        let client = self.client();
        let options = client.phandle("/options");
        let len = value.len() as u32;
        client.one("setprop", &[options.into(), name.into(), value.into(), len.into()])
    }
}

/// "While OF is available, the OS can alter the contents of these properties by using the setprop
/// client interface service."
#[test]
fn options_are_kept_where_there_is_an_nvram() {
    let nvram = Arc::new(Nvram::default());
    let first = Start::of(&nvram);
    assert_eq!(first.option("boot-device"), None);
    for (name, value) in [
        ("boot-device", &b"/pci@800000020000000/disk@1\0"[..]),
        ("auto-boot?", b"false\0"),
        ("real-mode?", b"false\0"),
        ("Own", b"x\0"),
    ] {
        assert_eq!(first.set(name, value), value.len() as u32, "{name}");
        assert_eq!(first.option(name).unwrap(), value, "{name}");
    }
    let path = nvram.variable("boot-device");
    assert_eq!(path.as_deref(), Some("/pci@800000020000000/disk@1"));

    let next = Start::of(&nvram);
    for (name, value) in [
        ("boot-device", Some(&b"/pci@800000020000000/disk@1\0"[..])),
        ("auto-boot?", Some(b"false\0")),
        // What the machine is lasts as long as a start, and so does what can be no variable.
        ("real-mode?", Some(b"true\0")),
        ("Own", None),
    ] {
        assert_eq!(next.option(name).as_deref(), value, "{name}");
    }
}

/// A setting that cannot be kept is not made.
#[test]
fn setprop_fails_where_the_nvram_is_full() {
    let nvram = Arc::new(Nvram::default());
    let start = Start::of(&nvram);
    assert_eq!(start.set("boot-file", b"vmlinux\0"), 8);
    assert_eq!(start.set("boot-file", &[b'x'; 8192]), NONE);
    assert_eq!(start.set("nvramrc", &[b'x'; 8192]), NONE);
    assert_eq!(start.option("boot-file").unwrap(), b"vmlinux\0");
    assert_eq!(start.option("nvramrc"), None);
    assert_eq!(nvram.variable("boot-file").as_deref(), Some("vmlinux"));
}
