//! Each target with random bytes: few, as `cargo xtask fuzz` does it better.

use hostile::Target;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// How long a smaller input is looked for, in milliseconds: some targets take seconds for one.
const SMALLER_LIMIT: u32 = 60_000;

/// Panics as the target does, with the smallest input that makes it.
fn survives(name: &str, cases: u32, max_len: usize) {
    let target: &Target = hostile::target(name).unwrap();
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_time: SMALLER_LIMIT,
        ..Config::default()
    };
    let inputs = prop::collection::vec(any::<u8>(), 0..max_len);
    TestRunner::new(config)
        .run(&inputs, |input| {
            (target.run)(&input);
            Ok(())
        })
        .unwrap();
}

#[test]
fn from_blob() {
    survives("from_blob", 500, 200);
}

#[test]
fn cas() {
    survives("cas", 200, 600);
}

#[test]
fn elf() {
    survives("elf", 500, 200);
}

#[test]
fn json() {
    survives("json", 500, 100);
}

#[test]
fn rtas() {
    survives("rtas", 500, 1000);
}

#[test]
fn nvram() {
    survives("nvram", 500, 1000);
}

#[test]
fn hotplug() {
    survives("hotplug", 300, 1000);
}

#[test]
fn hpt() {
    survives("hpt", 300, 1000);
}

#[test]
fn bus() {
    survives("bus", 200, 1000);
}

#[test]
fn xive() {
    survives("xive", 300, 1000);
}

#[test]
fn arguments() {
    survives("arguments", 300, 1000);
}

#[test]
fn sequences() {
    survives("sequences", 100, 1000);
}

#[test]
fn pci_config() {
    survives("pci_config", 300, 500);
}

#[test]
fn virtio_common() {
    survives("virtio_common", 200, 500);
}

#[test]
fn virtio_chains() {
    survives("virtio_chains", 300, 500);
}

#[test]
fn device_states() {
    survives("device_states", 200, 100);
}

#[test]
fn requests() {
    survives("requests", 300, 300);
}

#[test]
fn saved() {
    survives("saved", 60, 40);
}

#[test]
fn moves() {
    survives("moves", 30, 40);
}

#[test]
fn labels() {
    survives("labels", 300, 300);
}

#[test]
fn iso9660() {
    survives("iso9660", 200, 200);
}

#[test]
fn fat() {
    survives("fat", 200, 200);
}

#[test]
fn bootinfo() {
    survives("bootinfo", 500, 300);
}
