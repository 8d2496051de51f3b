//! What a machine without a program of the VMM's starts: the choice of a device, and what is found
//! on it (IEEE 1275 §7.4.3, "Booting"; CHRP binding §11.1).
//!
//! The VMM says what can be started from ([`BootDevice`]) and what is to be tried ([`Choice`]).
//! [`Attempts`] looks at one after the other and gives a [`BootImage`] or a reason for each. It is
//! for the VMM to go on until an image is one that can be started: what is on a disk is not trusted,
//! and only the loader knows whether it is a program that has room.
//!
//! ```
//! use std::sync::Arc;
//!
//! use arch_ppc64::boot::Boot;
//! use arch_ppc64::fdt::Start;
//! use arch_ppc64::loader::KERNEL_BASE;
//! use arch_ppc64::platform::Platform;
//! use arch_ppc64::{Console, GuestRam};
//! use vof_device::autoboot::{Attempts, BootDevice, Choice};
//! use vof_device::{Booted, DeviceTree, VofBuilder};
//!
//! fn start(
//!     platform: &mut Platform,
//!     ram: &dyn GuestRam,
//!     devices: &[BootDevice],
//!     console: &dyn Console,
//!     vof: impl Fn(VofBuilder) -> VofBuilder,
//! ) -> Result<Option<Booted>, Box<dyn std::error::Error>> {
//!     let seed = [0; 32]; // the VMM's own randomness
//!     // Where a program would be makes no difference to what is chosen.
//!     let tree = DeviceTree::from_blob(&platform.blob(&Start::new(KERNEL_BASE, seed))?)?;
//!     for attempt in Attempts::new(&tree, devices, &Choice::automatic()) {
//!         let started = attempt.result.map_err(|reason| reason.to_string()).and_then(|image| {
//!             let boot = Boot::new(image.source(), seed)
//!                 .with_bootpath(Some(image.bootpath()))
//!                 .with_bootp_response(image.bootp_response())
//!                 .with_bootargs(image.arguments());
//!             vof_device::boot(&boot, platform, ram, &vof).map_err(|error| error.to_string())
//!         });
//!         match started {
//!             Ok(booted) => return Ok(Some(booted)),
//!             // What was loaded before it failed is to be cleared away, too.
//!             Err(reason) => {
//!                 console.write(format!("{}: {reason}\r\n", attempt.name).as_bytes());
//!             }
//!         }
//!     }
//!     Ok(None)
//! }
//! ```

mod choice;
mod disk;
mod error;
mod image;
#[cfg(feature = "netboot")]
mod net;

use std::collections::VecDeque;
use std::fmt;
#[cfg(feature = "netboot")]
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::block::BlockDevice;
#[cfg(feature = "netboot")]
use crate::network::NetworkDevice;
#[cfg(feature = "netboot")]
use crate::network::netboot::{Event, Limits};
use crate::tree::DeviceTree;

pub use choice::Choice;
pub use error::AttemptError;
pub use image::BootImage;

use choice::Specifier;

/// A device that a machine can start from.
#[derive(Clone)]
pub struct BootDevice {
    path: String,
    medium: Medium,
}

#[derive(Clone)]
enum Medium {
    Disk(Arc<dyn BlockDevice>),
    #[cfg(feature = "netboot")]
    Network(Arc<dyn NetworkDevice>),
}

impl BootDevice {
    /// A disk, whose node has this full path.
    pub fn disk(path: impl Into<String>, disk: Arc<dyn BlockDevice>) -> Self {
        Self { path: path.into(), medium: Medium::Disk(disk) }
    }

    /// A network, whose device's node has this full path: a program comes by DHCP and TFTP. (Feature
    /// `netboot`.)
    #[cfg(feature = "netboot")]
    pub fn network(path: impl Into<String>, network: Arc<dyn NetworkDevice>) -> Self {
        Self { path: path.into(), medium: Medium::Network(network) }
    }

    /// The full path of its node.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Debug for BootDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootDevice").field("path", &self.path).finish_non_exhaustive()
    }
}

/// One way to start, and what there is.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// What was tried: a device specifier, or as much of it as was given.
    pub name: String,
    /// What is there to be started, or why nothing is.
    pub result: Result<BootImage, AttemptError>,
}

impl Attempt {
    fn new(name: impl Into<String>, result: Result<BootImage, AttemptError>) -> Self {
        Self { name: name.into(), result }
    }
}

/// Looks at one device after the other, each when it is its turn. It may wait for the host.
///
/// On a disk that is named without a part of it, these are tried, in this order:
///
/// 1. what `\ppc\bootinfo.txt` says, in a file system of the whole disk: installation media;
/// 2. PReP partitions. One that is marked as active comes first; none needs to be marked, as those
///    of a GUID partition table cannot be;
/// 3. what `\ppc\bootinfo.txt` says, in the file system of each other partition.
///
/// Where a partition is named, it is that one's content, if it is a PReP partition or has no
/// `\ppc\bootinfo.txt`. A file that is named is the program. A bootinfo.txt names a file, or a
/// partition, and not another bootinfo.txt.
///
/// From a network comes the file that its DHCP server names, or the one that the device specifier
/// does ([`Request::from_arguments`](crate::network::netboot::Request::from_arguments)). All of it is
/// kept.
pub struct Attempts<'a> {
    tree: &'a DeviceTree,
    devices: &'a [BootDevice],
    specifiers: VecDeque<Specifier>,
    /// Of the device that is looked at.
    found: VecDeque<Attempt>,
    #[cfg(feature = "netboot")]
    networks: net::Networks<'a>,
}

impl<'a> Attempts<'a> {
    /// Those of `choice`, on these devices of the machine with this tree.
    pub fn new(tree: &'a DeviceTree, devices: &'a [BootDevice], choice: &Choice) -> Self {
        let specifiers = choice.specifiers(tree, devices);
        Self {
            tree,
            devices,
            specifiers,
            found: VecDeque::new(),
            #[cfg(feature = "netboot")]
            networks: net::Networks::default(),
        }
    }

    /// With these limits for what comes from a network. (Feature `netboot`.)
    #[cfg(feature = "netboot")]
    #[must_use]
    pub fn with_network_limits(mut self, limits: Limits) -> Self {
        self.networks.limits = limits;
        self
    }

    /// With somebody who is told of what goes on with the network whose device has this path, as
    /// [`netboot::fetch`](crate::network::netboot::fetch) tells it, and can end that.
    /// (Feature `netboot`.)
    #[cfg(feature = "netboot")]
    #[must_use]
    pub fn with_watch(mut self, watch: impl FnMut(&str, &Event) -> ControlFlow<()> + 'a) -> Self {
        self.networks.watch = Some(Box::new(watch));
        self
    }

    fn look_at(&mut self, specifier: &Specifier) -> Vec<Attempt> {
        let (path, arguments) = match choice::resolve(self.tree, &specifier.text) {
            Ok(found) => found,
            Err(error) => return vec![Attempt::new(&specifier.text, Err(error))],
        };
        let Some(device) = self.devices.iter().find(|device| device.path == path) else {
            return vec![Attempt::new(&specifier.text, Err(AttemptError::NotBootable))];
        };
        let mut attempts = match &device.medium {
            Medium::Disk(disk) => disk::Disk { path: &path, disk }.attempts(&arguments),
            #[cfg(feature = "netboot")]
            Medium::Network(network) => vec![self.networks.attempt(&path, network, &arguments)],
        };
        if let Some(arguments) = &specifier.program_arguments {
            for image in attempts.iter_mut().filter_map(|attempt| attempt.result.as_mut().ok()) {
                image.default_arguments(arguments);
            }
        }
        attempts
    }
}

impl Iterator for Attempts<'_> {
    type Item = Attempt;

    fn next(&mut self) -> Option<Attempt> {
        loop {
            if let Some(attempt) = self.found.pop_front() {
                return Some(attempt);
            }
            let specifier = self.specifiers.pop_front()?;
            self.found = self.look_at(&specifier).into();
        }
    }
}

impl fmt::Debug for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts").field("specifiers", &self.specifiers).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
