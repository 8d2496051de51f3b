//! How a device learns of what a client changes in the tree.

/// Learns which properties a client has set by the service `setprop`, and may have a say in it:
/// non-volatile memory keeps those of `/options`.
///
/// The client interface is locked while it asks and tells: nobody waits here for the host. What a
/// client passes is anything.
pub trait PropertyObserver: Send + Sync {
    /// Whether a client may give the property `name` of the node `path` this value, as far as this
    /// observer is concerned. Asked of what the machine lets clients set.
    fn may_set(&self, path: &str, name: &str, value: &[u8]) -> bool {
        let _ = (path, name, value);
        true
    }

    /// A client has given the property `name` of the node `path` this value.
    fn was_set(&self, path: &str, name: &str, value: &[u8]);
}
