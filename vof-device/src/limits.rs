//! Every bound that a guest can meet, with what it gets beyond.

use std::time::Duration;

/// The most cells of arguments and results together in one argument array. IEEE 1275 sets no
/// bound; the longest call that known clients make has 9. Beyond: the call fails with H_PARAMETER.
pub const MAX_CALL_CELLS: usize = 16;

/// The longest service name in bytes without its NUL; the longest that exists
/// (`instance-to-interposed-path`) has 27. Beyond: the call fails with H_PARAMETER.
pub const MAX_SERVICE_NAME_BYTES: usize = 63;

/// The longest property or method name in bytes without its NUL. IEEE 1275 §3.2.2.1.1 says 31,
/// PAPR has names of 34. Beyond: there is no such property or method, and none can be made.
pub const MAX_PROPERTY_NAME_BYTES: usize = 63;

/// The longest device path, alias and arguments included, in bytes without its NUL; an alias stands
/// for no longer one. Beyond: the path names no device.
pub const MAX_PATH_BYTES: usize = 1023;

/// The longest bootspec that `boot` takes, and so the longest arguments that a client gives the
/// next start, in bytes without its NUL. Beyond: `boot` returns.
pub const MAX_BOOTSPEC_BYTES: usize = MAX_PATH_BYTES;

/// The longest phrase that `interpret` looks at, in bytes without its NUL. Beyond: it fails.
pub const MAX_PHRASE_BYTES: usize = MAX_PATH_BYTES;

/// How many functions of a client `set-callback` keeps. Beyond: the one before is forgotten, and
/// the client gets it back.
pub const MAX_CALLBACKS: usize = 1;

/// The longest node name in a tree, unit address included, in bytes. Beyond: the blob is refused.
pub const MAX_NODE_NAME_BYTES: usize = 255;

/// How deep nodes may lie below the root. Beyond: the blob is refused.
pub const MAX_DEPTH: usize = 64;

/// The largest flattened tree in bytes. Beyond: the blob is refused.
pub const MAX_BLOB_BYTES: usize = 1 << 30;

/// The most properties that one node can have. Beyond: no further one is made.
pub const MAX_NODE_PROPERTIES: usize = 4096;

/// The longest value that a client can give a property, in bytes. Beyond: `setprop` fails.
pub const MAX_SETPROP_BYTES: usize = 64 << 10;

/// How many bytes clients can add to the tree until the machine starts again: of names, of values longer than
/// four bytes, and of tables where a node's properties have to move, with
/// [`ADDED_PROPERTY_BYTES`] and [`ADDED_VALUE_BYTES`] for what keeps them. Beyond: `setprop` fails.
pub const MAX_ADDED_BYTES: usize = 1 << 20;

/// What a new property costs of [`MAX_ADDED_BYTES`] besides its name, its value, and the room of
/// its node: its name's places in the index of names, which grows by doubling.
pub const ADDED_PROPERTY_BYTES: usize = 64;

/// What a value costs of [`MAX_ADDED_BYTES`] besides its bytes: its place in the table of values,
/// which grows by doubling.
pub const ADDED_VALUE_BYTES: usize = 64;

/// The most bytes of names and values that one negotiation can set. Beyond: it fails, and the tree
/// stays as it is.
pub const MAX_NEGOTIATED_BYTES: usize = 4 << 20;

/// The most packages that are open at a time, the console included. Beyond: `open` fails.
pub const MAX_INSTANCES: usize = 1024;

/// The most packages that CPUs are opening at a time and that have to wait for the host: one a CPU.
/// Beyond: the firmware in the guest makes the call again, until another one is open or, where its
/// CPU does not come back for it, has [lapsed](IN_FLIGHT_LAPSE).
pub const MAX_OPENINGS: usize = 64;

/// The most pieces that free memory can be in. Beyond: a claim or release that would cut free
/// memory once more fails.
pub const MAX_FREE_RANGES: usize = 128 << 10;

/// How long one `write` waits in all for a console that takes nothing. Beyond: the transfer is
/// partial, and its result says so.
pub const MAX_WRITE_WAIT: Duration = Duration::from_millis(100);

/// How long a `read` that finds nothing waits for a key, once many before it have found nothing.
pub const EMPTY_READ_WAIT: Duration = Duration::from_millis(1);

/// How long one `write` to a network waits in all for a host that takes no frame. Beyond: the frame
/// is lost, and the client is told so.
pub const MAX_FRAME_WAIT: Duration = Duration::from_secs(1);

/// The most bytes that one `read` or `write` of the console transfers. Beyond: the transfer is
/// partial, and its result says so.
pub const MAX_TRANSFER_BYTES: usize = 64 << 10;

/// The most bytes that one `read` or `write` of a package transfers, unless the package
/// [says otherwise](crate::Package::max_transfer_bytes). Beyond: the transfer is partial, and its
/// result says so.
pub const MAX_PACKAGE_TRANSFER_BYTES: usize = 1 << 20;

/// The most bytes of a disk that one call of a client moves, and what the buffer of the disk's thread
/// has room for. Beyond: the firmware in the guest makes the call again, and it goes on.
pub const MAX_DISK_TRANSFER_BYTES: usize = 1 << 20;

/// The most pieces that all parts of one disk that are open lie in, each counted as often as it is
/// open. Beyond: `open` fails, until something is closed.
pub const MAX_DISK_EXTENTS: usize = 128 << 10;

/// The most cells that a method leaves for its caller. Beyond: it throws a stack overflow.
pub const MAX_METHOD_RESULTS: usize = 8;

/// How long a call is in the VMM that waits for the host, or for another CPU's use of the same
/// instance. Beyond: the firmware in the guest makes it again.
pub const MAX_CALL_WAIT: Duration = Duration::from_millis(1);

/// For how long a call of an instance that had no answer yet, and is not tried again, keeps other
/// CPUs from the instance. Beyond: it is given up. One such call is in flight for an instance.
pub const IN_FLIGHT_LAPSE: Duration = Duration::from_millis(500);

/// The most bytes that `ibm,client-architecture-support` hands to the machine: the longest
/// structure there can be. Beyond: the machine does not see them.
pub const MAX_ARCHITECTURE_VECTOR_BYTES: usize = arch_ppc64::cas::MAX_VECTOR_BYTES;

/// How many device specifiers of the variable `boot-device` are tried, for a client can have set it.
/// Beyond: they are not.
pub const MAX_BOOT_DEVICES: usize = 16;

/// How many PReP partitions of a disk are tried. Beyond: they are not.
pub const MAX_PREP_PARTITIONS: usize = 16;

/// How many partitions of a disk are looked at for a `bootinfo.txt`. Beyond: they are not.
pub const MAX_BOOTINFO_PARTITIONS: usize = 16;

/// How many times a disk is read to find a partition or a file on it. A directory of an ISO 9660 file
/// system counts once more for each [`LABEL_READ_BYTES`] that are gone through, read already or not.
/// Beyond: there is no such part. So much of FAT's table is read for a file of 4 GiB in one piece, in clusters of 512 bytes,
/// and for one in up to [`MAX_FILE_EXTENTS`] pieces all over a large disk.
pub const MAX_LABEL_READS: u32 = 4096;

/// The most bytes that are read at a time to find a part of a disk; two such pieces are kept.
pub const LABEL_READ_BYTES: u64 = 16 << 10;

/// The largest table of a GUID partition table in bytes; with entries of the usual length, 1,024.
/// Beyond: there are no partitions.
pub const MAX_GPT_TABLE_BYTES: u64 = 128 << 10;

/// The most partitions of a disk with a master boot record. Beyond: there are no more.
pub const MAX_MBR_PARTITIONS: usize = 128;

/// The most links of extended partitions, each of which is one read. Beyond: there are no more
/// partitions.
pub const MAX_EXTENDED_LINKS: usize = 256;

/// The most pieces that a file can be in. Beyond: the file cannot be read.
pub const MAX_FILE_EXTENTS: usize = 64 << 10;

/// How many descriptors of an ISO 9660 file system are looked at; media have up to five. Beyond:
/// there are no more.
pub const MAX_ISO_DESCRIPTORS: u64 = 32;

/// The most pieces that a directory of an ISO 9660 file system can be in; media have it in one.
/// Beyond: what is in it is not found.
pub const MAX_ISO_DIRECTORY_EXTENTS: usize = 64;

/// How often what Rock Ridge says of a file can go on elsewhere; names have up to 255 bytes, and one
/// such place has room for most of them. Each counts as one of [`MAX_LABEL_READS`]. Beyond: there is
/// no more of it.
pub const MAX_ISO_CONTINUATIONS: usize = 8;

/// The most pieces that a `bootinfo.txt` can be in, each of which is one read. Beyond: it boots
/// nothing.
pub const MAX_BOOTINFO_EXTENTS: usize = 64;

/// The longest `bootinfo.txt`, in bytes. Beyond: it boots nothing.
pub const MAX_BOOTINFO_BYTES: usize = 64 << 10;

/// How many complaints about a guest are logged in a period of [`LOG_PERIOD_SECONDS`]; the others
/// are counted, and the next that is logged says how many.
pub const MAX_LOGGED_COMPLAINTS: u32 = 8;

/// See [`MAX_LOGGED_COMPLAINTS`].
pub const LOG_PERIOD_SECONDS: u64 = 5;

/// The most host memory in bytes that a guest can make the client interface take, whatever it does,
/// beside what the VMM gave it: the sum of what each limit stands for, with what keeps it.
///
/// - Free memory, once real and once virtual: a range is 16 bytes, and there is room for at most
///   four times the ranges of a chunk; chunks hold 32 ranges on average at the least, and each has
///   its place and 33 bounds in vectors, which have up to three times their length while they
///   grow. 79 bytes a range, so 80.
/// - Open packages, and those that are being opened: the arguments of each, and 32 bytes in a table
///   and 4 in a queue, both of which grow by doubling; about 110 bytes for an instance of the
///   interface's own packages and 350 for one of a disk, and 150 for a call of it that has no answer
///   yet.
/// - The tree: what clients add. Text and tables take up to three times what they hold while they
///   grow by doubling; those of slots and of their names grow by steps, of 96 KiB together.
/// - The arguments of `boot`.
/// - One call, since calls are made one after the other: the value of a `setprop` or the structure
///   of a negotiation, the path of a node, what is told of it in the log. A `write` or `read` has a
///   buffer of 256 bytes, on the stack.
///
/// For each disk, there is [`MAX_DISK_BYTES`] more.
///
/// Beside it, and not the guest's choice: the changes that the machine's [`CasPolicy`] makes, what
/// the VMM's own packages keep, a console's own buffers, and for a moment a second copy of the
/// tree's table of properties, while that grows. Names have an index that doubles: the 1 MiB covers
/// a tree whose own properties have up to 10,000 different ones.
///
/// [`CasPolicy`]: crate::CasPolicy
pub const MAX_GUEST_DRIVEN_BYTES: usize = 2 * MAX_FREE_RANGES * 80
    + (MAX_INSTANCES + MAX_OPENINGS) * (MAX_PATH_BYTES + INSTANCE_BYTES)
    + 3 * MAX_ADDED_BYTES
    + (1 << 20)
    + MAX_BOOTSPEC_BYTES
    + MAX_SETPROP_BYTES
    + MAX_ARCHITECTURE_VECTOR_BYTES
    + 4 * (MAX_DEPTH + 1) * (MAX_NODE_NAME_BYTES + 1);

/// What keeps an open package, besides its arguments.
const INSTANCE_BYTES: usize = 640;

const _: () = assert!(MAX_GUEST_DRIVEN_BYTES < 32 << 20);

/// How many parts of a disk that were opened anew from a saved state are remembered by their
/// arguments, so that the same ones are looked for once. Beyond: the oldest is forgotten.
pub(crate) const MAX_REOPENED_PARTS: usize = 64;

/// The most host memory in bytes that a guest can make a disk of the client interface
/// ([`BlockPackage`](crate::block::BlockPackage)) take, besides what is in
/// [`MAX_GUEST_DRIVEN_BYTES`].
///
/// - The buffer of the disk's thread.
/// - The pieces of all parts that are open: where each is, and where it ends in its part.
/// - One part that is looked for: what of the disk is read for it, a table of partitions and its
///   copy, and the list of a file's pieces, which has up to three times its length while it grows.
/// - What the thread's own life takes, with the part of its stack that it uses.
/// - The arguments of some parts that were open when the machine was saved.
pub const MAX_DISK_BYTES: usize = MAX_DISK_TRANSFER_BYTES
    + MAX_DISK_EXTENTS * 24
    + 2 * LABEL_READ_BYTES as usize
    + 2 * MAX_GPT_TABLE_BYTES as usize
    + MAX_FILE_EXTENTS * (3 * 16 + 8)
    + (64 << 10)
    + REOPENED_BYTES;

/// What is remembered of parts that were opened anew: their arguments, and what keeps them.
const REOPENED_BYTES: usize = MAX_REOPENED_PARTS * (MAX_PATH_BYTES + 256);

/// The most host memory in bytes that a guest can make [`Vof::state`] or [`Vof::to_blob`] take, on
/// their way and for what they give back, beside what the same would take of a machine that no
/// guest has run on.
///
/// - Free memory: 16 bytes a range, once real and once virtual; in a flattened tree twice, as the
///   tree is put together.
/// - Open packages: the arguments of each, and what keeps them; not what instances of the VMM's own
///   packages save of themselves.
/// - The tree: what clients have added, once in the tree and once for the names, and some numbers a
///   property.
/// - The arguments of `boot`.
///
/// [`Vof::state`]: crate::Vof::state
/// [`Vof::to_blob`]: crate::Vof::to_blob
pub const MAX_SAVED_BYTES: usize = 2 * MAX_FREE_RANGES * 16
    + MAX_INSTANCES * (MAX_PATH_BYTES + 512)
    + 3 * MAX_ADDED_BYTES
    + MAX_BOOTSPEC_BYTES;
