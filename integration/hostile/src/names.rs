//! What clients say: the names of services, and what else is a name to somebody.

use std::sync::LazyLock;

use vof_device::Vof;
use vof_device::test_utils::sample_tree;

/// The names of all services.
pub(crate) fn services() -> &'static [&'static str] {
    static SERVICES: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let vof =
            Vof::builder(sample_tree(), 1 << 20).build().expect("the sample has an interface");
        vof.calls().map(|(name, _)| name).collect()
    });
    &SERVICES
}

/// Paths, properties, methods and words that mean something.
pub(crate) const NAMES: [&str; 32] = [
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
];
