#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![deny(unsafe_code)]

pub mod chain;
pub mod iovec;
pub mod pci;
pub mod virtio;
