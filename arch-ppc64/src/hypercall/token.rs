//! Hypercall tokens (LoPAPR table 171, "Hypervisor Call Function Table"; those from `0xf000` on
//! are KVM's private range, Linux `arch/powerpc/include/asm/hvcall.h` and KVM's documentation).

/// H_REMOVE: takes an entry out of the hashed page table.
pub const REMOVE: u64 = 0x4;
/// H_ENTER: makes an entry of the hashed page table.
pub const ENTER: u64 = 0x8;
/// H_READ: reads entries of the hashed page table.
pub const READ: u64 = 0xc;
/// H_CLEAR_MOD: clears the changed bit of an entry of the hashed page table.
pub const CLEAR_MOD: u64 = 0x10;
/// H_CLEAR_REF: clears the referenced bit of an entry of the hashed page table.
pub const CLEAR_REF: u64 = 0x14;
/// H_PROTECT: sets who may access the page of an entry of the hashed page table.
pub const PROTECT: u64 = 0x18;
/// H_GET_TCE: where a page of a bus is mapped to.
pub const GET_TCE: u64 = 0x1c;
/// H_PUT_TCE: maps a page of a bus.
pub const PUT_TCE: u64 = 0x20;
/// H_GET_TERM_CHAR: typed characters of a virtual terminal.
pub const GET_TERM_CHAR: u64 = 0x54;
/// H_PUT_TERM_CHAR: characters to a virtual terminal.
pub const PUT_TERM_CHAR: u64 = 0x58;
/// H_EOI: the end of an interrupt.
pub const EOI: u64 = 0x64;
/// H_CPPR: the priority of the calling CPU.
pub const CPPR: u64 = 0x68;
/// H_IPI: an interrupt for another CPU.
pub const IPI: u64 = 0x6c;
/// H_IPOLL: what interrupts a CPU has, accepting none.
pub const IPOLL: u64 = 0x70;
/// H_XIRR: accepts an interrupt.
pub const XIRR: u64 = 0x74;
/// H_REGISTER_VPA: where the guest keeps the areas that it shares about a virtual CPU.
pub const REGISTER_VPA: u64 = 0xdc;
/// H_CEDE: sleeps until an interrupt or H_PROD.
pub const CEDE: u64 = 0xe0;
/// H_CONFER: gives the caller's time to another CPU.
pub const CONFER: u64 = 0xe4;
/// H_PROD: wakes a CPU that sleeps in H_CEDE.
pub const PROD: u64 = 0xe8;
/// H_BULK_REMOVE: takes several entries out of the hashed page table.
pub const BULK_REMOVE: u64 = 0x124;
/// H_STUFF_TCE: maps several pages of a bus to the same page.
pub const STUFF_TCE: u64 = 0x138;
/// H_PUT_TCE_INDIRECT: maps several pages of a bus.
pub const PUT_TCE_INDIRECT: u64 = 0x13c;
/// H_GET_CPU_CHARACTERISTICS: what the CPU does against speculation attacks.
pub const GET_CPU_CHARACTERISTICS: u64 = 0x1c8;
/// H_HOME_NODE_ASSOCIATIVITY: which NUMA node a virtual CPU runs on.
pub const HOME_NODE_ASSOCIATIVITY: u64 = 0x2ec;
/// H_XIRR-X: accepts an interrupt and tells when it came.
pub const XIRR_X: u64 = 0x2fc;
/// H_SET_MODE: per-processor modes, such as the byte order of interrupts.
pub const SET_MODE: u64 = 0x31c;
/// H_CLEAR_HPT: empties the hashed page table.
pub const CLEAR_HPT: u64 = 0x358;
/// H_RESIZE_HPT_PREPARE: prepares a hashed page table of another size.
pub const RESIZE_HPT_PREPARE: u64 = 0x36c;
/// H_RESIZE_HPT_COMMIT: takes up the one that was prepared.
pub const RESIZE_HPT_COMMIT: u64 = 0x370;
/// H_REGISTER_PROC_TBL: where the guest keeps its process table.
pub const REGISTER_PROC_TBL: u64 = 0x37c;
/// H_SIGNAL_SYS_RESET: a system reset interrupt for other CPUs.
pub const SIGNAL_SYS_RESET: u64 = 0x380;
/// H_INT_GET_SOURCE_INFO: what an interrupt source is, and where its pages are.
pub const INT_GET_SOURCE_INFO: u64 = 0x3a8;
/// H_INT_SET_SOURCE_CONFIG: where the events of an interrupt source go.
pub const INT_SET_SOURCE_CONFIG: u64 = 0x3ac;
/// H_INT_GET_SOURCE_CONFIG: where they go.
pub const INT_GET_SOURCE_CONFIG: u64 = 0x3b0;
/// H_INT_GET_QUEUE_INFO: where the page of an event queue's notifications is.
pub const INT_GET_QUEUE_INFO: u64 = 0x3b4;
/// H_INT_SET_QUEUE_CONFIG: where an event queue is in memory.
pub const INT_SET_QUEUE_CONFIG: u64 = 0x3b8;
/// H_INT_GET_QUEUE_CONFIG: where it is.
pub const INT_GET_QUEUE_CONFIG: u64 = 0x3bc;
/// H_INT_SET_OS_REPORTING_LINE: where accepted interrupts are reported.
pub const INT_SET_OS_REPORTING_LINE: u64 = 0x3c0;
/// H_INT_GET_OS_REPORTING_LINE: where they are.
pub const INT_GET_OS_REPORTING_LINE: u64 = 0x3c4;
/// H_INT_ESB: an access of the event state of an interrupt source.
pub const INT_ESB: u64 = 0x3c8;
/// H_INT_SYNC: waits until events are in their queue.
pub const INT_SYNC: u64 = 0x3cc;
/// H_INT_RESET: forgets where events go.
pub const INT_RESET: u64 = 0x3d0;
/// KVMPPC_H_RTAS: an RTAS call by the shim.
pub const RTAS: u64 = 0xf000;
/// KVMPPC_H_VOF_CLIENT: a client-interface call by the firmware image.
pub const VOF_CLIENT: u64 = 0xf005;

/// H_QUERY_VAS_CAPABILITIES: whether there are accelerators.
const QUERY_VAS_CAPABILITIES: u64 = 0x398;
/// H_GET_PERF_COUNTER_INFO: what the hypervisor counts.
const GET_PERF_COUNTER_INFO: u64 = 0xf080;

/// Those of XIVE.
pub const XIVE_CALLS: &[u64] = &[
    INT_GET_SOURCE_INFO,
    INT_SET_SOURCE_CONFIG,
    INT_GET_SOURCE_CONFIG,
    INT_GET_QUEUE_INFO,
    INT_SET_QUEUE_CONFIG,
    INT_GET_QUEUE_CONFIG,
    INT_SET_OS_REPORTING_LINE,
    INT_GET_OS_REPORTING_LINE,
    INT_ESB,
    INT_SYNC,
    INT_RESET,
];

/// Those of XICS.
pub(crate) const XICS_CALLS: &[u64] = &[EOI, CPPR, IPI, IPOLL, XIRR, XIRR_X];

/// Those of both.
pub(crate) const INTERRUPT_CALLS: &[u64] = &[
    EOI,
    CPPR,
    IPI,
    IPOLL,
    XIRR,
    XIRR_X,
    INT_GET_SOURCE_INFO,
    INT_SET_SOURCE_CONFIG,
    INT_GET_SOURCE_CONFIG,
    INT_GET_QUEUE_INFO,
    INT_SET_QUEUE_CONFIG,
    INT_GET_QUEUE_CONFIG,
    INT_SET_OS_REPORTING_LINE,
    INT_GET_OS_REPORTING_LINE,
    INT_ESB,
    INT_SYNC,
    INT_RESET,
];

/// Token, the specification's name, and how many arguments it takes: those that guests are known
/// to call.
#[rustfmt::skip]
const CALLS: &[(u64, &str, usize)] = &[
    (REMOVE, "H_REMOVE", 3),
    (ENTER, "H_ENTER", 4),
    (READ, "H_READ", 2),
    (CLEAR_MOD, "H_CLEAR_MOD", 2),
    (CLEAR_REF, "H_CLEAR_REF", 2),
    (PROTECT, "H_PROTECT", 3),
    (GET_TCE, "H_GET_TCE", 2),
    (PUT_TCE, "H_PUT_TCE", 3),
    (GET_TERM_CHAR, "H_GET_TERM_CHAR", 1),
    (PUT_TERM_CHAR, "H_PUT_TERM_CHAR", 4),
    (EOI, "H_EOI", 1),
    (CPPR, "H_CPPR", 1),
    (IPI, "H_IPI", 2),
    (IPOLL, "H_IPOLL", 1),
    (XIRR, "H_XIRR", 1),
    (REGISTER_VPA, "H_REGISTER_VPA", 3),
    (CEDE, "H_CEDE", 0),
    (CONFER, "H_CONFER", 2),
    (PROD, "H_PROD", 1),
    (BULK_REMOVE, "H_BULK_REMOVE", 8),
    (STUFF_TCE, "H_STUFF_TCE", 4),
    (PUT_TCE_INDIRECT, "H_PUT_TCE_INDIRECT", 4),
    (GET_CPU_CHARACTERISTICS, "H_GET_CPU_CHARACTERISTICS", 0),
    (HOME_NODE_ASSOCIATIVITY, "H_HOME_NODE_ASSOCIATIVITY", 2),
    (XIRR_X, "H_XIRR_X", 1),
    (SET_MODE, "H_SET_MODE", 4),
    (CLEAR_HPT, "H_CLEAR_HPT", 0),
    (RESIZE_HPT_PREPARE, "H_RESIZE_HPT_PREPARE", 2),
    (RESIZE_HPT_COMMIT, "H_RESIZE_HPT_COMMIT", 2),
    (REGISTER_PROC_TBL, "H_REGISTER_PROC_TBL", 4),
    (SIGNAL_SYS_RESET, "H_SIGNAL_SYS_RESET", 1),
    (INT_GET_SOURCE_INFO, "H_INT_GET_SOURCE_INFO", 2),
    (INT_SET_SOURCE_CONFIG, "H_INT_SET_SOURCE_CONFIG", 5),
    (INT_GET_SOURCE_CONFIG, "H_INT_GET_SOURCE_CONFIG", 2),
    (INT_GET_QUEUE_INFO, "H_INT_GET_QUEUE_INFO", 3),
    (INT_SET_QUEUE_CONFIG, "H_INT_SET_QUEUE_CONFIG", 5),
    (INT_GET_QUEUE_CONFIG, "H_INT_GET_QUEUE_CONFIG", 3),
    (INT_SET_OS_REPORTING_LINE, "H_INT_SET_OS_REPORTING_LINE", 2),
    (INT_GET_OS_REPORTING_LINE, "H_INT_GET_OS_REPORTING_LINE", 3),
    (INT_ESB, "H_INT_ESB", 4),
    (INT_SYNC, "H_INT_SYNC", 2),
    (INT_RESET, "H_INT_RESET", 1),
    (QUERY_VAS_CAPABILITIES, "H_QUERY_VAS_CAPABILITIES", 3),
    (RTAS, "H_RTAS", 1),
    (VOF_CLIENT, "H_OF_CLIENT", 1),
    (GET_PERF_COUNTER_INFO, "H_GET_PERF_COUNTER_INFO", 2),
];

/// The specification's name of a token, for messages.
pub fn name(token: u64) -> Option<&'static str> {
    CALLS.iter().find(|call| call.0 == token).map(|call| call.1)
}

/// How many arguments a call takes, for messages; `None` where nobody knows.
pub fn arguments(token: u64) -> Option<usize> {
    CALLS.iter().find(|call| call.0 == token).map(|call| call.2)
}
