//! What devices of the bus are for a machine that starts, and what they are called for that.

use arch_ppc64::platform::Aliases;
use pseries_devices::disk::Disk;
use pseries_devices::iovec::Scatter;

use super::plug::OnBus;

/// What a device is, when there is something to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has blocks.
    Disk,
    /// The same, and it is called a CD: nobody writes to it, and it has the volume descriptor of ISO
    /// 9660.
    Cd,
    /// It is a network interface.
    Net,
    /// Nothing is started from it.
    Other,
}

impl Role {
    pub(super) fn of_disk(disk: &dyn Disk) -> Self {
        if disk.is_read_only() && has_iso9660(disk) { Self::Cd } else { Self::Disk }
    }
}

/// Where volume descriptors begin (ECMA-119 §6.2.1), and how (§8.1).
const DESCRIPTORS_AT: u64 = 16 * 2048;
const IDENTIFIER: &[u8] = b"CD001";

fn has_iso9660(disk: &dyn Disk) -> bool {
    let mut sector = [0; 512];
    disk.size_bytes() >= DESCRIPTORS_AT + 512
        && disk.read_at(&mut Scatter::from(&mut sector[..]), DESCRIPTORS_AT).is_ok()
        && sector[1..].starts_with(IDENTIFIER)
}

/// The names that disks and network interfaces have in `/aliases`: `disk0`, `disk1` and so on, in
/// their order; `disk` is the first that is no CD, and `cdrom` the first that is one. Likewise
/// `net0`, and `net`.
pub(super) fn aliases(devices: &[OnBus]) -> Aliases {
    let paths = |roles: &'static [Role]| {
        let devices = devices.iter().filter(|device| roles.contains(&device.role));
        devices.map(|device| device.path.clone())
    };
    let disks = || paths(&[Role::Disk, Role::Cd]);
    let nets = || paths(&[Role::Net]);
    let (first, cd) = (paths(&[Role::Disk]).next(), paths(&[Role::Cd]).next());
    let named = |name: &str, path: Option<String>| path.map(|path| (name.to_owned(), path));
    let numbered = |name: &'static str, paths: &mut dyn Iterator<Item = String>| {
        let paths = paths.enumerate().map(|(number, path)| (format!("{name}{number}"), path));
        paths.collect::<Vec<_>>()
    };
    let names = [
        named("disk", first.or_else(|| disks().next())).into_iter().collect(),
        numbered("disk", &mut disks()),
        named("cdrom", cd).into_iter().collect(),
        named("net", nets().next()).into_iter().collect(),
        numbered("net", &mut nets()),
    ];
    names
        .into_iter()
        .flatten()
        .fold(Aliases::new("aliases"), |aliases, (name, path)| aliases.with(name, path))
}
