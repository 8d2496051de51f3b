//! Kernels that ask for less than they could: the guest's own, changed in one place.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::folders;

/// Writes a kernel that has other bytes in the one place where it has these.
pub(super) fn kernel(of: &Path, name: &str, from: &[u8], to: &[u8]) -> Result<PathBuf> {
    let path = folders::target().join("test").join(name);
    folders::write(&path, &replaced(&folders::read(of)?, from, to)?)?;
    Ok(path)
}

fn replaced(kernel: &[u8], from: &[u8], to: &[u8]) -> Result<Vec<u8>> {
    let mut places = kernel.windows(from.len()).enumerate().filter(|(_, bytes)| *bytes == from);
    let (Some((at, _)), None) = (places.next(), places.next()) else {
        return Err(Failure::new("what the kernel asks for is not where it is expected"));
    };
    let mut other = kernel.to_vec();
    other[at..at + from.len()].copy_from_slice(to);
    Ok(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_there_once_are_replaced() {
        assert_eq!(replaced(b"a kernel", b"ker", b"KER").unwrap(), b"a KERnel");
        assert!(replaced(b"a kernel", b"Ker", b"KER").is_err());
        assert!(replaced(b"a kernel's kernel", b"ker", b"KER").is_err());
    }
}
