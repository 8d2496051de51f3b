//! Devices with nothing behind them: for the tree of a machine that nobody runs.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use pseries_devices::blk::Block;
use pseries_devices::console::Console;
use pseries_devices::disk::{BlockSizes, Disk, SECTOR_BYTES};
use pseries_devices::host_console::NullEnd;
use pseries_devices::iovec::{Gather, Scatter};
use pseries_devices::net::{Backend, Expected, Lost, Net, NetConfig, Received, Sent};
use pseries_devices::rng::{Rng, Source};
use pseries_devices::vhost_user::{DeviceSpec, fs as virtiofs};
use pseries_devices::virtio::{ActivateError, Activation, DeviceKind, VirtioDevice, Worker};
use pseries_devices::vsock;

use super::kept::Kept;
use super::{Memory, Role};
use crate::config::{ConsoleConfig, MacAddress, VmConfig};

/// As the devices are that there would be, in the same order. An address that is to be random is a
/// fixed one.
pub(super) fn all(config: &VmConfig) -> Vec<Kept> {
    let mut devices = Vec::new();
    for (number, disk) in config.disks.iter().enumerate() {
        let block = Block::new(Arc::new(Nothing), disk.num_queues.get());
        devices.push(Kept::new(disk.id(number), block).with_role(Role::of_disk(&Nothing)));
    }
    for (number, net) in config.net.iter().enumerate() {
        let mac = net.mac.unwrap_or(MacAddress::local(number as u32));
        let device = Net::new(NetConfig::new(mac.into()), Box::new(Nothing));
        devices.push(Kept::new(net.id(number), device).with_role(Role::Net));
    }
    for (number, rng) in config.rng.iter().enumerate() {
        devices.push(Kept::new(rng.id(number), Rng::new(Source::fixed(0))));
    }
    for (number, config) in config.vsock.iter().enumerate() {
        let shape = Shape { kind: vsock::KIND, queue_sizes: vsock::QUEUE_SIZES.to_vec() };
        devices.push(Kept::new(config.id(number), shape));
    }
    for (number, fs) in config.fs.iter().enumerate() {
        // What it refuses was refused before.
        let spec = virtiofs::spec(fs.tag.as_str(), fs.num_queues.get()).ok();
        let shape = spec.map(|DeviceSpec { kind, queue_sizes, .. }| Shape { kind, queue_sizes });
        devices.extend(shape.map(|shape| Kept::new(fs.id(number), shape)));
    }
    if config.console != ConsoleConfig::Off {
        let console = Console::new(Box::new(NullEnd::new()));
        devices.push(Kept::new(ConsoleConfig::id(), console));
    }
    devices
}

/// A device that is only looked at.
struct Shape {
    kind: DeviceKind,
    queue_sizes: Vec<u16>,
}

impl VirtioDevice<Memory> for Shape {
    fn kind(&self) -> DeviceKind {
        self.kind
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, _: u64, _: &mut [u8]) {}

    fn activate(&mut self, _: Activation<Memory>) -> Result<Vec<Worker>, ActivateError> {
        Ok(Vec::new())
    }
}

/// What is behind a device that nobody uses.
struct Nothing;

fn unused<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Disk for Nothing {
    fn size_bytes(&self) -> u64 {
        SECTOR_BYTES
    }

    fn block_sizes(&self) -> BlockSizes {
        BlockSizes::new(SECTOR_BYTES as u32, SECTOR_BYTES as u32)
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn id(&self) -> &str {
        ""
    }

    fn read_at(&self, _: &mut Scatter<'_>, _: u64) -> io::Result<()> {
        unused()
    }

    fn write_at(&self, _: &mut Gather<'_>, _: u64) -> io::Result<()> {
        unused()
    }

    fn flush(&self) -> io::Result<()> {
        unused()
    }

    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        unused()
    }

    fn write_zeroes(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
        unused()
    }
}

impl Backend for Nothing {
    fn start(&mut self, _: u64) -> Result<(), Lost> {
        Err(Lost::Closed)
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn expected(&mut self) -> Result<Option<Expected>, Lost> {
        Err(Lost::Closed)
    }

    fn receive(&mut self, _: &mut Scatter<'_>) -> Result<Received, Lost> {
        Err(Lost::Closed)
    }

    fn send(&mut self, _: Gather<'_>) -> Result<Sent, Lost> {
        Err(Lost::Closed)
    }

    fn disconnect(&mut self) {}
}
