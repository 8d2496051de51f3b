//! Devices that come and go, with guests that do their part, or do not.

use std::path::PathBuf;

use arch_ppc64::Machine;
use pseries_devices::disk::{DiskOptions, FileDisk};

use super::guest::{Guest, SLOT};
use super::*;
use crate::config::{DiskConfig, FsConfig, RngConfig, VmConfig, VsockConfig};
use crate::devices::{
    DeviceChangeError, DeviceConfig, DeviceInfo, DeviceState, Devices, Needs, Removal,
};

/// A folder of its own, with disks in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("plug-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn disk(&self, name: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, vec![0; 4096]).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn disk(path: &str) -> DiskConfig {
    DiskConfig::parse(&format!("path={path}")).unwrap()
}

fn rng() -> RngConfig {
    serde_json::from_str(r#"{"src": "/dev/urandom"}"#).unwrap()
}

/// A machine with the devices of a configuration; the second console is one without a place to write.
fn machine(config: &str) -> (Guest, Arc<Devices>) {
    let config: VmConfig = serde_json::from_str(config).unwrap();
    let devices = Arc::new(Devices::open(&config, None, Needs::default()).unwrap());
    let machine = Machine::new(&config).unwrap();
    (Guest::with_devices(machine, Control::new(), None, devices.clone()), devices)
}

const SMALL: &str = r#"{ "memory": { "size": "64M" } }"#;

fn states(devices: &[DeviceInfo]) -> Vec<(&str, DeviceState)> {
    devices.iter().map(|device| (&*device.place.id, device.state)).collect()
}

/// Waits until the devices are in these states, the guest doing all that it is told.
fn settles(guest: &Guest, expected: &[(&str, DeviceState)]) {
    guest.obey();
    let reached = |devices: &[DeviceInfo]| states(devices) == expected;
    let devices = guest.control.wait_for_devices(HANGS, reached).unwrap();
    assert_eq!(states(&devices), expected);
}

fn is_locked(path: &str) -> bool {
    FileDisk::open(path.as_ref(), &DiskOptions::new()).is_err()
}

fn refused(error: &DeviceChangeError) -> String {
    assert!(error.is_the_users(), "{error}");
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(reason) = source {
        text += &format!(": {reason}");
        source = reason.source();
    }
    text
}

#[test]
fn devices_come_and_go_ten_times() {
    let folder = Folder::new("ten");
    let (path, other) = (folder.disk("one"), folder.disk("other"));
    let (guest, devices) = machine(SMALL);
    let control = &guest.control;
    for _ in 0..10 {
        let first = control.add_device(disk(&path)).unwrap();
        assert_eq!((&*first.id, &*first.bdf), ("disk0", "0000:00:00.0"));
        let second = control.add_device(disk(&other)).unwrap();
        assert_eq!((&*second.id, &*second.bdf), ("disk1", "0000:00:01.0"));
        assert!(is_locked(&path));
        let offered = [("disk0", DeviceState::Offered), ("disk1", DeviceState::Offered)];
        assert_eq!(states(&control.devices().unwrap()), offered);
        settles(&guest, &[("disk0", DeviceState::InUse), ("disk1", DeviceState::InUse)]);
        // The guest finds it on the bus, and its node told where.
        let (status, id) =
            guest.rtas("ibm,read-pci-config", &[1 << 11, 0x0800_0000, 0x2000_0000, 4], 2);
        assert_eq!((status, id[0]), (0, 0x1042_1af4));

        assert_eq!(control.remove_device("disk0").unwrap(), Removal::Asked);
        assert_eq!(states(&control.devices().unwrap())[0], ("disk0", DeviceState::AskedBack));
        assert!(is_locked(&path));
        settles(&guest, &[("disk1", DeviceState::InUse)]);
        assert!(!is_locked(&path) && is_locked(&other));
        // What it is called is free, and the other one's name has not changed.
        assert_eq!(control.add_device(disk(&path)).unwrap().id, "disk0");
        for id in ["disk0", "disk1"] {
            control.remove_device(id).unwrap();
        }
        settles(&guest, &[]);
        assert!(devices.places().is_empty());
        assert!(!is_locked(&path) && !is_locked(&other));
        let (_, id) = guest.rtas("ibm,read-pci-config", &[1 << 11, 0x0800_0000, 0x2000_0000, 4], 2);
        assert_eq!(id[0], u32::MAX);
    }
}

#[test]
fn a_configuration_says_what_there_is_by_now() {
    let folder = Folder::new("configured");
    let (a, b) = (folder.disk("a"), folder.disk("b"));
    let config = format!(
        r#"{{ "memory": {{ "size": "64M" }}, "disks": [{{ "path": "{a}" }}],
            "rng": {{ "src": "/dev/urandom" }} }}"#
    );
    let (guest, devices) = machine(&config);
    let control = &guest.control;
    control.add_device(disk(&b)).unwrap();
    control.remove_device("disk0").unwrap();
    settles(&guest, &[("rng0", DeviceState::InUse), ("disk1", DeviceState::InUse)]);
    let now = control.with_devices(serde_json::from_str(&config).unwrap());
    let ids: Vec<_> = now.disks.iter().map(|disk| disk.id.clone().unwrap().to_string()).collect();
    assert_eq!((ids, now.rng.len()), (vec!["disk1".to_owned()], 1));
    assert_eq!(now.rng[0].id.as_ref().unwrap().as_str(), "rng0");
    // Whoever has it opens the same, in the same places.
    let places = devices.places();
    assert_eq!(
        places.iter().map(|(id, slot)| (&**id, *slot)).collect::<Vec<_>>(),
        [("disk1", 2), ("rng0", 1)]
    );
    drop(guest);
    drop(devices);
    let others = Devices::open(&now, None, Needs::default()).unwrap().at_places(&places).unwrap();
    assert_eq!(others.places(), places);
    // Places that cannot be are no machine's.
    for odd in [[("disk1", 1), ("rng0", 1)], [("disk1", 32), ("rng0", 1)]] {
        let odd = odd.map(|(id, slot)| (id.to_owned(), slot)).into_iter().collect();
        let twice = Devices::outline(&now).at_places(&odd);
        assert!(twice.is_err(), "{odd:?}");
    }
}

#[test]
fn what_cannot_be_is_told_by_name_and_changes_nothing() {
    let folder = Folder::new("refused");
    let path = folder.disk("a");
    let config = format!(
        r#"{{ "memory": {{ "size": "64M", "shared": false }},
            "disks": [{{ "path": "{path}" }}] }}"#
    );
    let (guest, devices) = machine(&config);
    let control = &guest.control;
    let missing = folder.0.join("missing");
    let named = format!("path={},id=disk0", folder.disk("b"));
    let cases: Vec<(DeviceConfig, Vec<String>)> = vec![
        (disk(&path).into(), vec![path.clone(), "that of --disk".into()]),
        (DiskConfig::parse(&named).unwrap().into(), vec!["the id disk0 is that of".into()]),
        (disk(missing.to_str().unwrap()).into(), vec!["missing".into(), "No such file".into()]),
        (
            FsConfig::parse("tag=x,socket=/nowhere").unwrap().into(),
            vec!["--fs tag=x".into(), "shared=off".into()],
        ),
        (
            VsockConfig::parse("cid=3,socket=/nowhere/x").unwrap().into(),
            vec!["--vsock cid=3".into(), "No such file".into()],
        ),
    ];
    for (device, parts) in cases {
        let said = refused(&control.add_device(device).unwrap_err());
        assert!(parts.iter().all(|part| said.contains(part)), "{said}: {parts:?}");
    }
    let said = refused(&control.remove_device("disk1").unwrap_err());
    assert_eq!(said, "there is no device disk1; there are: disk0");
    assert_eq!(devices.places().len(), 1);
    assert!(guest.event().is_none());
    assert_eq!(states(&control.devices().unwrap()), [("disk0", DeviceState::InUse)]);
}

#[test]
fn the_bus_has_32_slots() {
    let (guest, devices) = machine(SMALL);
    let control = &guest.control;
    for _ in 0..32 {
        control.add_device(rng()).unwrap();
    }
    let said = refused(&control.add_device(rng()).unwrap_err());
    assert!(said.contains("33 devices are too many") && said.contains("32 slots"), "{said}");
    assert_eq!(devices.places().len(), 32);
    // What the guest has not taken goes at once, and its place is the next one's.
    assert_eq!(control.remove_device("rng7").unwrap(), Removal::Done);
    let next = control.add_device(rng()).unwrap();
    assert_eq!((&*next.id, &*next.bdf), ("rng7", "0000:00:07.0"));
    guest.obey();
    let all = |devices: &[DeviceInfo]| devices.iter().all(|one| one.state == DeviceState::InUse);
    assert_eq!(control.wait_for_devices(HANGS, all).unwrap().len(), 32);
}

/// A guest that never gives back what it is asked for: the request stays, and the next start is without.
#[test]
fn what_was_asked_for_is_gone_with_the_start() {
    let folder = Folder::new("silent");
    let [a, b, c] = ["a", "b", "c"].map(|name| folder.disk(name));
    let config = format!(
        r#"{{ "memory": {{ "size": "64M" }}, "disks": [{{ "path": "{a}" }}, {{ "path": "{b}" }}] }}"#
    );
    let (mut guest, devices) = machine(&config);
    guest.keeps = [SLOT].into();
    guest.is_silent = true;
    let control = guest.control.clone();
    assert_eq!(control.remove_device("disk0").unwrap(), Removal::Asked);
    guest.obey();
    let kept = control.wait_for_devices(Duration::from_millis(20), |_| false).unwrap();
    assert_eq!(states(&kept)[0], ("disk0", DeviceState::AskedBack));
    // It is told once more.
    assert_eq!(control.remove_device("disk0").unwrap(), Removal::Asked);
    assert_eq!(guest.event(), Some((false, SLOT..SLOT + 1)));
    // It has not taken this one, which its next start has.
    control.add_device(disk(&c)).unwrap();
    let (ram, config) = (guest.ram.clone(), serde_json::from_str::<VmConfig>(&config).unwrap());
    guest.end();
    assert!(matches!(control.devices(), Err(DeviceChangeError::Restarting)));
    drop(guest);
    assert!(!is_locked(&a) && is_locked(&b) && is_locked(&c));
    let machine = Machine::new(&config).unwrap();
    let guest = Guest::with_devices(machine, control.clone(), Some(ram), devices.clone());
    let there = [("disk1", DeviceState::InUse), ("disk2", DeviceState::InUse)];
    assert_eq!(states(&control.devices().unwrap()), there);
    assert_eq!(devices.places()["disk1"], 1);
    drop(guest);
    control.end();
    assert!(matches!(control.add_device(rng()), Err(DeviceChangeError::NotRunning)));
}

/// A guest that says no, as Linux does of CPUs.
#[test]
fn a_guest_may_keep_what_it_has() {
    let folder = Folder::new("kept");
    let path = folder.disk("a");
    let (mut guest, _) = machine(SMALL);
    guest.control.add_device(disk(&path)).unwrap();
    settles(&guest, &[("disk0", DeviceState::InUse)]);
    guest.keeps = [SLOT].into();
    guest.control.remove_device("disk0").unwrap();
    settles(&guest, &[("disk0", DeviceState::InUse)]);
    // Until it is asked again.
    guest.keeps.clear();
    guest.control.remove_device("disk0").unwrap();
    settles(&guest, &[]);
}

/// Several who ask at once, and a guest that does all that it is told.
#[test]
fn whoever_asks_waits_for_nobody_but_the_host() {
    let (guest, devices) = machine(SMALL);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|number| {
                let control = &guest.control;
                scope.spawn(move || {
                    for _ in 0..20 {
                        let mut config = rng();
                        config.id = Some(format!("r{number}").parse().unwrap());
                        control.add_device(config).unwrap();
                        control.remove_device(&format!("r{number}")).unwrap();
                        let name = format!("r{number}");
                        let gone = |all: &[DeviceInfo]| all.iter().all(|one| one.place.id != name);
                        control.wait_for_devices(HANGS, gone).unwrap();
                    }
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            guest.try_obey();
        }
    });
    assert!(devices.places().is_empty());
}
