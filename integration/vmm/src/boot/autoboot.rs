//! A start from the machine's devices: what is tried, and what the console shows of that.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use arch_ppc64::Console;
use arch_ppc64::boot::{self, Boot};
use arch_ppc64::fdt::Start;
use arch_ppc64::loader::KERNEL_BASE;
use arch_ppc64::platform::Platform;
use vof_device::autoboot::{Attempts, BootDevice, Choice};
use vof_device::block::BlockDevice;
use vof_device::network::netboot::Limits;
use vof_device::{BootError as VofBootError, DeviceTree};

use super::from::BootDevices;
use super::{BootError, RamPlan, Stopping, clear_ram};
use crate::config::BootConfig;
use crate::devices::{ClientSide, OnBus};
use crate::quoted;
use crate::ram::Memory;

/// What a start from devices is made with.
pub(super) struct Search<'a> {
    pub(super) from: &'a BootDevices,
    pub(super) devices: &'a [OnBus],
    /// What the client before wants to have started.
    pub(super) wanted: Option<String>,
    pub(super) console: &'a dyn Console,
    /// Whether whoever started this program sees the console.
    pub(super) is_on_terminal: bool,
    pub(super) ram: &'a Memory,
    pub(super) ram_plan: &'a RamPlan,
    pub(super) rng_seed: [u8; 32],
    pub(super) stopping: &'a Stopping,
}

impl Search<'_> {
    /// Has `start` start the first program that can be started. It is given a platform, and what the
    /// tree is to say of the program.
    ///
    /// # Errors
    /// [`BootError::NoDevice`] for a choice of the user's that cannot be; [`BootError::Nothing`] when
    /// there is no program, and the console shows what was tried; [`BootError::Ending`]; and what is wrong with something else than a program.
    pub(super) fn first<T>(
        &self,
        platform: &mut Platform,
        mut start: impl FnMut(&mut Platform, Boot<'_>) -> Result<T, BootError>,
    ) -> Result<T, BootError> {
        // Where a program would be makes no difference to what is chosen, nor what it is told.
        let tree = platform
            .blob(&Start::new(KERNEL_BASE, self.rng_seed))
            .map_err(boot::BootError::from)?;
        let tree = DeviceTree::from_blob(&tree).map_err(VofBootError::from)?;
        let devices = self.boot_devices();
        if let Some(choice) = &self.from.choice {
            self.check(choice, &tree, &devices)?;
        }
        // More has no room in the machine.
        let ram_bytes = platform.machine().memory_map().ram_bytes();
        let limits = Limits::default();
        let limits = limits.clone().with_image_bytes(ram_bytes.min(limits.image_bytes));
        let mut shown = None;
        let attempts = Attempts::new(&tree, &devices, &self.choice())
            .with_network_limits(limits)
            .with_watch(|path, event| {
                // What goes on still is told again and again.
                let line = event.line().filter(|line| shown.as_ref() != Some(line));
                if let Some(line) = line {
                    self.tell(path, &line);
                    shown = Some(line);
                }
                match self.stopping.is_wanted() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
        let mut failures = Vec::new();
        for attempt in attempts {
            if self.stopping.is_wanted() {
                return Err(BootError::Ending);
            }
            let image = match attempt.result {
                Ok(image) => image,
                Err(error) => {
                    failures.push(self.tell(&attempt.name, &chain(&error)));
                    continue;
                }
            };
            let arguments = image.arguments().filter(|_| !self.from.has_cmdline);
            let boot = Boot::new(image.source(), self.rng_seed)
                .with_bootpath(Some(image.bootpath()))
                .with_bootp_response(image.bootp_response())
                .with_bootargs(arguments);
            match start(platform, boot) {
                Ok(started) => {
                    self.tell(&attempt.name, "loaded");
                    return Ok(started);
                }
                Err(_) if self.stopping.is_wanted() => return Err(BootError::Ending),
                Err(BootError::Start(boot::BootError::Load(error))) => {
                    failures.push(self.tell(&attempt.name, &chain(&error)));
                    // What was loaded of it is not for the next.
                    clear_ram(self.ram, self.ram_plan, self.stopping)?;
                }
                Err(error) => return Err(error),
            }
        }
        // Who started this does not see a console that is elsewhere.
        if !self.is_on_terminal && !log::log_enabled!(log::Level::Info) {
            failures.iter().for_each(|line| log::warn!("{line}"));
        }
        Err(BootError::Nothing)
    }

    fn choice(&self) -> Choice {
        let choice = match &self.from.choice {
            Some(boot) => Choice::only(self.specifier(boot)),
            None => Choice::automatic(),
        };
        choice.with_first(self.wanted.clone())
    }

    fn specifier(&self, choice: &BootConfig) -> String {
        choice.specifier(|id| {
            let device = self.devices.iter().find(|device| device.id.as_str() == id);
            device.map(|device| device.path.as_str())
        })
    }

    /// Whether what the user chose is one of `devices`.
    fn check(
        &self,
        choice: &BootConfig,
        tree: &DeviceTree,
        devices: &[BootDevice],
    ) -> Result<(), BootError> {
        let is_known = |path: &str| devices.iter().any(|device| device.path() == path);
        let specifier = self.specifier(choice);
        let (device, _) = specifier.split_once(':').unwrap_or((&specifier, ""));
        let reason = match tree.find(device) {
            Some(node) if is_known(&tree.path(node)) => return Ok(()),
            Some(_) => "this device is nothing to start from",
            None => "there is no such device",
        };
        let devices = self.devices.iter().filter(|device| is_known(&device.path));
        let mut names: Vec<String> = devices.map(|device| device.id.to_string()).collect();
        let aliases = tree.find("/aliases").into_iter().flat_map(|node| tree.properties(node));
        for (name, _) in aliases {
            let is_one = tree.find(name).is_some_and(|node| is_known(&tree.path(node)));
            if is_one && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        Err(BootError::NoDevice { option: choice.label(), reason, names })
    }

    fn boot_devices(&self) -> Vec<BootDevice> {
        let devices =
            self.devices.iter().filter_map(|device| match device.client_side.as_ref()? {
                ClientSide::Disk(disk) => {
                    let disk = Stoppable { disk: disk.clone(), stopping: self.stopping.clone() };
                    Some(BootDevice::disk(&device.path, Arc::new(disk)))
                }
                ClientSide::Network(network) => {
                    Some(BootDevice::network(&device.path, network.clone()))
                }
            });
        devices.collect()
    }

    /// Shows one line, and gives it. What a console does not take is not waited for.
    fn tell(&self, name: &str, result: &str) -> String {
        let line = format!("Trying {name} ... {result}");
        log::info!("{line}");
        let line = quoted::message(&line);
        let shown = format!("{line}\r\n");
        let mut rest = shown.as_bytes();
        while let taken @ 1.. = self.console.write(rest) {
            rest = rest.get(taken..).unwrap_or_default();
        }
        line
    }
}

/// An error and what it came from, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}

/// A disk that is not read any more once the machine is to stop.
struct Stoppable {
    disk: Arc<dyn BlockDevice>,
    stopping: Stopping,
}

impl BlockDevice for Stoppable {
    fn size_bytes(&self) -> u64 {
        self.disk.size_bytes()
    }

    fn block_bytes(&self) -> u32 {
        self.disk.block_bytes()
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        if self.stopping.is_wanted() {
            return Err(io::Error::other("the machine is to stop"));
        }
        self.disk.read(to, offset)
    }

    fn write(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
