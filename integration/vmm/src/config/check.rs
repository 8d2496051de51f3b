//! What devices of one machine cannot have in common.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::VmConfig;
use super::devices::{ConsoleConfig, DeviceId, HostPath, NetBackend};

/// How many devices there can be: the slots of the bus.
const MAX_DEVICES: usize = 32;

/// Devices that cannot be in one machine, each named as on the command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// Two have what only one can have.
    #[error("{second}: the {what} {value} is that of {first} already")]
    Shared {
        /// What they share.
        what: &'static str,
        /// It, as it can be shown.
        value: String,
        /// The one before.
        first: String,
        /// The other.
        second: String,
    },
    /// There are too many.
    #[error("{0} devices are too many: the bus has {MAX_DEVICES} slots")]
    TooMany(usize),
    /// There is one terminal.
    #[error(
        "--console tty: --serial has the terminal already; give it another end, as in \
         --serial null"
    )]
    TwoTerminals,
    /// A device's program works on the guest's memory, and cannot have it.
    #[error(
        "{device}: its program needs the guest's memory, which has to be shared: {zone} has shared=off"
    )]
    PrivateMemory {
        /// Which device.
        device: String,
        /// Which memory.
        zone: String,
    },
    /// Two runs could not be the same.
    #[error("{device}: with --icount there can be no {what}, as two runs would differ")]
    NotRepeatable {
        /// Which device.
        device: String,
        /// What it is.
        what: &'static str,
    },
}

impl VmConfig {
    /// Checks that the devices can be in one machine.
    ///
    /// # Errors
    /// [`DeviceError`] names those that cannot.
    pub fn check_devices(&self) -> Result<(), DeviceError> {
        self.check_devices_beside(None)
    }

    /// As [`check_devices`](Self::check_devices), of a configuration that comes from a file: nor is
    /// that one a device's.
    ///
    /// # Errors
    /// As [`check_devices`](Self::check_devices).
    pub fn check_devices_beside(&self, config_file: Option<&Path>) -> Result<(), DeviceError> {
        if self.serial == ConsoleConfig::Tty && self.console == ConsoleConfig::Tty {
            return Err(DeviceError::TwoTerminals);
        }
        let devices = self.devices();
        if devices.len() > MAX_DEVICES {
            return Err(DeviceError::TooMany(devices.len()));
        }
        let mut owners = Owners::default();
        for (id, device) in &devices {
            owners.take("id", id.to_string(), device)?;
        }
        self.check_files(&mut owners, config_file)?;
        for net in &self.net {
            let label = net.label();
            if let Some(mac) = net.mac {
                owners.take("address", mac.to_string(), &label)?;
            }
            if let NetBackend::Tap(tap) = &net.backend {
                owners.take("TAP interface", tap.as_str().to_owned(), &label)?;
            }
        }
        for vsock in &self.vsock {
            owners.take("context id", vsock.cid.to_string(), &vsock.label())?;
        }
        for fs in &self.fs {
            owners.take("tag", fs.tag.to_string(), &fs.label())?;
        }
        let zones = self.zones();
        let private = zones.iter().find(|zone| !zone.backing.shared);
        if let (Some(fs), Some(zone)) = (self.fs.first(), private) {
            let (device, zone) = (fs.label(), zone.to_string());
            return Err(DeviceError::PrivateMemory { device, zone });
        }
        Ok(())
    }

    /// Checks that the devices do the same in each run, but for what they read from files.
    ///
    /// # Errors
    /// [`DeviceError::NotRepeatable`] names one that does not.
    pub fn check_repeatable(&self) -> Result<(), DeviceError> {
        let mut others = (self.net.iter().map(|net| (net.label(), "network")))
            .chain(self.vsock.iter().map(|vsock| (vsock.label(), "sockets")))
            .chain(self.fs.iter().map(|fs| (fs.label(), "folders of the host")));
        if let Some((device, what)) = others.next() {
            return Err(DeviceError::NotRepeatable { device, what });
        }
        // What is typed at a terminal is as it was without devices: who types is the one who repeats.
        if matches!(self.serial, ConsoleConfig::Pty | ConsoleConfig::Socket(_)) {
            let device = self.serial.label("--serial");
            return Err(DeviceError::NotRepeatable { device, what: "input of this kind" });
        }
        // A thread shows its text, and the guest waits for that.
        if self.console != ConsoleConfig::Off {
            let device = self.console.label("--console");
            return Err(DeviceError::NotRepeatable { device, what: "second console" });
        }
        Ok(())
    }

    /// All devices of the bus in their order: each one's id, and how it is named.
    fn devices(&self) -> Vec<(DeviceId, String)> {
        let mut devices = Vec::new();
        devices.extend(self.disks.iter().enumerate().map(|(n, disk)| (disk.id(n), disk.label())));
        devices.extend(self.net.iter().enumerate().map(|(n, net)| (net.id(n), net.label())));
        devices.extend(self.rng.iter().enumerate().map(|(n, rng)| (rng.id(n), rng.label())));
        let vsock = self.vsock.iter().enumerate();
        devices.extend(vsock.map(|(n, vsock)| (vsock.id(n), vsock.label())));
        devices.extend(self.fs.iter().enumerate().map(|(n, fs)| (fs.id(n), fs.label())));
        if self.console != ConsoleConfig::Off {
            devices.push((ConsoleConfig::id(), self.console.label("--console")));
        }
        devices
    }

    /// Each file of the host is behind one device; disks that are only read may share theirs. What is
    /// written has no file that the machine comes from.
    fn check_files(
        &self,
        owners: &mut Owners,
        config_file: Option<&Path>,
    ) -> Result<(), DeviceError> {
        for disk in self.disks.iter().filter(|disk| !disk.readonly) {
            owners.take_file(&disk.path, &disk.label())?;
        }
        let shared: Vec<_> = self.disks.iter().filter(|disk| disk.readonly).collect();
        for disk in &shared {
            owners.check_file(&disk.path, &disk.label())?;
        }
        for disk in &shared {
            owners.share_file(&disk.path, &disk.label());
        }
        let payload = &self.payload;
        for (option, path) in [
            ("--config", config_file),
            ("--kernel", payload.kernel.as_deref()),
            ("--initramfs", payload.initramfs.as_deref()),
        ] {
            // One that has no such path is nobody else's.
            let named = path.and_then(Path::to_str).and_then(|path| path.parse::<HostPath>().ok());
            if let Some(path) = named.filter(|path| !path.as_path().starts_with("/dev")) {
                owners.share_file(&path, &format!("{option} {path}"));
            }
        }
        for net in &self.net {
            if let NetBackend::Socket(socket) = &net.backend {
                owners.take_file(socket, &net.label())?;
            }
        }
        for vsock in &self.vsock {
            if let Some(socket) = &vsock.socket {
                owners.take_file(socket, &vsock.label())?;
            }
        }
        for fs in &self.fs {
            owners.take_file(&fs.socket, &fs.label())?;
        }
        if let Some(nvram) = &self.nvram {
            owners.take_file(&nvram.path, &nvram.label())?;
        }
        for (option, end) in [("--serial", &self.serial), ("--console", &self.console)] {
            if let ConsoleConfig::File(path) | ConsoleConfig::Socket(path) = end {
                // Such as /dev/stderr, which shows what both write.
                if !path.as_path().starts_with("/dev") {
                    owners.take_file(path, &end.label(option))?;
                }
            }
        }
        Ok(())
    }
}

/// Who has what, by what it is.
#[derive(Default)]
struct Owners(BTreeMap<(&'static str, String), String>);

impl Owners {
    fn take(&mut self, what: &'static str, value: String, device: &str) -> Result<(), DeviceError> {
        self.check(what, &value, &value, device)?;
        self.0.insert((what, value), device.to_owned());
        Ok(())
    }

    /// `shown` is how the value is written in what is wrong with this device.
    fn check(
        &self,
        what: &'static str,
        value: &str,
        shown: &str,
        device: &str,
    ) -> Result<(), DeviceError> {
        let Some(first) = self.0.get(&(what, value.to_owned())) else { return Ok(()) };
        let (value, first, second) = (shown.to_owned(), first.clone(), device.to_owned());
        Err(DeviceError::Shared { what, value, first, second })
    }

    fn take_file(&mut self, path: &HostPath, device: &str) -> Result<(), DeviceError> {
        self.check_file(path, device)?;
        self.share_file(path, device);
        Ok(())
    }

    /// Nobody has it who does not share it.
    fn check_file(&self, path: &HostPath, device: &str) -> Result<(), DeviceError> {
        self.check("file", &one_name(path), &path.to_string(), device)
    }

    /// From here on others cannot have it.
    fn share_file(&mut self, path: &HostPath, device: &str) {
        self.0.entry(("file", one_name(path))).or_insert_with(|| device.to_owned());
    }
}

/// The same for all ways to write a path, as far as that can be known: of a file that is not there,
/// where it would be.
fn one_name(path: &HostPath) -> String {
    let text = |path: PathBuf| path.to_str().and_then(|path| path.parse().ok());
    let real: Option<HostPath> = real_path(path.as_path()).ok().and_then(text);
    real.unwrap_or_else(|| path.clone()).to_string()
}

fn real_path(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path).or_else(|error| {
        let name = path.file_name().ok_or(error)?;
        // The parent of a bare name is empty.
        let folder = Path::new(".").join(path.parent().unwrap_or(path));
        Ok(std::fs::canonicalize(folder)?.join(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> VmConfig {
        VmConfig::from_json(json.as_bytes(), Path::new("m.json")).unwrap()
    }

    fn refused(json: &str, words: &[&str]) {
        let said = config(json).check_devices().unwrap_err().to_string();
        for word in words {
            assert!(said.contains(word), "{json}: no {word:?} in {said}");
        }
    }

    #[test]
    fn what_is_there_twice_is_named() {
        let net = |first: &str, second: &str| format!(r#"{{"net": [{{{first}}}, {{{second}}}]}}"#);
        refused(
            r#"{"disks": [{"path": "a"}, {"path": "b", "id": "disk0"}]}"#,
            &["--disk path=b", "id disk0", "--disk path=a"],
        );
        refused(
            r#"{"disks": [{"path": "a", "id": "x"}], "rng": {"src": "r", "id": "x"}}"#,
            &["--rng src=r", "id x"],
        );
        refused(
            r#"{"disks": [{"path": "a"}, {"path": "a", "readonly": true}]}"#,
            &["the file a is"],
        );
        refused(r#"{"disks": [{"path": "/etc/."}, {"path": "/etc"}]}"#, &["the file /etc is"]);
        refused(
            r#"{"disks": [{"path": "a", "readonly": true}], "nvram": {"path": "./a"}}"#,
            &["--nvram path=./a: the file", "--disk path=a"],
        );
        // It would be written anew.
        refused(
            r#"{"disks": [{"path": "a", "readonly": true}], "console": {"mode": "File", "file": "a"}}"#,
            &["--console file=a: the file", "--disk path=a"],
        );
        refused(
            r#"{"payload": {"kernel": "/proc/../k"}, "nvram": {"path": "/k"}}"#,
            &["--nvram path=/k: the file", "--kernel /proc/../k"],
        );
        refused(
            r#"{"payload": {"initramfs": "i"}, "serial": {"mode": "File", "file": "i"}}"#,
            &["--serial file=i: the file", "--initramfs i"],
        );
        let same = r#"{"nvram": {"path": "m.json"}}"#;
        let said = config(same).check_devices_beside(Some(Path::new("m.json"))).unwrap_err();
        assert!(said.to_string().contains("--config m.json"), "{said}");
        let mac = r#", "mac": "52:54:00:00:00:01""#;
        let (first, second) = (format!(r#""tap": "t0"{mac}"#), format!(r#""socket": "s"{mac}"#));
        refused(&net(&first, &second), &["address 52:54:00:00:00:01", "--net tap=t0"]);
        refused(&net(r#""tap": "t0""#, r#""tap": "t0""#), &["TAP interface t0"]);
        refused(&net(r#""socket": "s""#, r#""socket": "s""#), &["the file s"]);
        refused(
            r#"{"vsock": [{"cid": 3, "socket": "a"}, {"cid": 3, "socket": "b"}]}"#,
            &["context id 3"],
        );
        refused(
            r#"{"fs": [{"tag": "t", "socket": "a"}, {"tag": "t", "socket": "b"}]}"#,
            &["tag t"],
        );
        refused(
            r#"{"serial": {"mode": "File", "file": "x"}, "console": {"mode": "File", "file": "x"}}"#,
            &["--console file=x", "--serial file=x"],
        );
        // One that is not there yet.
        refused(
            r#"{"serial": {"mode": "File", "file": "x"}, "console": {"mode": "File", "file": "./x"}}"#,
            &["--console file=./x", "--serial file=x"],
        );
    }

    #[test]
    fn programs_of_the_host_need_shared_memory() {
        let with = |memory: &str| {
            format!(r#"{{"fs": [{{"tag": "t", "socket": "f"}}], "memory": {{{memory}}}}}"#)
        };
        refused(&with(r#""shared": false"#), &["--fs tag=t", "--memory has shared=off"]);
        let zones = |zone: &str| {
            with(&format!(
                r#""size": 0, "zones": [{{"id": "a", "size": "1G"}}, {{"id": "b", {zone}}}]"#
            ))
        };
        let private = zones(r#""size": "1G", "shared": false"#);
        refused(&private, &["--fs tag=t", "--memory-zone id=b has shared=off"]);
        config(&zones(r#""size": "1G""#)).check_devices().unwrap();
        // Huge pages are shared.
        config(&with(r#""shared": false, "hugepages": true"#)).check_devices().unwrap();
        // Without such a program, nobody needs it.
        let shared = |text: &str| config(text).zones()[0].backing.shared;
        assert!(shared(&with("")) && !shared("{}") && shared(r#"{"memory": {"shared": true}}"#));
    }

    #[test]
    fn there_is_one_terminal_and_a_number_of_slots() {
        refused(r#"{"console": {"mode": "Tty"}}"#, &["--serial null"]);
        let moved = r#"{"serial": {"mode": "Null"}, "console": {"mode": "Tty"}}"#;
        config(moved).check_devices().unwrap();
        let disks = |count: usize| {
            let disks: Vec<_> = (0..count).map(|n| format!(r#"{{"path": "{n}"}}"#)).collect();
            format!(r#"{{"disks": [{}]}}"#, disks.join(","))
        };
        config(&disks(32)).check_devices().unwrap();
        refused(&disks(33), &["33 devices", "32 slots"]);
    }

    #[test]
    fn what_is_apart_can_be_in_one_machine() {
        let all = r#"{
            "payload": {"kernel": "a", "initramfs": "a"},
            "disks": [{"path": "a", "readonly": true}, {"path": "a", "readonly": true}],
            "net": [{"tap": "t0", "mac": "52:54:00:00:00:01"}, {"socket": "s"}],
            "rng": {"src": "/dev/urandom"},
            "vsock": {"cid": 3, "socket": "v"},
            "fs": [{"tag": "t", "socket": "f"}],
            "serial": {"mode": "File", "file": "/dev/stderr"},
            "console": {"mode": "File", "file": "/dev/stderr"}
        }"#;
        let config = config(all);
        config.check_devices().unwrap();
        let ids: Vec<_> = config.devices().into_iter().map(|(id, _)| id.to_string()).collect();
        assert_eq!(ids, ["disk0", "disk1", "net0", "net1", "rng0", "vsock0", "fs0", "console0"]);
    }

    #[test]
    fn what_comes_from_outside_is_not_repeatable() {
        for (json, words) in [
            (r#"{"net": [{"tap": "t"}]}"#, "--net tap=t"),
            (r#"{"vsock": {"cid": 3, "socket": "s"}}"#, "--vsock cid=3"),
            (r#"{"fs": [{"tag": "t", "socket": "s"}]}"#, "--fs tag=t"),
            (r#"{"serial": {"mode": "Pty"}}"#, "--serial pty"),
            (r#"{"console": {"mode": "Socket", "socket": "s"}}"#, "--console socket=s"),
            (r#"{"console": {"mode": "File", "file": "x"}}"#, "--console file=x"),
            (r#"{"console": {"mode": "Null"}}"#, "--console null"),
            (r#"{"serial": {"mode": "Null"}, "console": {"mode": "Tty"}}"#, "--console tty"),
        ] {
            let said = config(json).check_repeatable().unwrap_err().to_string();
            assert!(said.contains(words) && said.contains("--icount"), "{said}");
        }
        let json = r#"{"disks": [{"path": "a"}], "rng": {"src": "r"},
            "serial": {"mode": "File", "file": "x"}}"#;
        config(json).check_repeatable().unwrap();
        VmConfig::default().check_repeatable().unwrap();
    }
}
