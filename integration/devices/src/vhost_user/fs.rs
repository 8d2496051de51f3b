//! A file system that is shared with the host (Virtio 1.2 §5.11).

use super::spec::{Configuration, DeviceSpec};
use crate::vhost::requests::Requests;
use crate::virtio::DeviceKind;

/// The longest tag in bytes.
const MAX_TAG_BYTES: usize = 36;
/// As many request queues as there may be.
const MAX_REQUEST_QUEUES: u16 = 64;
const QUEUE_SIZE: u16 = 1024;

/// A file system that there cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FsError {
    /// The tag, by which the guest mounts it.
    #[error("the tag {0:?} does not have 1 to {MAX_TAG_BYTES} bytes without a zero")]
    Tag(String),
    /// The number of request queues.
    #[error("{0} request queues are not from 1 to {MAX_REQUEST_QUEUES}")]
    RequestQueues(u16),
}

/// The device that virtiofsd works for: the guest mounts it by `tag`, and has so many queues for
/// requests beside the one for requests that must not wait.
///
/// # Errors
/// [`FsError`] if the tag is too long, or there is no request queue.
pub fn spec(tag: &str, request_queues: u16) -> Result<DeviceSpec, FsError> {
    if !(1..=MAX_TAG_BYTES).contains(&tag.len()) || tag.contains('\0') {
        return Err(FsError::Tag(tag.to_owned()));
    }
    if !(1..=MAX_REQUEST_QUEUES).contains(&request_queues) {
        return Err(FsError::RequestQueues(request_queues));
    }
    // The tag with zeros behind it, and the number of queues (§5.11.4).
    let mut configuration = vec![0; MAX_TAG_BYTES];
    configuration[..tag.len()].copy_from_slice(tag.as_bytes());
    configuration.extend(u32::from(request_queues).to_le_bytes());
    let queues = vec![QUEUE_SIZE; usize::from(request_queues) + 1];
    let kind = DeviceKind::new(26, 0x01_8000);
    // Its one feature is a queue for notifications, which would be another queue (§5.11.2).
    let spec = DeviceSpec::new(kind, queues, Configuration::Fixed(configuration)).with_features(0);
    Ok(DeviceSpec { requests: Some(Requests::Fuse), ..spec })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_in_the_configuration() {
        let spec = spec("host files", 3).unwrap();
        let Configuration::Fixed(configuration) = spec.configuration else { panic!() };
        assert_eq!(configuration.len(), 40);
        assert_eq!(&configuration[..12], b"host files\0\0");
        assert_eq!(&configuration[36..], [3, 0, 0, 0]);
        assert_eq!(spec.queue_sizes, [1024; 4]);
    }

    #[test]
    fn tags_and_queues_are_checked() {
        assert!(spec(&"x".repeat(36), 64).is_ok());
        for tag in ["", "a\0b", &"x".repeat(37)] {
            assert_eq!(spec(tag, 1).unwrap_err(), FsError::Tag(tag.to_owned()));
        }
        for queues in [0, 65] {
            assert_eq!(spec("x", queues).unwrap_err(), FsError::RequestQueues(queues));
        }
    }
}
