//! Bodies of API requests, which clients of Cloud Hypervisor write.
//!
//! Such clients send all keys that they know, most of which ask for nothing: `"iommu": false`,
//! `"rate_limiter_config": null`. A configuration file is refused for a key that is not there; here,
//! a key of Cloud Hypervisor's API is passed over where its value asks for nothing, and refused by name
//! where it asks for something. `null` is as good as left out, everywhere.

use arch_ppc64::layout::LMB_BYTES;
use serde::de::{DeserializeOwned, Error};
use serde_json::{Map, Value};
use serde_path_to_error::Track;

use super::file::{self, ContentError};
use super::{DiskConfig, FsConfig, NetConfig, Size, VmConfig, VsockConfig};
use crate::quoted;

/// Why a request's body cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It is not JSON, or not of what is asked for.
    #[error("the request's body cannot be used{}", at(.key))]
    Content {
        /// Path of the key that is wrong, as in `cpus.boot_vcpus`; empty where it is none.
        key: String,
        /// What is wrong.
        #[source]
        source: ContentError,
    },
    /// A key asks for what other VMMs have.
    #[error("\"{key}\": this VMM does not have it; it can be left out, or be {nothing}")]
    Absent {
        /// Its path.
        key: String,
        /// What it may be, as it asks for nothing then.
        nothing: &'static str,
    },
}

fn at(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(", at \"{}\"", quoted::text(key)) }
}

/// What can be a request's body: its keys are those of a place in the configuration of a VM.
pub trait Body: DeserializeOwned {
    /// The place, as in the table of keys.
    #[doc(hidden)]
    const PLACE: &'static str;

    /// Reads a body. What is left out or null has its default.
    ///
    /// # Errors
    /// [`BodyError`] names the key.
    fn from_body(text: &[u8]) -> Result<Self, BodyError> {
        let content = |key: String, source: serde_json::Error| {
            let key = if key == "." || key == "?" { String::new() } else { key };
            BodyError::Content { key, source: source.into() }
        };
        let mut value: Value =
            serde_json::from_slice(text).map_err(|error| content(String::new(), error))?;
        strip(&mut value, Self::PLACE, "")?;
        let mut track = Track::new();
        let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
        let body: Result<Self, _> = file::object(tracked);
        let body = body.map_err(|error| content(track.path().to_string(), error))?;
        match body.conflict() {
            Some((key, why)) => Err(content(key.to_owned(), serde_json::Error::custom(why))),
            None => Ok(body.adapted()),
        }
    }

    /// Keys that cannot be together: where they are, and which.
    #[doc(hidden)]
    fn conflict(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// What is near enough to what was asked for.
    #[doc(hidden)]
    fn adapted(self) -> Self {
        self
    }
}

impl Body for VmConfig {
    const PLACE: &'static str = "";

    fn conflict(&self) -> Option<(&'static str, &'static str)> {
        let is_both = self.payload.kernel.is_some() && self.payload.boot.is_some();
        is_both.then_some(("payload", "there can be \"kernel\" or \"boot\", not both"))
    }

    /// Clients ask for room for all of the host's memory, whatever that is in blocks.
    fn adapted(mut self) -> Self {
        let Size(asked) = self.memory.hotplug_size;
        let fits = asked - asked % LMB_BYTES;
        if fits != asked {
            log::info!("hotplug_size {asked} is taken as {fits}, a multiple of 256M");
            self.memory.hotplug_size = Size(fits);
        }
        self
    }
}

impl Body for DiskConfig {
    const PLACE: &'static str = "disks";
}

impl Body for NetConfig {
    const PLACE: &'static str = "net";
}

impl Body for FsConfig {
    const PLACE: &'static str = "fs";
}

impl Body for VsockConfig {
    const PLACE: &'static str = "vsock";
}

/// Which values of a key ask for nothing.
#[derive(Debug, Clone, Copy)]
enum Nothing {
    /// `false`.
    False,
    /// Either: what other hosts or processors may do, or how it is done.
    Any,
    /// `true`, which is how it is.
    True,
    /// An empty list, or an empty object.
    Empty,
    /// Only null.
    Null,
    /// This number.
    Number(u64),
    /// This text.
    Text(&'static str),
}

use Nothing::{Any, Empty, False, Null, Number, Text, True};

/// Keys of Cloud Hypervisor's API (its OpenAPI document, release 54, and what clients of older ones
/// write) that are not in [`VmConfig`]: the place, the key, and what it may be.
const FOREIGN: [(&str, &str, Nothing); 89] = [
    ("", "balloon", Null),
    ("", "debug_console", Null),
    ("", "devices", Empty),
    ("", "iommu", False),
    ("", "pci_segments", Empty),
    ("", "platform", Empty),
    ("", "pmem", Empty),
    ("", "pvpanic", False),
    ("", "rate_limit_groups", Empty),
    ("", "sgx_epc", Empty),
    ("", "tpm", Null),
    ("", "user_devices", Empty),
    ("", "vdpa", Empty),
    ("", "watchdog", False),
    ("platform", "num_pci_segments", Number(1)),
    ("platform", "iommu_segments", Empty),
    ("platform", "iommu_address_width", Any),
    ("platform", "serial_number", Any),
    ("platform", "uuid", Any),
    ("platform", "oem_strings", Any),
    ("platform", "sev_snp", False),
    ("platform", "tdx", False),
    ("cpus", "affinity", Empty),
    ("cpus", "features", Empty),
    ("cpus", "kvm_hyperv", False),
    ("cpus", "max_phys_bits", Any),
    ("cpus", "nested", Any),
    ("cpus.features", "amx", False),
    ("memory", "hotplug_method", Text("Acpi")),
    ("memory", "hotplugged_size", Number(0)),
    ("memory", "mergeable", False),
    ("memory", "reserve", False),
    ("memory", "thp", Any),
    ("memory.zones", "file", Null),
    ("memory.zones", "host_numa_node", Null),
    ("memory.zones", "hotplugged_size", Number(0)),
    ("memory.zones", "mergeable", False),
    ("numa", "device_id", Null),
    ("numa", "pci_segments", Empty),
    ("numa", "sgx_epc_sections", Empty),
    ("payload", "firmware", Null),
    ("payload", "fw_cfg_config", Null),
    ("payload", "host_data", Null),
    ("payload", "igvm", Null),
    ("payload", "mrconfigid", Null),
    ("disks", "backing_files", False),
    ("disks", "disable_aio", Any),
    ("disks", "disable_io_uring", Any),
    ("disks", "image_type", Text("Unknown")),
    ("disks", "iommu", False),
    ("disks", "pci_segment", Number(0)),
    ("disks", "queue_affinity", Empty),
    ("disks", "rate_limit_group", Null),
    ("disks", "rate_limiter_config", Null),
    ("disks", "serial", Null),
    ("disks", "sparse", Any),
    ("disks", "vhost_socket", Null),
    ("disks", "vhost_user", False),
    ("net", "fds", Empty),
    ("net", "host_mac", Null),
    ("net", "iommu", False),
    ("net", "ip", Text("192.168.249.1")),
    ("net", "mask", Text("255.255.255.0")),
    ("net", "mtu", Null),
    ("net", "num_queues", Number(2)),
    ("net", "offload_csum", True),
    ("net", "offload_tso", True),
    ("net", "offload_ufo", True),
    ("net", "pci_segment", Number(0)),
    ("net", "queue_size", Number(256)),
    ("net", "rate_limiter_config", Null),
    ("net", "vhost_mode", Text("Client")),
    ("net", "vhost_socket", Null),
    ("net", "vhost_user", False),
    ("rng", "iommu", False),
    ("vsock", "iommu", False),
    ("vsock", "pci_segment", Number(0)),
    ("fs", "pci_segment", Number(0)),
    ("serial", "iommu", False),
    ("console", "iommu", False),
    ("serial", "url", Null),
    ("console", "url", Null),
    ("restore", "memory_restore_mode", Any),
    ("restore", "net_fds", Empty),
    ("migration", "connections", Number(1)),
    ("migration", "memory_mode", Text("Precopy")),
    ("migration", "preserve_source", False),
    ("migration", "tls_dir", Null),
    ("migration", "vfio_fds", Empty),
];

impl Nothing {
    fn is(self, value: &Value) -> bool {
        match (self, value) {
            (Any, _) => true,
            (False, value) => value == &Value::Bool(false),
            (True, value) => value == &Value::Bool(true),
            (Empty, Value::Array(values)) => values.is_empty(),
            (Empty, Value::Object(values)) => values.is_empty(),
            (Empty | Null, _) => false,
            (Number(number), value) => value.as_u64() == Some(number),
            (Text(text), value) => value.as_str() == Some(text),
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Any => "anything",
            False => "false",
            True => "true",
            Empty => "empty",
            Null => "null",
            Number(0) => "0",
            Number(1) => "1",
            Number(2) => "2",
            Number(_) => "256",
            Text(text) => text,
        }
    }
}

/// Takes away what asks for nothing. `path` is where `value` is in the body, for a message.
fn strip(value: &mut Value, place: &str, path: &str) -> Result<(), BodyError> {
    match value {
        Value::Object(object) => strip_object(object, place, path),
        Value::Array(values) => {
            for (index, value) in values.iter_mut().enumerate() {
                strip(value, place, &format!("{path}[{index}]"))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn strip_object(object: &mut Map<String, Value>, place: &str, path: &str) -> Result<(), BodyError> {
    object.retain(|_, value| !value.is_null());
    let inside = |outer: &str, key: &str| match outer {
        "" => key.to_owned(),
        outer => format!("{outer}.{key}"),
    };
    for (key, value) in object.iter_mut() {
        strip(value, &inside(place, key), &inside(path, key))?;
    }
    let foreign = FOREIGN.iter().filter(|(there, ..)| *there == place);
    for (_, key, nothing) in foreign {
        let Some(value) = object.get(*key) else { continue };
        if nothing.is(value) {
            object.remove(*key);
        } else if *key != "image_type" {
            // That one is ours as well, with other values.
            return Err(BodyError::Absent { key: inside(path, key), nothing: nothing.words() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_nothing_is_passed_over() {
        let body = r#"{"cpus": {"boot_vcpus": 2, "max_vcpus": 4, "kvm_hyperv": false,
            "max_phys_bits": 46, "features": {"amx": false}, "affinity": null},
            "memory": {"size": 1073741824, "mergeable": false, "hotplug_method": "Acpi",
                "zones": [{"id": "a", "size": 65536, "file": null, "hotplug_size": null}]},
            "disks": [{"path": "d", "iommu": false, "image_type": "Unknown", "serial": null},
                {"path": "e", "image_type": "Qcow2"}],
            "rng": {"src": "/dev/urandom", "iommu": false}, "platform": {"uuid": "x", "tdx": false},
            "vsock": null, "iommu": false}"#;
        let file = r#"{"cpus": {"boot_vcpus": 2, "max_vcpus": 4}, "memory": {"size": 1073741824,
            "zones": [{"id": "a", "size": 65536}]},
            "disks": [{"path": "d"}, {"path": "e", "image_type": "qcow2"}],
            "rng": {"src": "/dev/urandom"}}"#;
        let expected = VmConfig::from_json(file.as_bytes(), "f".as_ref()).unwrap();
        assert_eq!(VmConfig::from_body(body.as_bytes()).unwrap(), expected);
        let room = r#"{"memory": {"size": "1G", "hotplug_size": 805306369}}"#;
        let room = VmConfig::from_body(room.as_bytes()).unwrap();
        assert_eq!(room.memory.hotplug_size, Size(768 << 20));
        let net = r#"{"tap": "t", "ip": "192.168.249.1", "num_queues": 2, "vhost_mode": "Client"}"#;
        let net = NetConfig::from_body(net.as_bytes()).unwrap();
        assert_eq!(net, NetConfig::parse("tap=t").unwrap());
    }

    #[test]
    fn what_asks_for_something_is_named() {
        for (body, words) in [
            (r#"{"iommu": true}"#, "\"iommu\": this VMM does not have it"),
            (
                r#"{"disks": [{"path": "a"}, {"path": "b", "pci_segment": 1}]}"#,
                "disks[1].pci_segment",
            ),
            (r#"{"memory": {"zones": [{"id": "z", "file": "f"}]}}"#, "be null"),
            (r#"{"balloon": {"size": 0}}"#, "\"balloon\""),
            (r#"{"devices": [{"path": "/sys"}]}"#, "be empty"),
            (r#"{"platform": {"tdx": true}}"#, "\"platform.tdx\""),
            // Nobody's keys, and values that are none.
            (r#"{"cpus": {"bots": 1}}"#, "at \"cpus.bots\""),
            (r#"{"disks": {"path": "a"}}"#, "at \"disks\""),
            (r#"{"payload": {"kernel": "k", "boot": {"device": "disk0"}}}"#, "at \"payload\""),
            ("[]", "body cannot be used"),
            ("", "body cannot be used"),
            ("null", "body cannot be used"),
            ("{} {}", "body cannot be used"),
        ] {
            let error = VmConfig::from_body(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{body}: {error}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(VmConfig::from_body(deep.as_bytes()).is_err());
    }

    #[test]
    fn keys_are_in_the_table_once_and_are_not_ours() {
        let schema = serde_json::to_value(schemars::schema_for!(VmConfig)).unwrap();
        for (place, key, _) in FOREIGN {
            let same = FOREIGN.iter().filter(|other| (other.0, other.1) == (place, key));
            assert_eq!(same.count(), 1, "{place} {key}");
            if place.is_empty() {
                assert!(schema["properties"].get(key).is_none(), "{key}");
            }
        }
    }
}
