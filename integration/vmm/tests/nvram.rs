//! The file of the machine's non-volatile memory: made, kept, locked, or refused by name.
#![cfg(all(feature = "vof", target_os = "linux"))]

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use run::folder::Folder;
use run::{Run, program, run};

mod run;

const BYTES: usize = 64 << 10;

impl Folder {
    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A machine that switches itself off, where files can be so long.
fn power_off_within(path: &str, file_bytes_max: Option<libc::rlim_t>) -> (Option<i32>, String) {
    let option = format!("path={path}");
    let mut vmm = Command::new(env!("CARGO_BIN_EXE_pseries-vmm"));
    vmm.args(["--backend", "interp", "--memory", "size=64M", "--nvram", &option, "--kernel"]);
    vmm.arg(program("client64.elf")).args(["--cmdline", "power off"]).stdin(Stdio::null());
    if let Some(limit) = file_bytes_max {
        // SAFETY: between fork and exec, this makes a system call only.
        unsafe {
            vmm.pre_exec(move || {
                let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
                libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
                Ok(())
            });
        }
    }
    let output = vmm.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Asserts that a file is refused with status 2 and one line that names option, file and reason.
fn refused(path: &str, words: &str, file_bytes_max: Option<libc::rlim_t>) {
    let option = format!("path={path}");
    let (status, message) = power_off_within(path, file_bytes_max);
    assert_eq!(status, Some(2), "{path}: {message}");
    assert_eq!(message.lines().count(), 1, "{path}: {message}");
    for word in ["--nvram", &option, words] {
        assert!(message.contains(word), "{path}: no {word:?} in {message}");
    }
}

#[test]
fn a_file_is_made_and_kept() {
    let folder = Folder::new("nvram_kept");
    let option = format!("path={}", folder.path("nvram"));
    let power_off = || {
        let (status, _, complaint) = run("client64.elf", "power off", &["--nvram", &option]);
        assert_eq!(status.code(), Some(0), "{complaint}");
        complaint
    };
    assert_eq!(power_off(), "");
    let mut made = folder.read("nvram");
    assert_eq!((made.len(), &made[..10]), (BYTES, &b"\x70\xfc\x01\0common"[..]));
    made[16..24].copy_from_slice(b"setting=");
    std::fs::write(folder.path("nvram"), &made).unwrap();
    assert_eq!(power_off(), "");
    assert_eq!(folder.read("nvram"), made);
    // What is damaged is kept, and told.
    made[1] ^= 1;
    std::fs::write(folder.path("nvram"), &made).unwrap();
    let complaint = power_off();
    let words = ["checksum 0xfd, not 0xfc", "begins anew", "nvram.damaged-1"];
    for words in words {
        assert!(complaint.contains(words), "no {words:?} in {complaint}");
    }
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert_eq!(folder.read("nvram.damaged-1"), made);
    assert_eq!(power_off(), "");
    assert_eq!(folder.names(), ["nvram", "nvram.damaged-1"]);
}

#[test]
fn a_file_has_one_machine_at_a_time() {
    let folder = Folder::new("nvram_lock");
    let path = folder.path("nvram");
    let option = format!("path={path}");
    let mut first = Run::start("client64.elf", "console", &["--nvram", &option]);
    first.expect("client interface works\n");
    refused(&path, "in use", None);
    drop(first);
    let (status, _, complaint) = run("client64.elf", "power off", &["--nvram", &option]);
    assert_eq!(status.code(), Some(0), "{complaint}");
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = Folder::new("nvram_refused");
    refused("/", "no file of its own", None);
    refused("/dev/null", "no file of its own", None);
    refused(&folder.path("none/nvram"), "No such file", None);
    let long = folder.path("long");
    std::fs::File::create(&long).unwrap().set_len(1 << 40).unwrap();
    refused(&long, "it has 1099511627776 bytes", None);
    // A file system without room for it.
    refused(&folder.path("full"), "it cannot begin anew: File too large", Some(4096));
    let damaged = folder.path("damaged");
    std::fs::write(&damaged, vec![1; 8192]).unwrap();
    refused(&damaged, "it cannot begin anew: File too large", Some(4096));
    assert_eq!(folder.read("damaged"), [1; 8192]);
    assert_eq!(folder.names(), ["damaged", "full", "long"]);
}

/// A guest that destroys its NVRAM does not keep its machine from starting.
#[test]
fn what_a_guest_destroyed_stays_where_it_cannot_be_put_aside() {
    let folder = Folder::new("nvram_stays");
    let path = folder.path("nvram");
    let destroyed = vec![0xa5; BYTES];
    std::fs::write(&path, &destroyed).unwrap();
    // All names are taken by what is no file.
    let places: Vec<_> = (1..=9).map(|n| folder.path(&format!("nvram.damaged-{n}"))).collect();
    places.iter().for_each(|place| std::fs::create_dir(place).unwrap());
    let (status, complaint) = power_off_within(&path, None);
    assert_eq!(status, Some(0), "{complaint}");
    assert!(complaint.contains("it stays as it is: Is a directory"), "{complaint}");
    assert_eq!(folder.read("nvram"), destroyed);
    // Where it can be, it is.
    std::fs::remove_dir(&places[0]).unwrap();
    let (status, complaint) = power_off_within(&path, None);
    assert_eq!(status, Some(0), "{complaint}");
    assert_eq!(folder.read("nvram.damaged-1"), destroyed);
    assert_eq!(folder.read("nvram")[..10], *b"\x70\xfc\x01\0common");
}
