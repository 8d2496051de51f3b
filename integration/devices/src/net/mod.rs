//! The network device (Virtio 1.2 §5.1): one pair of queues, and a [`Backend`] on the host.
//!
//! One thread works for both directions. Frames are read from the host's file into the guest's
//! buffers, and written from there, without a copy in between. It waits for frames while there are
//! buffers for them, for buffers while there are none, and for room where the host's end is full.
//!
//! Or the host's kernel works on the queues of a tap interface ([`KernelNet`]).
//!
//! Until the guest's driver sets the device up, its network is there for the client interface
//! (feature `vof`): a boot loader reads and writes frames by calls, and the driver takes over.

mod announce;
mod backend;
mod counts;
#[cfg(feature = "vof")]
mod for_clients;
pub(crate) mod kernel;
mod mac;
mod patience;
mod receive;
mod saved;
mod socket;
mod tap;
#[cfg(test)]
mod tests;
mod transmit;
mod worker;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arch_ppc64::fdt::{FdtError, NodeBuilder};
use arch_ppc64::log_limit::LogLimit;
use arch_ppc64::platform::{StateError, StateValue};
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6,
    VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU, VIRTIO_NET_F_STATUS,
    VIRTIO_NET_S_LINK_UP,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::GuestAddressSpace;
use vmm_sys_util::timerfd::TimerFd;
#[cfg(feature = "vof")]
use vof_device::network::NetworkDevice;

#[cfg(feature = "vof")]
use self::for_clients::ForClients;
use crate::virtio::ring::{Ring, RingError};
use crate::virtio::{ActivateError, Activation, Counters, DeviceKind, VirtioDevice, Worker};
pub use backend::{Backend, Expected, FRAME_BYTES_MAX, HEADER_BYTES, Lost, Received, Sent};
pub use counts::{Count, Counts};
pub use kernel::KernelNet;
pub use mac::{MacAddress, MacError};
pub use socket::{Socket, SocketError};
pub use tap::{INTERFACE_BYTES_MAX, Tap, TapError};

/// The most frames that go one way before others have a turn.
pub const FRAMES_AT_ONCE: usize = 64;

/// Received frames, frames to be sent.
const QUEUE_SIZES: [u16; 2] = [256, 256];
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

/// Ethernet controller.
const PCI_CLASS: u32 = 0x02_0000;

const KERNEL_FAILS: &str = "the kernel's vhost-net cannot be used";

/// What there has to be room for in a frame beside the MTU: two addresses and a type.
const ETHERNET_BYTES: u32 = 14;

/// The MTU of an Ethernet that says nothing else.
const ETHERNET_MTU: u16 = 1500;

/// "The device MUST set mtu to between 68 and 65535 inclusive" (§5.1.4.1).
const MTU_MIN: u16 = 68;

/// What a guest or the host's end can cause without an end.
static COMPLAINTS: LogLimit = LogLimit::new(4, Duration::from_secs(60))
    .with_target(module_path!())
    .with_topic("network of the guest");

/// What a guest is told of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetConfig {
    /// The address of its station.
    pub mac: MacAddress,
    /// The longest packet, where it is to be told: 68 to 65535 bytes.
    pub mtu: Option<u16>,
}

impl NetConfig {
    /// A station of this address, on an Ethernet like any.
    pub const fn new(mac: MacAddress) -> Self {
        Self { mac, mtu: None }
    }

    /// With this as the longest packet, in bytes.
    ///
    /// # Errors
    /// [`MtuError`] for one below 68.
    pub const fn with_mtu(mut self, mtu: u16) -> Result<Self, MtuError> {
        if mtu < MTU_MIN {
            return Err(MtuError(mtu));
        }
        self.mtu = Some(mtu);
        Ok(self)
    }
}

impl NetConfig {
    /// The longest frame, in bytes.
    fn frame_bytes(&self) -> u32 {
        u32::from(self.mtu.unwrap_or(ETHERNET_MTU)) + ETHERNET_BYTES
    }
}

/// An MTU that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an MTU of {0} is too small: it is {MTU_MIN} to 65535 bytes")]
pub struct MtuError(pub u16);

/// The device.
pub struct Net {
    config: NetConfig,
    offloads: u64,
    backend: Arc<Mutex<Box<dyn Backend>>>,
    /// What works on the queues in the place of a thread here.
    kernel: Option<KernelNet>,
    link: Arc<AtomicBool>,
    counts: Arc<Counts>,
    /// Its driver does not know that the network is another one, or another part of it.
    is_new_here: bool,
    #[cfg(feature = "vof")]
    for_clients: Arc<ForClients>,
}

impl Net {
    /// A device between the guest and `backend`.
    pub fn new(config: NetConfig, backend: Box<dyn Backend>) -> Self {
        let offloads = backend.offloads() & OFFLOADS;
        let link = Arc::new(AtomicBool::new(backend.file().is_some()));
        let backend = Arc::new(Mutex::new(backend));
        let counts = Arc::<Counts>::default();
        Self {
            #[cfg(feature = "vof")]
            for_clients: Arc::new(ForClients::new(
                config,
                backend.clone(),
                link.clone(),
                counts.clone(),
            )),
            config,
            offloads,
            backend,
            kernel: None,
            link,
            counts,
            is_new_here: false,
        }
    }

    /// The same on a tap interface, with `kernel` to work on the queues. Frames of the guest's driver
    /// are [counted](Self::counts) by nobody then.
    pub fn in_kernel(config: NetConfig, tap: Tap, kernel: KernelNet) -> Self {
        let mut net = Self::new(config, Box::new(tap));
        net.kernel = Some(kernel);
        net
    }

    /// The same network for the client interface. It is there until the guest's driver sets the
    /// device up, and again after the device's reset.
    #[cfg(feature = "vof")]
    pub fn for_clients(&self) -> Arc<dyn NetworkDevice> {
        self.for_clients.clone()
    }

    fn start_in<M>(
        &self,
        kernel: &KernelNet,
        activation: Activation<M>,
    ) -> Result<Vec<Worker>, ActivateError>
    where
        M: GuestAddressSpace + Send + 'static,
        M::T: Send + 'static,
    {
        for index in [RECEIVE, TRANSMIT] {
            if activation.queues.get(usize::from(index)).is_none_or(|queue| queue.index != index) {
                return Err(ActivateError::Queue(index));
            }
        }
        let host = |source| {
            kernel.stop();
            ActivateError::Host { what: KERNEL_FAILS, source }
        };
        let mut backend = lock(&self.backend);
        let started = backend.start(usable(activation.features)).and_then(|()| {
            let mac = self.config.mac;
            if self.is_new_here { announce::announce(&mut **backend, mac) } else { Ok(()) }
        });
        if let Err(lost) = started {
            return Err(host(std::io::Error::other(lost)));
        }
        // A tap interface that is there at the beginning is there until it is dropped.
        let Some(tap) = backend.file() else {
            return Err(host(std::io::ErrorKind::NotConnected.into()));
        };
        kernel.start(activation, tap).map_err(host)
    }

    /// How many frames went each way.
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// §5.1.4: `struct virtio_net_config`, little-endian.
    fn config_space(&self) -> [u8; 12] {
        let status = if self.link.load(Ordering::SeqCst) { VIRTIO_NET_S_LINK_UP as u16 } else { 0 };
        let mut space = [0; 12];
        space[..6].copy_from_slice(&self.config.mac.bytes());
        space[6..8].copy_from_slice(&status.to_le_bytes());
        // One pair of queues, where that is read.
        space[8..10].copy_from_slice(&1u16.to_le_bytes());
        space[10..].copy_from_slice(&self.config.mtu.unwrap_or(0).to_le_bytes());
        space
    }
}

impl<M> VirtioDevice<M> for Net
where
    M: GuestAddressSpace + Send + 'static,
    M::T: Send + 'static,
{
    fn kind(&self) -> DeviceKind {
        DeviceKind::new(VIRTIO_ID_NET as u16, PCI_CLASS)
    }

    fn features(&self) -> u64 {
        let queues = [VIRTIO_NET_F_MRG_RXBUF, VIRTIO_RING_F_INDIRECT_DESC, VIRTIO_RING_F_EVENT_IDX];
        let queues = self.kernel.as_ref().map_or(bits(&queues), KernelNet::features);
        let mtu = u64::from(self.config.mtu.is_some()) << VIRTIO_NET_F_MTU;
        bits(&[VIRTIO_NET_F_MAC, VIRTIO_NET_F_STATUS]) | queues | mtu | self.offloads
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// The host's kernel does not tell what it carries.
    fn counters(&self) -> Option<Arc<dyn Counters>> {
        match &self.kernel {
            None => Some(self.counts.clone()),
            Some(_) => None,
        }
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let space = self.config_space();
        let rest = usize::try_from(offset).ok().and_then(|offset| space.get(offset..));
        for (to, from) in data.iter_mut().zip(rest.unwrap_or_default()) {
            *to = *from;
        }
    }

    fn activate(&mut self, activation: Activation<M>) -> Result<Vec<Worker>, ActivateError> {
        if let Some(kernel) = &self.kernel {
            let workers = self.start_in(kernel, activation)?;
            self.is_new_here = false;
            #[cfg(feature = "vof")]
            self.for_clients.take();
            return Ok(workers);
        }
        let is_mergeable = activation.has(VIRTIO_NET_F_MRG_RXBUF);
        let Activation { memory, features, queues, interrupt, .. } = activation;
        let mut rings = [None, None];
        for queue in queues {
            if let Some(ring) = rings.get_mut(usize::from(queue.index)) {
                *ring = Some(Ring::new(queue));
            }
        }
        let [receive, transmit] = rings;
        let receive = receive.ok_or(ActivateError::Queue(RECEIVE))?;
        let transmit = transmit.ok_or(ActivateError::Queue(TRANSMIT))?;
        let timer = TimerFd::new().map_err(|error| ActivateError::Host {
            what: "cannot make a timer",
            source: error.into(),
        })?;
        let worker = worker::Worker {
            memory,
            features: usable(features),
            receiver: receive::Receiver::new(receive, is_mergeable),
            transmitter: transmit::Transmitter::new(transmit),
            backend: self.backend.clone(),
            link: worker::Link { is_up: self.link.clone(), interrupt },
            counts: self.counts.clone(),
            timer,
            announces: self.is_new_here.then_some(self.config.mac),
            waits: worker::Waits::default(),
            patience: patience::Patience::default(),
            watched: None,
            is_broken: false,
        };
        // Nothing fails from here on.
        self.is_new_here = false;
        #[cfg(feature = "vof")]
        self.for_clients.take();
        Ok(vec![Worker::Subscriber(Box::new(worker))])
    }

    fn pause(&mut self, memory: &M, until: Instant) -> Result<(), StateError> {
        self.kernel.as_ref().map_or(Ok(()), |kernel| kernel.pause(memory, until))
    }

    fn resume(&mut self, _: &M) -> Result<(), ActivateError> {
        let Some(kernel) = &self.kernel else { return Ok(()) };
        let backend = lock(&self.backend);
        let resumed = match backend.file() {
            Some(tap) => kernel.resume(tap),
            None => Err(std::io::ErrorKind::NotConnected.into()),
        };
        resumed.map_err(|source| ActivateError::Host { what: KERNEL_FAILS, source })
    }

    fn save(&self) -> Result<StateValue, StateError> {
        self.state()
    }

    fn restore(&mut self, version: u32, state: &StateValue) -> Result<(), StateError> {
        self.take_up(version, state)
    }

    fn reset(&mut self) {
        self.is_new_here = false;
        if let Some(kernel) = &self.kernel {
            kernel.stop();
        }
        #[cfg(feature = "vof")]
        self.for_clients.give_back();
    }

    fn memory_changed(&mut self, memory: &M) {
        if let Some(kernel) = &self.kernel {
            kernel.memory_changed(memory);
        }
    }

    /// What Open Firmware's network devices say of themselves (IEEE 1275 §3.7 and annex A).
    fn describe(&self, node: &mut NodeBuilder<'_>) -> Result<(), FdtError> {
        node.text("device_type", &["network"])?
            .bytes("local-mac-address", &self.config.mac.bytes())?
            .cell("address-bits", 8 * self.config.mac.bytes().len() as u32)?
            .cell("max-frame-size", self.config.frame_bytes())?;
        Ok(())
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net")
            .field("config", &self.config)
            .field("link", &self.link)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

/// What one direction waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The back end.
    Backend,
    /// The driver, which was told to say when there is something.
    Driver,
    /// Nothing: there may be more to do.
    More,
}

/// Why one direction cannot go on.
#[derive(Debug)]
enum Failure {
    /// The queue makes no sense.
    Ring(RingError),
    /// The other end is gone.
    Lost(Lost),
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

/// The features that are up to the back end.
const OFFLOADS: u64 = bits(&[
    VIRTIO_NET_F_CSUM,
    VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_HOST_TSO6,
    VIRTIO_NET_F_HOST_ECN,
    VIRTIO_NET_F_GUEST_CSUM,
    VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_GUEST_ECN,
]);

const fn bits(numbers: &[u32]) -> u64 {
    let mut bits = 0;
    let mut index = 0;
    while index < numbers.len() {
        bits |= 1 << numbers[index];
        index += 1;
    }
    bits
}

/// Features without those that need others which the driver did not take (§5.1.3.1).
const fn usable(features: u64) -> u64 {
    let mut usable = features;
    if usable & bits(&[VIRTIO_NET_F_GUEST_CSUM]) == 0 {
        usable &= !bits(&[VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6]);
    }
    if usable & bits(&[VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6]) == 0 {
        usable &= !bits(&[VIRTIO_NET_F_GUEST_ECN]);
    }
    usable
}

fn lock(backend: &Mutex<Box<dyn Backend>>) -> MutexGuard<'_, Box<dyn Backend>> {
    backend.lock().unwrap_or_else(PoisonError::into_inner)
}
