//! The NVRAM as guests and VMMs see it.

mod calls;
#[cfg(feature = "serde")]
mod saved;
mod tree;

use std::io;
use std::sync::{Arc, Mutex};

use super::*;

/// A place that outlives the NVRAM, as a file does.
#[derive(Clone, Default)]
struct Place(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    content: Vec<u8>,
    /// What was put aside.
    aside: Vec<Vec<u8>>,
    /// Whether nothing can be kept.
    is_full: bool,
}

impl Place {
    fn with(content: &[u8]) -> Self {
        let place = Self::default();
        place.kept().content = content.to_vec();
        place
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    fn content(&self) -> Vec<u8> {
        self.kept().content.clone()
    }

    fn open(&self) -> Nvram {
        Nvram::open(USUAL_BYTES, Box::new(self.clone())).unwrap()
    }
}

impl NvramStore for Place {
    fn load(&self) -> io::Result<Vec<u8>> {
        Ok(self.content())
    }

    fn renew(&self, damaged: &[u8], content: &[u8]) -> io::Result<Option<String>> {
        let mut kept = self.kept();
        if kept.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        kept.content = content.to_vec();
        if damaged.is_empty() {
            return Ok(None);
        }
        kept.aside.push(damaged.to_vec());
        Ok(Some(format!("place {}", kept.aside.len())))
    }

    fn store(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let mut kept = self.kept();
        if kept.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        kept.content[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

#[test]
fn what_is_kept_is_there_again() {
    let place = Place::default();
    let nvram = place.open();
    assert_eq!(nvram.size_bytes(), USUAL_BYTES);
    nvram.set_variable("boot-device", "disk").unwrap();
    nvram.set_variable("boot-file", "").unwrap();
    nvram.remove_variable("boot-device").unwrap();
    nvram.set_variable("boot-device", "net").unwrap();
    assert_eq!(nvram.to_bytes(), place.content());
    let nvram = place.open();
    assert_eq!(nvram.variable("boot-device").as_deref(), Some("net"));
    let variables = [("boot-file", &b""[..]), ("boot-device", b"net")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_vec()));
    assert_eq!(nvram.variables(), variables);
    assert!(place.kept().aside.is_empty());
}

/// R1-8.1-3: "Firmware must reinitialize NVRAM to a bootable state if NVRAM data corruption is
/// detected."
#[test]
fn what_is_no_nvram_is_put_aside() {
    let fresh = partitions::fresh(USUAL_BYTES);
    let mut damaged = fresh.clone();
    damaged[1] ^= 1;
    let old = b"a file of another kind".to_vec();
    let half = partitions::fresh(USUAL_BYTES / 2);
    for content in [damaged, old, half, vec![0xff; USUAL_BYTES]] {
        let place = Place::with(&content);
        assert_eq!(place.open().to_bytes(), fresh);
        assert_eq!(place.content(), fresh);
        assert_eq!(place.kept().aside, [content]);
    }
    // Of nothing, nothing has to be kept.
    for blank in [vec![], vec![0; 7], vec![0; USUAL_BYTES]] {
        let place = Place::with(&blank);
        assert_eq!(place.open().to_bytes(), fresh);
        assert_eq!(place.content(), fresh);
        assert!(place.kept().aside.is_empty());
    }
}

#[test]
fn what_cannot_be_put_aside_stays() {
    let place = Place::with(b"a file of another kind");
    place.kept().is_full = true;
    let error = Nvram::open(USUAL_BYTES, Box::new(place.clone())).unwrap_err();
    let said = "the content has 22 bytes, and the NVRAM 65536, and it cannot begin anew";
    assert_eq!(error.to_string(), said);
    assert_eq!(place.content(), b"a file of another kind");
    // One that a guest can have made does not keep its machine from starting.
    for content in [[0xa5; USUAL_BYTES], [0; USUAL_BYTES]] {
        let place = Place::with(&content);
        place.kept().is_full = true;
        let nvram = Nvram::open(USUAL_BYTES, Box::new(place.clone())).unwrap();
        assert_eq!(nvram.to_bytes(), content);
        assert_eq!(place.content(), content);
        assert_eq!(nvram.variables(), []);
        // The next start tries again.
        place.kept().is_full = false;
        drop(nvram);
        assert_eq!(place.open().partitions().unwrap().len(), 2);
    }
}

#[test]
fn sizes_have_bounds() {
    for bytes in [MIN_BYTES, MIN_BYTES + 16, MAX_BYTES] {
        let nvram = Nvram::open(bytes, Box::new(Place::default())).unwrap();
        assert_eq!(nvram.size_bytes(), bytes);
        assert_eq!(nvram.partitions().unwrap().len(), 2);
    }
    for bytes in [0, MIN_BYTES - 16, MIN_BYTES + 8, MAX_BYTES + 16, usize::MAX] {
        let error = Nvram::open(bytes, Box::new(Place::default())).unwrap_err();
        assert!(matches!(error, NvramError::Size { bytes: found } if found == bytes));
    }
}

#[test]
fn variables_that_cannot_be_set_change_nothing() {
    let place = Place::default();
    let nvram = place.open();
    nvram.set_variable("boot-device", "disk").unwrap();
    let before = nvram.to_bytes();
    let long = "x".repeat(4096);
    let error = nvram.set_variable("boot-file", &long).unwrap_err();
    // 4,096 less the header, what is set, and the end.
    let free = 4096 - 16 - "boot-device=disk_".len() - 1;
    assert!(
        matches!(error, VariableError::Room { needed: 4107, room } if room == free),
        "{error:?}"
    );
    for name in ["", "Boot", "a=b"] {
        assert!(matches!(nvram.set_variable(name, "x"), Err(VariableError::Name)));
    }
    place.kept().is_full = true;
    assert!(matches!(nvram.set_variable("a", "x"), Err(VariableError::Store(_))));
    // The same again takes no store.
    nvram.set_variable("boot-device", "disk").unwrap();
    assert_eq!(nvram.to_bytes(), before);
    assert_eq!(place.content(), before);
}
