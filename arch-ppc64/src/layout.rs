//! Where things are: real addresses, unit addresses and interrupt numbers of the machine.

use vm_memory::GuestAddress;

/// Granule of guest memory: the largest base page that a host or guest kernel uses, so that a
/// memory size is a whole number of pages for both.
pub const PAGE_BYTES: u64 = 0x1_0000;

/// Size of a logical memory block, the unit of memory hot-plug (LoPAPR §13.5.1, `ibm,lmb-size`).
pub const LMB_BYTES: u64 = 256 << 20;

/// The least RAM that a machine can have at 0, before the first hole. A kernel is placed at 4 MiB,
/// moves itself to 0 and needs room for both copies.
pub const MIN_MEMORY_BYTES: u64 = 64 << 20;

/// Where memory ends at the latest, hot-pluggable memory included. What a radix guest can address
/// (2^52 bytes) is more, and so is what the windows of PCI leave room for
/// ([`PciWindows`](crate::pci::PciWindows) begin at 2^45); at this size, the list block by block that
/// older guests are given has 1.5 MiB.
pub const MAX_MEMORY_BYTES: u64 = 16 << 40;

/// The most ranges of memory: of RAM, and of memory that can be plugged, one for each NUMA node that
/// Linux kernels for servers can have, and as many holes.
pub const MAX_MEMORY_RANGES: usize = 1024;

/// The most virtual CPUs: as many as Linux kernels for servers are built for.
pub const MAX_CPUS: u32 = 2048;

/// The most threads of a core: as many as POWER processors have.
pub const MAX_THREADS_PER_CORE: u32 = 8;

/// The longest kernel command line in bytes: Linux's `COMMAND_LINE_SIZE` for this architecture
/// is 2,048, the final NUL included.
pub const MAX_CMDLINE_BYTES: usize = 2047;

/// Unit address of the console on `/vdevice`: its `reg`, and what H_PUT_TERM_CHAR and
/// H_GET_TERM_CHAR take.
pub const VTY_UNIT: u32 = 0x7100_0000;

/// Path of the console's node.
pub const VTY_PATH: &str = "/vdevice/vty@71000000";

/// Unit address of the non-volatile memory on `/vdevice`.
pub const NVRAM_UNIT: u32 = 0x7100_0001;

/// First interrupt number of a device. Lower numbers belong to the presentation layer (number 2
/// is the inter-processor interrupt).
pub const FIRST_INTERRUPT: u32 = 0x1000;

/// Frequency of the timebase in hertz: the same on every POWER processor since POWER6
/// (Power ISA, Book II chapter 6 leaves it to the platform).
pub const TIMEBASE_HZ: u32 = 512_000_000;

/// Where RAM begins.
pub const RAM_START: GuestAddress = GuestAddress(0);

/// Where the pages of interrupt sources are under XIVE, two a source: above all RAM and the windows
/// of PCI buses, where POWER9 has them.
pub const XIVE_SOURCES: GuestAddress = GuestAddress(0x6_0100_0000_0000);

/// Where the pages of event queues' notifications are, eight a CPU.
pub const XIVE_QUEUES: GuestAddress = GuestAddress(0x6_0200_0000_0000);

/// The page of the thread interrupt management area for operating systems; that for programs
/// follows.
pub const XIVE_OS_PAGE: GuestAddress = GuestAddress(0x6_0302_031a_0000);

/// The page of the thread interrupt management area for programs.
pub const XIVE_USER_PAGE: GuestAddress = GuestAddress(0x6_0302_031b_0000);

/// The size of an event queue under XIVE as a power of two: the only one that there is, as under
/// KVM.
pub const XIVE_QUEUE_SHIFT: u32 = 16;

/// The least favoured priority that a guest can use under XIVE. The next one, the last that there
/// is, is the platform's, as under KVM.
pub const XIVE_LAST_PRIORITY: u8 = 6;
