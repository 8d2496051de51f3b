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

/// The longest device path, alias and arguments included, in bytes without its NUL. Beyond: the
/// path names no device.
pub const MAX_PATH_BYTES: usize = 1023;

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

/// How many bytes of names and values clients can add to the tree until the next reset; each new
/// property counts [`ADDED_PROPERTY_BYTES`] more. Beyond: `setprop` fails.
pub const MAX_ADDED_BYTES: usize = 16 << 20;

/// What a new property costs of [`MAX_ADDED_BYTES`] besides its name and value: its slot, what
/// moving a node's slots leaves behind, its name's place in the index.
pub const ADDED_PROPERTY_BYTES: usize = 64;

/// The most packages that are open at a time, the console included. Beyond: `open` fails.
pub const MAX_INSTANCES: usize = 1024;

/// The most pieces that free memory can be in. Beyond: a claim or release that would cut free
/// memory once more fails.
pub const MAX_FREE_RANGES: usize = 128 << 10;

/// How long one `write` waits in all for a console that takes nothing. Beyond: the transfer is
/// partial, and its result says so.
pub const MAX_WRITE_WAIT: Duration = Duration::from_millis(100);

/// The longest arguments that `boot` can give the next start, in bytes without their NUL. Beyond:
/// the call fails, and the machine does not restart.
pub const MAX_BOOT_ARGUMENT_BYTES: usize = MAX_PATH_BYTES;

/// How long a `read` that finds nothing waits for a key, once many before it have found nothing.
pub const EMPTY_READ_WAIT: Duration = Duration::from_millis(1);

/// The most bytes that one `read` or `write` transfers. Beyond: the transfer is partial, and its
/// result says so.
pub const MAX_TRANSFER_BYTES: usize = 64 << 10;

/// The most bytes that `ibm,client-architecture-support` hands to the machine: the longest
/// structure there can be. Beyond: the machine does not see them.
pub const MAX_ARCHITECTURE_VECTOR_BYTES: usize = arch_ppc64::cas::MAX_VECTOR_BYTES;

/// How many complaints about a guest are logged in a period of [`LOG_PERIOD_SECONDS`]; the others
/// are counted.
pub const MAX_LOGGED_COMPLAINTS: u32 = 8;

/// See [`MAX_LOGGED_COMPLAINTS`].
pub const LOG_PERIOD_SECONDS: u64 = 5;
