//! A file system by virtiofsd, where that is installed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::guest::Guest;
use super::{Place, virtio_fs};

/// Where Debian has it, before and after it was written anew. The variable `VIRTIOFSD` has another.
const PROGRAMS: [&str; 2] = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];

struct Running(Child);

impl Running {
    fn start(program: &str, socket: &Path, folder: &Path) -> Self {
        let mut command = Command::new(program);
        command.arg(format!("--socket-path={}", socket.display()));
        if program.contains("qemu") {
            command.arg("-o").arg(format!("source={},sandbox=chroot", folder.display()));
        } else {
            command.arg("--sandbox=chroot").arg(format!("--shared-dir={}", folder.display()));
        }
        let daemon = command.stderr(Stdio::null()).spawn().unwrap();
        let this = Self(daemon);
        for _ in 0..3000 {
            if socket.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        this
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A request of the FUSE protocol.
fn request(opcode: u32, unique: u64, node: u64, body: &[u8]) -> Vec<u8> {
    let bytes = 40 + body.len() as u32;
    let header = [&bytes.to_le_bytes()[..], &opcode.to_le_bytes()].concat();
    let names = [unique.to_le_bytes(), node.to_le_bytes(), [0; 8], [0; 8]].concat();
    [&header, &names, body].concat()
}

/// The body of the next answer, which is no error.
fn body(guest: &mut Guest, queue: usize, unique: u64) -> Vec<u8> {
    let answer = guest.answer(queue, unique - 1);
    assert_eq!(answer[..4], (answer.len() as u32).to_le_bytes());
    assert_eq!(answer[4..8], [0; 4], "an error");
    assert_eq!(answer[8..16], unique.to_le_bytes());
    answer[16..].to_vec()
}

#[test]
#[ignore = "needs virtiofsd, and root"]
fn files_are_read_and_the_daemon_replaced() {
    let other = std::env::var("VIRTIOFSD").ok();
    let mut programs = other.iter().map(String::as_str).chain(PROGRAMS);
    let program = programs.find(|program| Path::new(program).exists()).unwrap();
    for is_relayed in [false, true] {
        let place = Place::new();
        let folder = place.0.as_path().join("shared");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), "what is in it").unwrap();
        let daemon = Running::start(program, &place.socket(), &folder);
        let spec = virtio_fs::spec("tag", 1).unwrap();
        let mut guest = Guest::connect(&place.socket(), spec, is_relayed).unwrap();
        // With one daemon twice, and with another.
        for _ in 0..2 {
            session(&mut guest);
            guest.reset();
        }
        session(&mut guest);
        drop(daemon);
        guest.wait(|guest| (guest.interrupts.reset_count() == 1).then_some(()));
        guest.reset();
        let _ = fs::remove_file(place.socket());
        let _daemon = Running::start(program, &place.socket(), &folder);
        session(&mut guest);
    }
}

fn session(guest: &mut Guest) {
    guest.activate(0).unwrap();
    // 0 is no request's.
    let mut unique = 1;
    let mut ask = |guest: &mut Guest, opcode, node, data: &[u8]| {
        guest.ask_for(0x1000, 1, &request(opcode, unique, node, data), false);
        let answer = body(guest, 1, unique);
        unique += 1;
        answer
    };
    // INIT: version 7.31.
    let init = [7_u32, 31, 0x1000, 0].map(u32::to_le_bytes).concat();
    let answer = ask(guest, 26, 0, &init);
    assert_eq!(answer[..4], 7_u32.to_le_bytes());
    let entry = ask(guest, 1, 1, b"file\0");
    let node = u64::from_le_bytes(entry[..8].try_into().unwrap());
    let open = ask(guest, 14, node, &[0; 8]);
    // READ: handle, offset, size, and nothing more.
    let read = [&open[..8], &[0; 8], &100_u32.to_le_bytes(), &[0; 20]].concat();
    assert_eq!(ask(guest, 15, node, &read), b"what is in it");
}
