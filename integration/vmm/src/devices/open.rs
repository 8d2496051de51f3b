//! What is behind each device on the host.

use std::io;
use std::sync::Arc;

use pseries_devices::blk::Block;
use pseries_devices::console::Console;
#[cfg(feature = "vof")]
use pseries_devices::disk::ClientDisk;
use pseries_devices::disk::{Disk, DiskOptions, FileDisk};
use pseries_devices::host_console::HostEnd;
use pseries_devices::net::{self, KernelNet, Net, Socket, Tap};
use pseries_devices::rng::{Rng, Source};
use pseries_devices::vhost_user::{VhostUser, fs as virtiofs};
use pseries_devices::vsock::{KernelVsock, Vsock};

use super::change::DeviceConfig;
#[cfg(feature = "vof")]
use super::client_side::{ClientSide, Repeatable};
use super::held::HeldDisk;
use super::kept::Kept;
use super::{DeviceOpenError, Needs, Role};
use crate::config::{
    ConsoleConfig, DiskConfig, FsConfig, ImageType, MacAddress, NetBackend, NetConfig, RngConfig,
    VmConfig, VsockConfig,
};
use crate::host_file;

/// All of them, in the order in which they are on the bus.
pub(super) fn all(
    config: &VmConfig,
    console: Option<Box<dyn HostEnd>>,
    needs: Needs,
) -> Result<Vec<Kept>, DeviceOpenError> {
    let mut devices = Vec::new();
    for (number, config) in config.disks.iter().enumerate() {
        devices.push(disk(config, number, needs)?);
    }
    for (number, config) in config.net.iter().enumerate() {
        devices.push(net(config, number, needs)?);
    }
    for (number, config) in config.rng.iter().enumerate() {
        devices.push(rng(config, number, needs)?);
    }
    for (number, config) in config.vsock.iter().enumerate() {
        devices.push(vsock(config, number, needs)?);
    }
    for (number, config) in config.fs.iter().enumerate() {
        devices.push(fs(config, number, needs)?);
    }
    devices.extend(console.map(|end| Kept::new(ConsoleConfig::id(), Console::new(end))));
    Ok(devices)
}

/// One that has an id.
pub(super) fn one(device: &DeviceConfig, needs: Needs) -> Result<Kept, DeviceOpenError> {
    match device {
        DeviceConfig::Disk(config) => disk(config, 0, needs),
        DeviceConfig::Net(config) => net(config, 0, needs),
        DeviceConfig::Rng(config) => rng(config, 0, needs),
        DeviceConfig::Vsock(config) => vsock(config, 0, needs),
        DeviceConfig::Fs(config) => fs(config, 0, needs),
    }
}

fn disk(config: &DiskConfig, number: usize, needs: Needs) -> Result<Kept, DeviceOpenError> {
    let id = config.id(number);
    let mut options =
        DiskOptions::new().read_only(config.readonly).direct(config.direct).id(id.as_str());
    options = options.lock_later(needs.handed_over);
    if let Some(image_type) = config.image_type {
        options = options.image_type(match image_type {
            ImageType::Raw => pseries_devices::disk::ImageType::Raw,
            ImageType::Qcow2 => pseries_devices::disk::ImageType::Qcow2,
        });
    }
    let disk = FileDisk::open(config.path.as_path(), &options)
        .map_err(DeviceOpenError::disk(config.label()))?;
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let block = Block::new(disk.clone(), config.num_queues.get());
    let kept = Kept::new(id, block.with_queue_size(config.queue_size.get()));
    let kept = kept.with_role(Role::of_disk(&*disk));
    let kept = kept.with_held(HeldDisk { disk: disk.clone(), device: config.label() });
    #[cfg(feature = "vof")]
    let kept = kept.with_client_side(ClientSide::disk({
        let disk = ClientDisk::new(disk);
        match needs.repeatable {
            true => Arc::new(Repeatable(disk)),
            false => Arc::new(disk),
        }
    }));
    Ok(kept)
}

fn net(config: &NetConfig, number: usize, needs: Needs) -> Result<Kept, DeviceOpenError> {
    let mac = match config.mac {
        Some(mac) => mac,
        None => random_address().map_err(DeviceOpenError::Random)?,
    };
    let failed = |source: Box<_>| DeviceOpenError::Net { device: config.label(), source };
    let options = net::NetConfig::new(mac.into());
    let is_kernels = config.vhost;
    let net = match &config.backend {
        NetBackend::Socket(path) => {
            let socket =
                Socket::connect(path.as_path()).map_err(|error| failed(Box::new(error)))?;
            Net::new(options, Box::new(socket))
        }
        NetBackend::Tap(name) => {
            let tap = Tap::open_existing(name.as_str()).map_err(|error| failed(Box::new(error)))?;
            if config.vhost {
                let kernel = KernelNet::open().map_err(|source| DeviceOpenError::VhostNet {
                    device: config.label(),
                    source,
                })?;
                let kernel = kernel.with_relayed_queues(needs.notes_of_writes);
                Net::in_kernel(options, tap, kernel)
            } else {
                Net::new(options, Box::new(tap))
            }
        }
    };
    #[cfg(feature = "vof")]
    let for_clients = net.for_clients();
    let is_relayed = !is_kernels || needs.notes_of_writes;
    let kept = Kept::new(config.id(number), net).with_role(Role::Net);
    let kept = kept.with_relay(config.label(), is_relayed);
    #[cfg(feature = "vof")]
    let kept = kept.with_client_side(ClientSide::network(for_clients));
    Ok(kept)
}

/// An address that nobody else has, most likely.
pub(super) fn random_address() -> io::Result<MacAddress> {
    Ok(MacAddress::local(u32::from_ne_bytes(host_file::random()?)))
}

fn rng(config: &RngConfig, number: usize, needs: Needs) -> Result<Kept, DeviceOpenError> {
    let device = config.label();
    // Looked at in any case, so that what is wrong is found.
    let source = Source::open(config.src.as_path())
        .map_err(|source| DeviceOpenError::Rng { device, source })?;
    let source = if needs.repeatable { Source::fixed(number as u64) } else { source };
    Ok(Kept::new(config.id(number), Rng::new(source)))
}

fn vsock(config: &VsockConfig, number: usize, needs: Needs) -> Result<Kept, DeviceOpenError> {
    let (id, cid) = (config.id(number), config.cid.get().into());
    let failed = |source| DeviceOpenError::Vsock { device: config.label(), source };
    Ok(match &config.socket {
        Some(path) => Kept::new(id, Vsock::new(cid, path.as_path()).map_err(failed)?),
        None => {
            let is_relayed = needs.notes_of_writes;
            let vsock = KernelVsock::new(cid).map_err(failed)?.with_relayed_queues(is_relayed);
            Kept::new(id, vsock).with_relay(config.label(), is_relayed)
        }
    })
}

fn fs(config: &FsConfig, number: usize, needs: Needs) -> Result<Kept, DeviceOpenError> {
    let mut spec = virtiofs::spec(config.tag.as_str(), config.num_queues.get())
        .map_err(|source| DeviceOpenError::Fs { device: config.label(), source })?;
    spec.queue_sizes.fill(config.queue_size.get());
    let daemon = VhostUser::connect(config.socket.as_path(), spec)
        .map_err(|source| DeviceOpenError::VhostUser { device: config.label(), source })?;
    let is_relayed = needs.notes_of_writes;
    let kept = Kept::new(config.id(number), daemon.with_relayed_queues(is_relayed));
    Ok(kept.with_relay(config.label(), is_relayed))
}
