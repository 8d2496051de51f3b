use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arch_ppc64::nvram::{MAX_BYTES, Nvram, NvramStore, USUAL_BYTES};

use super::*;

const SOON: Duration = Duration::from_secs(600);

/// A folder of one test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("nvram-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("nvram")
    }

    /// The files that are there.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> Nvram {
    Nvram::open(USUAL_BYTES, Box::new(NvramFile::open(path).unwrap())).unwrap()
}

fn fault(path: &Path) -> NvramFault {
    NvramFile::open(path).unwrap_err().reason
}

#[test]
fn what_is_set_is_in_the_file() {
    let folder = Folder::new("set");
    let path = folder.file();
    let nvram = open(&path);
    assert_eq!(std::fs::read(&path).unwrap(), nvram.to_bytes());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    nvram.set_variable("boot-device", "disk").unwrap();
    let bytes = nvram.to_bytes();
    // Which waits for the last change.
    drop(nvram);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(open(&path).variable("boot-device").as_deref(), Some("disk"));
    assert_eq!(folder.names(), ["nvram"]);
}

#[test]
fn damaged_files_are_put_aside_nine_at_most() {
    let folder = Folder::new("aside");
    let path = folder.file();
    // What is there is not touched, not even where a name leads elsewhere.
    symlink("elsewhere", folder.0.join("nvram.damaged-2")).unwrap();
    for number in 1..=10 {
        let content = format!("damaged, number {number}");
        std::fs::write(&path, &content).unwrap();
        let fresh = open(&path).to_bytes();
        assert_eq!(std::fs::read(&path).unwrap(), fresh);
        let place = match number {
            1 => 1,
            _ => (number + 1).min(9),
        };
        let aside = std::fs::read(folder.0.join(format!("nvram.damaged-{place}"))).unwrap();
        assert_eq!(aside, content.as_bytes());
    }
    assert_eq!(folder.names().len(), 10);
    assert!(!folder.names().contains(&"elsewhere".to_owned()));
    // A machine that restarts puts aside, too.
    let folder = Folder::new("aside-again");
    let path = folder.file();
    let file = NvramFile::open(&path).unwrap();
    let nvram = Nvram::open(USUAL_BYTES, Box::new(file.clone())).unwrap();
    let damaged = vec![0xa5; USUAL_BYTES];
    file.store(0, &damaged).unwrap();
    let aside = file.renew(&damaged, &nvram.to_bytes()).unwrap().unwrap();
    assert_eq!(std::fs::read(aside).unwrap(), damaged);
    file.flush(SOON).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), nvram.to_bytes());
}

#[test]
fn a_file_has_one_machine() {
    let folder = Folder::new("lock");
    let path = folder.file();
    let nvram = open(&path);
    assert!(matches!(fault(&path), NvramFault::InUse));
    let link = folder.0.join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(fault(&link), NvramFault::InUse));
    drop(nvram);
    NvramFile::open(&link).unwrap();
}

#[test]
fn what_is_no_file_for_it_is_told() {
    let folder = Folder::new("kinds");
    for path in [&*folder.0, Path::new("/dev/null"), Path::new("/dev/full")] {
        let error = NvramFile::open(path).unwrap_err();
        assert!(matches!(error.reason, NvramFault::Kind), "{error}");
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    }
    assert!(matches!(fault(&folder.0.join("none/nvram")), NvramFault::Host(_)));
    let path = folder.file();
    std::fs::write(&path, vec![1; MAX_BYTES + 1]).unwrap();
    assert!(matches!(fault(&path), NvramFault::TooLong { bytes } if bytes == MAX_BYTES as u64 + 1));
    assert_eq!(std::fs::read(&path).unwrap().len(), MAX_BYTES + 1);
    assert_eq!(folder.names(), ["nvram"]);
}

#[test]
fn a_file_is_handed_over() {
    let folder = Folder::new("handed-over");
    let path = folder.file();
    let from = NvramFile::open(&path).unwrap();
    let nvram = Nvram::open(USUAL_BYTES, Box::new(from.clone())).unwrap();
    nvram.set_variable("boot-device", "disk").unwrap();
    from.flush(SOON).unwrap();
    let content = std::fs::read(&path).unwrap();

    let to = NvramFile::open_unlocked(&path).unwrap();
    let heir = Nvram::open(USUAL_BYTES, Box::new(to.clone())).unwrap();
    assert!(matches!(to.lock().unwrap_err().reason, NvramFault::InUse));
    // What is stored meanwhile is not in the file.
    heir.set_variable("boot-device", "net").unwrap();
    to.flush(SOON).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
    from.unlock();
    nvram.set_variable("boot-device", "late").unwrap();
    to.lock().unwrap();
    to.lock().unwrap();
    to.flush(SOON).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), heir.to_bytes());
    assert!(matches!(from.lock().unwrap_err().reason, NvramFault::InUse));
    // It comes back, with what was changed meanwhile.
    to.unlock();
    from.lock().unwrap();
    from.flush(SOON).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), nvram.to_bytes());
    assert_eq!(nvram.variable("boot-device").as_deref(), Some("late"));
}

/// What its owner is writing right now may look like damage.
#[test]
fn the_file_of_another_process_is_left_alone() {
    let folder = Folder::new("left-alone");
    let path = folder.file();
    std::fs::write(&path, "half").unwrap();
    let file = NvramFile::open_unlocked(&path).unwrap();
    let nvram = Nvram::open(USUAL_BYTES, Box::new(file.clone())).unwrap();
    file.flush(SOON).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"half");
    assert_eq!(folder.names(), ["nvram"]);
    file.lock().unwrap();
    file.flush(SOON).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), nvram.to_bytes());
}
