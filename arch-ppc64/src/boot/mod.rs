//! The start of a machine as one call: everything is put in its place in RAM, and what comes back
//! is how the first CPU is entered.
//!
//! There are two ways in, and the machine says which is its own
//! ([`Machine::x_vof`](crate::Machine::x_vof)). With `x-vof` off, [`Boot::flat`] is all of it. With
//! `x-vof` on, `boot` of the crate `vof-device` is that call for both; it makes the client
//! interface of what [`Boot::client`] gives.
//!
//! ```
//! use std::fs::File;
//!
//! use arch_ppc64::boot::{Boot, BootError};
//! use arch_ppc64::loader::Source;
//! use arch_ppc64::platform::Platform;
//! use arch_ppc64::{EntryRegisters, GuestRam};
//!
//! /// At each start, with a new platform; RAM may be as the start before has left it.
//! fn start(
//!     platform: &Platform,
//!     ram: &dyn GuestRam,
//!     (kernel, initrd): (&File, Option<&File>),
//!     boot_count: u32,
//!     rng_seed: [u8; 32], // the VMM's own randomness
//! ) -> Result<EntryRegisters, BootError> {
//!     Boot::new(kernel, rng_seed)
//!         .with_initrd(initrd.map(|file| file as &dyn Source))
//!         .number(boot_count)
//!         .flat(platform, ram)
//! }
//! ```
//!
//! The steps are public as well, for who does it in another way: [`Client::parse`] and
//! [`Placement::plan`], [`loader::load`], [`Platform::blob`] for a [`Start`], and
//! [`rtas::instantiate`].

mod error;

use std::fmt;

use vm_memory::GuestAddress;

use crate::cas::Decision;
use crate::fdt::Start;
use crate::layout::RAM_START;
use crate::loader::{self, Client, LoadError, Part, Placement, PlanRequest, Source};
use crate::platform::Platform;
use crate::ram::GuestRam;
use crate::rtas;
use crate::vcpu::EntryRegisters;
pub use error::BootError;

/// What one start of a machine is made with. (What the machine tells each of its guests, the
/// command line, is in its configuration: [`config::Boot`](crate::config::Boot).)
#[derive(Clone, Copy)]
pub struct Boot<'a> {
    kernel: &'a dyn Source,
    initrd: Option<&'a dyn Source>,
    rng_seed: [u8; 32],
    boot_count: u32,
    decision: Option<Decision>,
    bootpath: Option<&'a str>,
    bootp_response: Option<&'a [u8]>,
    bootargs: Option<&'a str>,
    boot_arguments: Option<&'a str>,
}

/// What [`Boot::client`] has done, and what it takes to make the client interface.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientBoot {
    /// The tree, flattened, with [slack](crate::fdt::SLACK_BYTES). It is not in guest memory.
    pub tree: Vec<u8>,
    /// RAM that is the firmware's for good, which no client can have: where it starts and how many
    /// bytes it has.
    pub firmware: (GuestAddress, u64),
    /// RAM that is taken from the start and that the client may give back: the client itself, and
    /// the initial RAM disk if there is one. Where each starts and how many bytes it has.
    pub reserved: Vec<(GuestAddress, u64)>,
    /// How the first CPU enters the firmware image, which enters the client.
    pub registers: EntryRegisters,
}

impl<'a> Boot<'a> {
    /// The first start of a machine, of this kernel or other program, and with this randomness for
    /// the guest, which is to be new each time.
    pub const fn new(kernel: &'a dyn Source, rng_seed: [u8; 32]) -> Self {
        Self {
            kernel,
            initrd: None,
            rng_seed,
            boot_count: 1,
            decision: None,
            bootpath: None,
            bootp_response: None,
            bootargs: None,
            boot_arguments: None,
        }
    }

    /// The same with an initial RAM disk, if there is one.
    #[must_use]
    pub const fn with_initrd(self, initrd: Option<&'a dyn Source>) -> Self {
        Self { initrd, ..self }
    }

    /// The same as the start of this number, 1 for the first.
    #[must_use]
    pub const fn number(self, boot_count: u32) -> Self {
        Self { boot_count, ..self }
    }

    /// The same with what was agreed on at the start before, for this one: see
    /// [`Start::decision`].
    #[must_use]
    pub const fn with_decision(self, decision: Option<Decision>) -> Self {
        Self { decision, ..self }
    }

    /// The same of a program that was read from a device of the machine: what `/chosen` says as
    /// `bootpath` (IEEE 1275 §3.5), a device path with arguments.
    #[must_use]
    pub const fn with_bootpath(self, bootpath: Option<&'a str>) -> Self {
        Self { bootpath, ..self }
    }

    /// The same of a program that was read from a network: what the DHCP server said, as a BOOTP
    /// message (`bootp-response` of `/chosen`), so that the program need not ask again.
    #[must_use]
    pub const fn with_bootp_response(self, bootp_response: Option<&'a [u8]>) -> Self {
        Self { bootp_response, ..self }
    }

    /// The same with arguments that came with the program, if some did, in the place of the machine's
    /// command line.
    #[must_use]
    pub const fn with_bootargs(self, bootargs: Option<&'a str>) -> Self {
        Self { bootargs, ..self }
    }

    /// The same with the arguments that the client before gave this start by the service `boot`, in
    /// the place of all others. They are for the client interface: where there is
    /// none, no client can have given any.
    #[must_use]
    pub const fn with_boot_arguments(self, arguments: Option<&'a str>) -> Self {
        Self { boot_arguments: arguments, ..self }
    }

    /// The arguments that the client before gave this start.
    pub const fn boot_arguments(&self) -> Option<&'a str> {
        self.boot_arguments
    }

    /// Where everything is to go in this machine. Nothing is written, and no more of the files is
    /// read than the program's headers: this tells early whether there can be a start.
    ///
    /// # Errors
    /// [`BootError::Load`] says what is wrong with a file or what there is no room for, and
    /// [`BootError::Fdt`] what the tree cannot have.
    pub fn plan(&self, platform: &Platform) -> Result<Placement, BootError> {
        Ok(self.planned(platform)?.placement)
    }

    /// The size of the largest initial RAM disk that there is room for in this machine, in bytes,
    /// whatever size this one has: for what has to be read to be measured, such as a pipe.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), of everything else.
    pub fn initrd_room(&self, platform: &Platform) -> Result<u64, BootError> {
        let client = Client::parse(self.kernel)?;
        let request = self.request(platform, Some(0))?;
        Ok(Placement::initrd_room(&client, &request)?)
    }

    /// The way in without a client interface (`x-vof` off): loads kernel and initial RAM disk, and
    /// writes the tree, as negotiation with the default choices would leave it, and RTAS.
    ///
    /// The kernel is entered with the tree in r3, its own address in r4, and 0 in r5: there is no
    /// client interface (Linux, Documentation/powerpc/booting.rst).
    ///
    /// # Errors
    /// [`BootError`]; what is in RAM then is nothing to start.
    pub fn flat(
        &self,
        platform: &Platform,
        ram: &dyn GuestRam,
    ) -> Result<EntryRegisters, BootError> {
        let Plan { client, request, placement } = self.planned(platform)?;
        let (Some(tree_at), Some(rtas_at)) = (placement.flat_tree(), placement.rtas()) else {
            return Err(BootError::OtherWay { x_vof: true });
        };
        let tree = platform.blob(&self.start(&placement))?;
        let (bytes, planned) = (tree.len() as u64, request.flat_tree_bytes.unwrap_or(0));
        if bytes > planned {
            return Err(BootError::TreeGrew { planned, bytes });
        }
        loader::load(&client, &placement, self.initrd, ram)?;
        ram.write(tree_at, &tree)?;
        rtas::instantiate(ram, rtas_at)?;
        let (client_at, _) = placement.client();
        let registers = EntryRegisters::at(placement.entry());
        let registers = registers.with_arguments([tree_at.0, client_at.0, 0]);
        Ok(registers.in_64bit(placement.is_64bit()))
    }

    /// The way in through the client interface (`x-vof` on): loads the client and its initial RAM
    /// disk, and writes the firmware image.
    ///
    /// # Errors
    /// [`BootError`]; what is in RAM then is nothing to start.
    pub fn client(&self, platform: &Platform, ram: &dyn GuestRam) -> Result<ClientBoot, BootError> {
        let Plan { client, placement, .. } = self.planned(platform)?;
        if placement.flat_tree().is_some() {
            return Err(BootError::OtherWay { x_vof: false });
        }
        let tree = platform.blob(&self.start(&placement))?;
        loader::load(&client, &placement, self.initrd, ram)?;
        // It writes into itself: it is as new at each start.
        ram.write(GuestAddress(vof_firmware::LOAD_ADDRESS), vof_firmware::IMAGE)?;
        Ok(ClientBoot {
            tree,
            firmware: (RAM_START, vof_firmware::RESERVED_BYTES),
            reserved: [placement.client()].into_iter().chain(placement.initrd()).collect(),
            // The image needs nothing more.
            registers: EntryRegisters::at(GuestAddress(vof_firmware::ENTRY)),
        })
    }

    fn planned<'p>(&self, platform: &'p Platform) -> Result<Plan<'a, 'p>, BootError> {
        let client = Client::parse(self.kernel)?;
        let request = self.request(platform, self.initrd_bytes()?)?;
        let placement = Placement::plan(&client, &request)?;
        Ok(Plan { client, request, placement })
    }

    /// What there has to be room for, besides the program.
    fn request<'p>(
        &self,
        platform: &'p Platform,
        initrd_bytes: Option<u64>,
    ) -> Result<PlanRequest<'p>, BootError> {
        let machine = platform.machine();
        let request = PlanRequest::new(machine.memory_map()).with_initrd(initrd_bytes);
        if machine.x_vof() {
            return Ok(request);
        }
        // Addresses take as many cells whatever they are, so the tree is as long with any.
        let nowhere = GuestAddress(0);
        let start = Start::new(nowhere, self.rng_seed)
            .with_initrd(initrd_bytes.map(|bytes| (nowhere, bytes)))
            .with_flat_rtas(Some(nowhere));
        let tree = platform.blob(&self.in_turn(start))?;
        Ok(request.with_flat_tree(tree.len() as u64, rtas::SIZE_BYTES.into()))
    }

    fn start(&self, placement: &Placement) -> Start {
        self.in_turn(Start::of_placement(placement, self.rng_seed))
    }

    /// What tells this start from those before it.
    fn in_turn(&self, start: Start) -> Start {
        start
            .number(self.boot_count)
            .with_decision(self.decision)
            .with_bootpath(self.bootpath.map(str::to_owned))
            .with_bootp_response(self.bootp_response.map(<[u8]>::to_vec))
            .with_bootargs(self.bootargs.map(str::to_owned))
    }

    fn initrd_bytes(&self) -> Result<Option<u64>, LoadError> {
        self.initrd.map(|initrd| Part::Initrd.size_bytes(initrd)).transpose()
    }
}

/// The sources and the randomness are not shown.
impl fmt::Debug for Boot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Boot")
            .field("has_initrd", &self.initrd.is_some())
            .field("boot_count", &self.boot_count)
            .field("decision", &self.decision)
            .field("bootpath", &self.bootpath)
            .field("bootargs", &self.bootargs)
            .field("boot_arguments", &self.boot_arguments)
            .finish_non_exhaustive()
    }
}

/// A program, what it needs room for, and where all of it goes.
struct Plan<'a, 'p> {
    client: Client<'a>,
    request: PlanRequest<'p>,
    placement: Placement,
}

#[cfg(test)]
mod tests;
