//! What the VM of this process is called: every message says it, so that those of many are told apart.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;

static NAME: OnceLock<VmName> = OnceLock::new();
static PREFIX: OnceLock<String> = OnceLock::new();

/// What a VM is called: 1 to 64 letters, digits, `-`, `_`, `.`, `:`, `@` and `+`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VmName(String);

impl VmName {
    /// The same as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// That of a VM which nobody named, by the socket that it is reached at: `web1` for
    /// `/run/vms/web1.sock`. `None` where that is no name.
    pub fn of_socket(path: &Path) -> Option<Self> {
        path.file_stem()?.to_str()?.parse().ok()
    }
}

impl FromStr for VmName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@+".contains(c);
        match text.len() {
            1..=NAME_BYTES_MAX if text.chars().all(is_plain) => Ok(Self(text.to_owned())),
            _ => Err("a name has 1 to 64 letters, digits, -, _, ., :, @ and +"),
        }
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// From here on the VM of this process has this name. The first one stays.
pub fn set(name: VmName) {
    let _ = NAME.set(name);
}

/// What the VM of this process is called, if it is.
pub fn get() -> Option<&'static VmName> {
    NAME.get()
}

/// What messages of this process begin with: the program and, if it has one, the name of its VM.
pub(crate) fn prefix() -> &'static str {
    match get() {
        // A message may have come before the name.
        Some(name) => PREFIX.get_or_init(|| format!("pseries-vmm[{name}]")),
        None => "pseries-vmm",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["web1", "a", "vm-1_2.3:4@host+x", &"x".repeat(64)] {
            assert_eq!(name.parse::<VmName>().unwrap().as_str(), name);
        }
        for name in ["", "a b", "a/b", "a]", "\u{1b}", "ä", "a\n", &"x".repeat(65)] {
            assert!(name.parse::<VmName>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_socket_is_a_name() {
        let name = |path: &str| VmName::of_socket(Path::new(path)).map(|name| name.to_string());
        assert_eq!(name("/run/vms/web1.sock").as_deref(), Some("web1"));
        assert_eq!(name("api").as_deref(), Some("api"));
        assert_eq!(name("/run/a b.sock"), None);
        assert_eq!(name("/"), None);
    }

    #[test]
    fn messages_without_a_name_begin_with_the_program() {
        assert_eq!(prefix(), "pseries-vmm");
    }
}
