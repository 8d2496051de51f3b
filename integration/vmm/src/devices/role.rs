//! What devices of the bus are for a machine that starts, and what they are called for that.

use arch_ppc64::platform::Aliases;
use pseries_devices::disk::Disk;
use pseries_devices::iovec::Scatter;

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
pub(super) fn aliases(devices: &[(Role, &str)]) -> Aliases {
    let of = |roles: &[Role]| -> Vec<&str> {
        let devices = devices.iter().filter(|(role, _)| roles.contains(role));
        devices.map(|(_, path)| *path).collect()
    };
    let (all, disks, cds) = (of(&[Role::Disk, Role::Cd]), of(&[Role::Disk]), of(&[Role::Cd]));
    let nets = of(&[Role::Net]);
    let mut names = Vec::new();
    let mut add = |name: &str, path: Option<&&str>| {
        names.extend(path.map(|path| (name.to_owned(), (*path).to_owned())));
    };
    add("disk", disks.first().or(all.first()));
    (0..).zip(&all).for_each(|(number, path)| add(&format!("disk{number}"), Some(path)));
    add("cdrom", cds.first());
    add("net", nets.first());
    (0..).zip(&nets).for_each(|(number, path)| add(&format!("net{number}"), Some(path)));
    let names = names.into_iter();
    names.fold(Aliases::new("aliases"), |aliases, (name, path)| aliases.with(name, path))
}
