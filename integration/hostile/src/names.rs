//! What clients say: the names of services, and what else is a name to somebody.

use std::sync::LazyLock;

/// The names of all services.
pub(crate) fn services() -> &'static [&'static str] {
    static SERVICES: LazyLock<Vec<&str>> =
        LazyLock::new(|| vof_device::test_utils::services().map(|(name, _)| name).collect());
    &SERVICES
}

/// One of the services, by a number: the one whose own number is the next. The number of a service
/// is a matter of its name only, so inputs mean what they did when there are more services.
pub(crate) fn service(number: u16) -> &'static str {
    let services = services().iter();
    services.min_by_key(|name| own_number(name).wrapping_sub(number)).copied().unwrap_or_default()
}

/// FNV-1a, folded.
fn own_number(name: &str) -> u16 {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 16) as u16 ^ hash as u16
}

/// Paths, properties, methods and words that mean something. New ones go to the end, so that
/// inputs mean what they did.
pub(crate) const NAMES: [&str; 49] = [
    "/",
    "/chosen",
    "/aliases",
    "/options",
    "/rtas",
    "/memory@0",
    "/memory",
    "/cpus/PowerPC,POWER9@1",
    "/cpus/@0",
    "/vdevice/vty@71000000",
    "/vdevice/nvram@71000001:x,y",
    "hvterm",
    "disk",
    "disk:2/x",
    "",
    "name",
    "phandle",
    "reg",
    "available",
    "device_type",
    "bootargs",
    "stdout",
    "linux,initrd-start",
    "linux,rtas-base",
    "boot-command",
    "rtas-size",
    "ibm,client-architecture-support",
    "instantiate-rtas",
    "claim",
    "release",
    "translate",
    "a name of more than sixty-three characters, which is too long by far for anything",
    "mmu",
    "memory",
    "map",
    "unmap",
    "modify",
    "read",
    "write",
    "open",
    "close",
    "milliseconds",
    "power-off",
    "reset-all",
    "/openprom",
    "/openprom/client-services",
    "1 2 +",
    "linux,x",
    "output-device output",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_a_number() {
        for name in services() {
            assert_eq!(service(own_number(name)), *name);
        }
    }
}
