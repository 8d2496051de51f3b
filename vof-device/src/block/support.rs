//! The support packages for disks (IEEE 1275 §3.8.3 and §3.8.2), `deblocker` and `disk-label`.

use crate::args::Failed;
use crate::package::{Instance, Package};

/// Their names in `/packages`.
pub(crate) const NAMES: [&str; 2] = ["deblocker", "disk-label"];

/// One of them. It works for the package that opens it, on that one's own methods; a client is none,
/// so there is nothing for it to work on, and it does not open. What the two do, a disk's own
/// package does.
pub(crate) struct SupportPackage;

impl Package for SupportPackage {
    fn open(&self, _arguments: &str) -> Result<Box<dyn Instance>, Failed> {
        Err(Failed)
    }
}
