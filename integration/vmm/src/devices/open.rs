//! What is behind each device on the host.

use std::sync::Arc;

use pseries_devices::blk::Block;
use pseries_devices::disk::{DiskOptions, FileDisk};
use pseries_devices::host_console::HostEnd;
use pseries_devices::rng::{Rng, Source};
use pseries_devices::vsock::Vsock;

use super::DeviceOpenError;
use super::kept::Kept;
use crate::config::{DiskConfig, ImageType, RngConfig, VmConfig, VsockConfig};

/// All of them, in the order in which they are on the bus.
pub(super) fn all(
    config: &VmConfig,
    console: Option<Box<dyn HostEnd>>,
    repeatable: bool,
) -> Result<Vec<Kept>, DeviceOpenError> {
    let mut devices = Vec::new();
    for (number, config) in config.disks.iter().enumerate() {
        devices.push(disk(config, number)?);
    }
    for (number, config) in config.rng.iter().enumerate() {
        devices.push(rng(config, number, repeatable)?);
    }
    for (number, config) in config.vsock.iter().enumerate() {
        devices.push(vsock(config, number)?);
    }
    Ok(devices)
}

fn disk(config: &DiskConfig, number: usize) -> Result<Kept, DeviceOpenError> {
    let id = config.id(number);
    let mut options =
        DiskOptions::new().read_only(config.readonly).direct(config.direct).id(id.as_str());
    if let Some(image_type) = config.image_type {
        options = options.image_type(match image_type {
            ImageType::Raw => pseries_devices::disk::ImageType::Raw,
            ImageType::Qcow2 => pseries_devices::disk::ImageType::Qcow2,
        });
    }
    let disk = FileDisk::open(config.path.as_path(), &options)
        .map_err(DeviceOpenError::disk(config.label()))?;
    let block = Block::new(Arc::new(disk), config.num_queues.get());
    Ok(Kept::new(id, block.with_queue_size(config.queue_size.get())))
}

fn rng(config: &RngConfig, number: usize, repeatable: bool) -> Result<Kept, DeviceOpenError> {
    let device = config.label();
    // Looked at in any case, so that what is wrong is found.
    let source = Source::open(config.src.as_path())
        .map_err(|source| DeviceOpenError::Rng { device, source })?;
    let source = if repeatable { Source::fixed(number as u64) } else { source };
    Ok(Kept::new(config.id(number), Rng::new(source)))
}

fn vsock(config: &VsockConfig, number: usize) -> Result<Kept, DeviceOpenError> {
    let device = config.label();
    let vsock = Vsock::new(config.cid.get().into(), config.socket.as_path())
        .map_err(|source| DeviceOpenError::Vsock { device, source })?;
    Ok(Kept::new(config.id(number), vsock))
}
