//! Disks as clients see them (IEEE 1275-1994 §3.7.2, §3.8 and §6.3.2.3).

mod hostile;
mod methods;
mod parts;
mod paused;
mod saved;
mod transfers;
mod waits;

use std::sync::Arc;

use arch_ppc64::CpuIndex;
use vm_fdt::FdtWriter;
use vof_device::DeviceTree;
use vof_device::block::BlockPackage;
use vof_device::test_utils::{
    Argument, Client, TestDisk, TestMachine, UNTOUCHED, WORKSPACE, WORKSPACE_BYTES, sample_tree,
};

const NONE: u32 = u32::MAX;
const RAM_BYTES: u64 = 32 << 20;
/// A buffer that is nobody else's, to the end of RAM.
const BUFFER: u32 = 0x20_0000;
/// The node of the disk.
const NODE: &str = "/vdevice/v-scsi@2000";

fn machine(disk: &Arc<TestDisk>) -> TestMachine {
    let package = Arc::new(BlockPackage::new(disk.clone()));
    TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder.package(NODE, package))
}

/// A tree of nothing but the support packages.
fn support_tree() -> DeviceTree {
    let mut fdt = FdtWriter::new().unwrap();
    let mut nodes = Vec::new();
    for (phandle, name) in ["", "packages", "deblocker", "disk-label"].iter().enumerate() {
        if *name == "disk-label" {
            fdt.end_node(nodes.pop().unwrap()).unwrap();
        }
        nodes.push(fdt.begin_node(name).unwrap());
        fdt.property_phandle(phandle as u32 + 1).unwrap();
    }
    while let Some(node) = nodes.pop() {
        fdt.end_node(node).unwrap();
    }
    DeviceTree::from_blob(&fdt.finish().unwrap()).unwrap()
}

/// A client of a CPU, with a workspace of its own.
fn client_of(machine: &TestMachine, cpu: u32) -> Client<'_> {
    let bytes = WORKSPACE_BYTES / 16;
    Client::new(&machine.bus, &machine.ram, WORKSPACE + bytes * cpu, bytes).on_cpu(CpuIndex(cpu))
}

fn open(client: &Client<'_>, arguments: &str) -> u32 {
    client.one("open", &[format!("{NODE}:{arguments}").as_str().into()])
}

fn seek(client: &Client<'_>, ihandle: u32, position: u64) -> u32 {
    let (high, low) = ((position >> 32) as u32, position as u32);
    client.one("seek", &[ihandle.into(), high.into(), low.into()])
}

/// What is read to the client's buffer, or none if that fails.
fn read(client: &Client<'_>, ihandle: u32, len: u32) -> Option<Vec<u8>> {
    let got = client.one("read", &[ihandle.into(), BUFFER.into(), len.into()]);
    assert!(got == NONE || got <= len, "{got:#x}");
    (got != NONE).then(|| client.peek(BUFFER, got as usize))
}

fn write(client: &Client<'_>, ihandle: u32, data: &[u8]) -> u32 {
    client.poke(BUFFER, data);
    client.one("write", &[ihandle.into(), BUFFER.into(), (data.len() as u32).into()])
}

/// Calls a method; `stack` has the top last, and so have the results, behind what was caught.
fn method(client: &Client<'_>, ihandle: u32, name: &str, stack: &[u32]) -> Vec<u32> {
    let mut arguments: Vec<Argument<'_>> = vec![name.into(), ihandle.into()];
    arguments.extend(stack.iter().rev().map(|&cell| Argument::Cell(cell)));
    let results = client.call("call-method", &arguments, 4).results;
    let left = results.iter().skip(1).rev().filter(|&&cell| cell != UNTOUCHED);
    results[..1].iter().chain(left).copied().collect()
}
