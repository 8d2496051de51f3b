//! With the real passt, where it is installed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use vmm_sys_util::tempdir::TempDir;

use super::*;

/// It is ended with the test.
struct Passt(Child);

impl Passt {
    fn start(socket: &Path) -> Option<Self> {
        let mut command = Command::new("passt");
        command.args(["--foreground", "--quiet", "--socket"]).arg(socket);
        // Its own words are of no use here.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut passt = Self(command.spawn().ok()?);
        while !socket.exists() {
            if let Ok(Some(_)) = passt.0.try_wait() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(passt)
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A broadcast that asks for an address: DHCPDISCOVER over UDP over IPv4 (RFC 2131).
fn discover(mac: [u8; 6]) -> Vec<u8> {
    let mut dhcp = vec![0; 240];
    dhcp[..4].copy_from_slice(&[1, 1, 6, 0]);
    dhcp[4..8].copy_from_slice(b"test");
    dhcp[28..34].copy_from_slice(&mac);
    dhcp[236..].copy_from_slice(&[99, 130, 83, 99]);
    dhcp.extend([53, 1, 1, 255]);
    dhcp.resize(300, 0);
    let udp_bytes = 8 + dhcp.len() as u16;
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_bytes).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = [[0xff; 6], mac].concat();
    frame.extend([8, 0]);
    frame.extend(ip);
    frame.extend([0, 68, 0, 67]);
    frame.extend(udp_bytes.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(dhcp);
    frame
}

#[test]
fn passt_offers_an_address() {
    let folder = TempDir::new_with_prefix("/tmp/passt-").unwrap();
    let mut permissions = std::fs::metadata(folder.as_path()).unwrap().permissions();
    // It makes itself nobody before it makes the socket.
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o777);
    std::fs::set_permissions(folder.as_path(), permissions).unwrap();
    let path = folder.as_path().join("socket");
    let Some(passt) = Passt::start(&path) else {
        return eprintln!("skipped: there is no passt that starts here");
    };
    let mut net = Net::new(config(), Box::new(Socket::connect(&path).unwrap()));
    let mut active = Active::new(&mut net, MERGEABLE, SIZE);
    for number in 0..32 {
        active.add(RX, &[Buffer::writable(DATA + 2048 * number, 2048)]);
    }
    active.notify(RX);
    let request = discover(config().mac.bytes());
    active.write(DATA + 0x2_0000, &[&[0; HEADER_BYTES][..], &request].concat());
    let bytes = (HEADER_BYTES + request.len()) as u32;
    active.add(TX, &[Buffer::readable(DATA + 0x2_0000, bytes)]);
    active.notify(TX);
    active.next_used(TX);
    loop {
        let (number, bytes) = active.next_used(RX);
        let frame = active.read(DATA + 2048 * u64::from(number) + 12, bytes as usize - 12);
        // From its port 67 to ours, the same number as in the question.
        if frame.len() > 282 && frame[34..38] == [0, 67, 0, 68] && frame[46..50] == *b"test" {
            assert_eq!(frame[42], 2, "a reply");
            break;
        }
    }
    // It is killed, and started again.
    drop(passt);
    active.until(|active| active.interrupts.change_count() == 1);
    assert_eq!(status(&net), 0);
    let _ = std::fs::remove_file(&path);
    let passt = Passt::start(&path);
    assert!(passt.is_some());
    active.until(|active| active.interrupts.change_count() == 2);
    assert_eq!(status(&net), 1);
}
