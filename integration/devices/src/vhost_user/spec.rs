//! What a device is that a daemon works for.

use crate::vhost::requests::Requests;
use crate::virtio::DeviceKind;

/// What a device is, apart from what the daemon says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceSpec {
    /// Which device.
    pub kind: DeviceKind,
    /// Its queues, by the most descriptors that each may have: powers of two, at most 32768.
    pub queue_sizes: Vec<u16>,
    /// Of the features of this kind of device (bits 0 to 23, and from 50 on), those that the guest
    /// may use if the daemon has them.
    pub features: u64,
    /// What the guest reads as its configuration.
    pub configuration: Configuration,
    /// Whether the daemon keeps something of the guest from one request to the next, such as open
    /// files. It can be saved only if it gives that (the protocol feature `DEVICE_STATE`).
    pub has_state: bool,
    /// What is known of its requests.
    pub(crate) requests: Option<Requests>,
}

/// Where a device has its configuration from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Configuration {
    /// It is this, whatever the daemon says.
    Fixed(Vec<u8>),
    /// The daemon is asked for so many bytes, and told what the guest writes.
    Daemon(u32),
}

impl DeviceSpec {
    /// A device with these queues, all of whose features the guest may use.
    pub const fn new(
        kind: DeviceKind,
        queue_sizes: Vec<u16>,
        configuration: Configuration,
    ) -> Self {
        let features = u64::MAX;
        Self { kind, queue_sizes, features, configuration, has_state: true, requests: None }
    }

    /// The same, whose daemon [keeps nothing](Self::has_state).
    #[must_use]
    pub const fn without_state(mut self) -> Self {
        self.has_state = false;
        self
    }

    /// The same, of whose features the guest may use these.
    #[must_use]
    pub const fn with_features(mut self, features: u64) -> Self {
        self.features = features;
        self
    }

    /// A disk (Virtio 1.2 §5.2) with so many queues.
    pub fn block(queues: u16) -> Self {
        // With all fields up to those of secure erase (§5.2.4).
        let configuration = Configuration::Daemon(60);
        Self::new(DeviceKind::new(2, 0x01_0000), vec![256; queues.into()], configuration)
            .without_state()
    }

    /// A network card (§5.1) with a queue for each direction.
    pub fn net() -> Self {
        // MAC address, status, pairs, MTU (§5.1.4).
        let spec =
            Self::new(DeviceKind::new(1, 0x02_0000), vec![256; 2], Configuration::Daemon(12));
        // Without the control queue and what is asked for by it: that is the front end's, and the
        // daemon's numbers of queues do not count it.
        spec.with_features(!CONTROLLED).without_state()
    }
}

/// `VIRTIO_NET_F_CTRL_*`, `_GUEST_ANNOUNCE` and `_MQ`, and those from 50 on that need a control
/// queue (§5.1.3).
const CONTROLLED: u64 = 0b111_1111 << 17 | 1 << 2 | !0 << 50;
