//! What devices have done, for whoever watches a machine.

/// What a device has done since it was made. Any thread may look, at any time.
pub trait Counters: Send + Sync {
    /// Each number with its name; names are those of Cloud Hypervisor, where it has the same. Numbers
    /// only grow.
    fn read(&self) -> Vec<(&'static str, u64)>;
}
