//! The nodes of the pseries machine as a client of its interface sees them (IEEE 1275-1994 §3.5),
//! and paths to them (§4.3).

mod pseries;

use pseries::machine;
use vof_device::test_utils::Client;

const NONE: u32 = u32::MAX;

fn text(client: &Client<'_>, path: &str, name: &str) -> String {
    let value = client.getprop(client.phandle(path), name).unwrap();
    String::from_utf8(value).unwrap()
}

fn ihandle(client: &Client<'_>, name: &str) -> u32 {
    let value = client.getprop(client.phandle("/chosen"), name).unwrap();
    u32::from_be_bytes(value.try_into().unwrap())
}

/// §3.5: `/chosen` tells "the ihandle" of the console's input and output, the memory, the mmu.
#[test]
fn chosen_has_open_instances_of_console_memory_and_mmu() {
    let machine = machine();
    let client = machine.client();
    for (name, path) in [
        ("stdin", "/vdevice/vty@71000000"),
        ("stdout", "/vdevice/vty@71000000"),
        ("memory", "/memory@0"),
        ("mmu", "/cpus/PowerPC,POWER9@0"),
    ] {
        assert_eq!(client.path("instance-to-path", ihandle(&client, name)), path, "{name}");
    }
    assert_eq!(text(&client, "/chosen", "bootargs"), "console=hvc0\0");
}

/// §3.5, `/aliases`: each property is a name, and its value the path that it stands for.
#[test]
fn every_alias_is_a_path_to_a_device() {
    let machine = machine();
    let client = machine.client();
    let aliases = client.phandle("/aliases");
    let mut count = 0;
    for name in client.properties(aliases) {
        if name == "name" || name == "phandle" {
            continue;
        }
        let path = text(&client, "/aliases", &name);
        let path = path.strip_suffix('\0').unwrap();
        assert!(client.finddevice(path).is_some(), "{name}");
        assert_eq!(client.finddevice(&name), client.finddevice(path), "{name}");
        count += 1;
    }
    assert!(count > 0);
}

/// §3.5, `/options`: the configuration variables; one that is set keeps its value until the machine starts again.
#[test]
fn options_are_settings_until_the_next_start() {
    let machine = machine();
    let client = machine.client();
    let options = client.phandle("/options");
    for (name, value) in [
        ("real-mode?", "true\0"),
        ("little-endian?", "false\0"),
        ("auto-boot?", "true\0"),
        ("input-device", "hvterm\0"),
        ("output-device", "hvterm\0"),
    ] {
        assert_eq!(text(&client, "/options", name), value, "{name}");
    }
    let set = [options.into(), "auto-boot?".into(), "false".into(), 6.into()];
    assert_eq!(client.one("setprop", &set), 6);
    assert_eq!(text(&client, "/options", "auto-boot?"), "false\0");
    let machine = self::machine();
    let client = machine.client();
    assert_eq!(text(&client, "/options", "auto-boot?"), "true\0");
}

/// §3.5, `/openprom`: who the firmware is; and aliases name devices by their relative addresses.
#[test]
fn openprom_says_who_the_firmware_is() {
    let machine = machine();
    let client = machine.client();
    let model = text(&client, "/openprom", "model");
    assert!(model.starts_with("rust-vmm,vof ") && model.ends_with('\0'), "{model:?}");
    assert_eq!(text(&client, "/openprom", "device_type"), "BootROM\0");
    let openprom = client.phandle("/openprom");
    assert_eq!(client.getprop(openprom, "relative-addressing").unwrap(), b"");
}

/// §3.5, `/packages`: where support packages would be; there is none.
#[test]
fn packages_is_there_and_empty() {
    let machine = machine();
    let client = machine.client();
    let packages = client.phandle("/packages");
    assert_eq!(client.one("child", &[packages.into()]), 0);
    assert_eq!(client.finddevice("/packages/deblocker"), None);
}

/// §4.3.4 to §4.3.6 on units with letters: case and leading zeros do not tell units apart, names
/// are as they are written.
#[test]
fn units_compare_in_either_case_and_without_leading_zeros() {
    let machine = machine();
    let client = machine.client();
    let tenth = client.phandle("/cpus/PowerPC,POWER9@a");
    for path in [
        "/cpus/PowerPC,POWER9@A",
        "/cpus/PowerPC,POWER9@0a",
        "/cpus/PowerPC,POWER9@000A",
        "/cpus/@a",
        "/cpus/@0A",
        "/cpus/POWER9@a",
        "/cpus/POWER9@0A",
    ] {
        assert_eq!(client.finddevice(path), Some(tenth), "{path}");
    }
    for path in ["/cpus/powerpc,power9@a", "/CPUS/@a", "/cpus/@c", "/cpus/PowerPC@a"] {
        assert_eq!(client.finddevice(path), None, "{path}");
    }
    // The first of those that have the name, where the unit is left out.
    let first = client.finddevice("/cpus/@0");
    assert_eq!(client.finddevice("/cpus/PowerPC,POWER9"), first);
    assert_eq!(client.finddevice("/cpus/POWER9"), first);
}

/// §4.3.1 and §4.3.3: an alias is the first component only, and what `:` sets off are arguments.
#[test]
fn aliases_are_first_components_and_arguments_are_apart() {
    let machine = machine();
    let client = machine.client();
    let vty = client.phandle("/vdevice/vty@71000000");
    for path in ["hvterm", "hvterm:0", "hvterm/", "/vdevice:x/vty:y", "/vdevice/vty@71000000:/"] {
        assert_eq!(client.finddevice(path), Some(vty), "{path}");
    }
    for path in ["/hvterm", "/vdevice/hvterm", "vdevice", "HVTERM"] {
        assert_eq!(client.finddevice(path), None, "{path}");
    }
    let open = client.one("open", &["hvterm:9600,n".into()]);
    let path = client.path("instance-to-path", open);
    assert_eq!(path, "/vdevice/vty@71000000:9600,n");
}

/// §6.3.2.3, seek: −1 where the device has no places. A console has none, by either way in.
#[test]
fn seek_fails_on_every_instance() {
    let machine = machine();
    let client = machine.client();
    let plain = client.one("open", &["/cpus".into()]);
    for ihandle in [ihandle(&client, "stdout"), ihandle(&client, "memory"), plain, 0, NONE] {
        for place in [0, 1, NONE] {
            let seek = [ihandle.into(), 0.into(), place.into()];
            assert_eq!(client.one("seek", &seek), NONE);
        }
    }
}
