//! The devices of the user's machine: what is behind each on the host, and how each is called.
//!
//! Keys and arguments are those of Cloud Hypervisor. What is wrong with one value is said where it
//! is read, in a file or on the command line.

mod console;
mod disk;
mod fs;
mod labels;
mod names;
mod net;
mod queues;
mod rng;
mod vsock;

pub use console::ConsoleConfig;
pub use disk::{DiskConfig, ImageType};
pub use fs::{FsConfig, Tag};
pub use names::{DeviceId, HostPath};
pub use net::{MacAddress, NetBackend, NetConfig, TapName};
pub use queues::{MAX_QUEUES, QueueCount, QueueSize};
pub use rng::RngConfig;
pub use vsock::{Cid, VsockConfig};

/// Makes a type that is a text, in a file as on the command line, out of its `FromStr` and of what gives
/// the text back.
macro_rules! as_text {
    ($name:ident, $text:expr) => {
        impl TryFrom<String> for $name {
            type Error = <Self as std::str::FromStr>::Err;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                let text: fn($name) -> Self = $text;
                text(value)
            }
        }
    };
}
pub(in crate::config) use as_text;
