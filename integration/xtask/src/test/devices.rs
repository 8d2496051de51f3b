//! The step that has an installed Debian work with all kinds of devices.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::apt::{POWER, Release};
use crate::cache::{self, PackageSet, Part};
use crate::deb;
use crate::debian;
use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::packages::{self, Tool};
use crate::patience::HANG;
use crate::program::output_of;
use crate::tar::{self, Kind};

use super::debian_guest::{Debian, Session, option};
use super::http::Server;
use super::log::Log;
use super::lspci;
use super::peers::{GUEST, HOST, Peer, sockets};

/// The disk that is copied to another one.
const DISK_BYTES: u64 = 1 << 30;

/// What comes through the network: the beginning of that disk.
const DOWNLOAD_BYTES: u64 = 100_000_000;

/// What goes through sockets and comes back.
const ECHO_BYTES: u64 = 4 << 20;

const FILES: u64 = 10_000;

/// The guest's port, and the host's.
const GUEST_PORT: u32 = 1234;
const HOST_PORT: u32 = 5678;

/// What is to be in `/proc/interrupts`, with two processors: vectors of each device, in its order.
const VECTORS: [&str; 22] = [
    // Disks: one queue, or two.
    "virtio0-config",
    "virtio0-req.0",
    "virtio1-config",
    "virtio1-req.0",
    "virtio2-config",
    "virtio2-req.0",
    "virtio2-req.1",
    // The network.
    "virtio3-config",
    "virtio3-input.0",
    "virtio3-output.0",
    // Randomness.
    "virtio4-config",
    "virtio4-input",
    // Sockets.
    "virtio5-config",
    "virtio5-rx",
    "virtio5-tx",
    "virtio5-event",
    // Files.
    "virtio6-config",
    "virtio6-hiprio",
    "virtio6-requests.0",
    // The second console.
    "virtio7-config",
    "virtio7-input",
    "virtio7-output",
];

/// How many devices these are.
const FUNCTIONS: usize = 8;

/// All of them in one machine; then disks in one whose guest has no MSI.
pub(super) fn all(log: &mut Log) -> Result<()> {
    packages::ensure(&[Tool::Passt, Tool::Virtiofsd, Tool::Ext4])?;
    let debian = Debian::make("devices")?;
    let sockets = sockets("devices")?;
    let (folder, sockets) = (debian.folder.path(), sockets.path());
    let [pattern, copy, web, shared] =
        ["pattern", "copy", "web", "shared"].map(|name| folder.join(name));
    folders::make(&web)?;
    folders::make(&shared)?;
    make_pattern(&pattern)?;
    hole(&copy, DISK_BYTES)?;
    make_download(&pattern, &web.join("download"))?;
    make_repository(&web)?;
    let server = Server::start(&web)?;

    let [passt, virtiofsd, vsock, console] =
        ["passt", "fs", "vsock", "console"].map(|name| sockets.join(name));
    let _passt = Peer::passt(&passt)?;
    let _virtiofsd = Peer::virtiofsd(&virtiofsd, &shared)?;
    let arguments = [
        option("--disk", "path", &pattern, ",readonly=on"),
        option("--disk", "path", &copy, ",num_queues=2"),
        option("--net", "socket", &passt, ""),
        option("--rng", "src", Path::new("/dev/urandom"), ""),
        option("--vsock", "cid=3,socket", &vsock, ""),
        option("--fs", "tag=shared,socket", &virtiofsd, ""),
        option("--console", "socket", &console, ""),
    ];
    let mut guest = debian.start(log, arguments.as_flattened())?;
    interrupts(&mut guest)?;
    lspci::compare(&guest.ask("lspci -vvn")?, &guest.ask(lspci::TREE)?, FUNCTIONS)?;
    randomness(&mut guest)?;
    second_console(&mut guest, &console)?;
    vsock_both_ways(&mut guest, &vsock)?;
    shared_files(&mut guest, &shared)?;
    network(&mut guest, &server, &web.join("download"))?;
    package(&mut guest, &server)?;
    disks(&mut guest, &pattern)?;
    guest.power_off("poweroff")?;
    same(&pattern, &copy)?;
    debian::check(&debian.disk)?;

    let disk = option("--disk", "path", &pattern, ",readonly=on");
    without_msi(debian.start_early(log, "pci=nomsi", &disk)?, &pattern)
}

/// A vector for each queue, and one for changes.
fn interrupts(guest: &mut Session<'_>) -> Result<()> {
    let shown = guest.ask("cat /proc/interrupts")?;
    let missing = VECTORS.iter().find(|vector| {
        let mut lines = shown.lines();
        !lines.any(|line| line.contains("MSI") && line.trim_end().ends_with(&format!(" {vector}")))
    });
    match missing {
        None => Ok(()),
        Some(vector) => {
            Err(Failure::new(format!("/proc/interrupts has no MSI {vector}:\n{shown}")))
        }
    }
}

fn randomness(guest: &mut Session<'_>) -> Result<()> {
    guest.gets("cat /sys/class/misc/hw_random/rng_current", "virtio_rng.0")?;
    guest.gets("head -c 4096 /dev/hwrng | gzip | wc -c | grep -c '^4[01]..$'", "1")
}

/// What is typed there comes back, once somebody listens.
fn second_console(guest: &mut Session<'_>, socket: &Path) -> Result<()> {
    let mut console = connect(socket)?;
    guest.ask("exec 3<>/dev/hvc1; stty raw -echo <&3; (echo ready; exec cat) <&3 >&3 &")?;
    let mut ready = [0; 6];
    console.read_exact(&mut ready).attempt(|| "read from the second console".into())?;
    if ready != *b"ready\n" {
        return Err(Failure::new(format!("the second console shows {}", ready.escape_ascii())));
    }
    echoes(&mut console, b"text of the second console\n")
}

fn vsock_both_ways(guest: &mut Session<'_>, socket: &Path) -> Result<()> {
    // What comes in at the guest's port goes back.
    guest.ask(&format!("(socat VSOCK-LISTEN:{GUEST_PORT} EXEC:cat &) 2>&1"))?;
    guest.ask("until ss --vsock -l | grep -q LISTEN; do sleep 0.2; done")?;
    let mut stream = connect(socket)?;
    send(&mut stream, format!("CONNECT {GUEST_PORT}\n").as_bytes())?;
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte).attempt(|| "connect to the guest".into())?;
        line.push(byte[0]);
    }
    if !line.starts_with(b"OK ") {
        let line = String::from_utf8_lossy(&line).into_owned();
        return Err(Failure::new(format!("a connection to the guest: {line:?}")));
    }
    let mut bytes = Vec::new();
    for number in 0..ECHO_BYTES / 8 {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    echoes(&mut stream, &bytes)?;
    drop(stream);

    // And what comes in at the host's.
    let path = format!("{}_{HOST_PORT}", socket.display());
    let listener = UnixListener::bind(&path).attempt(|| format!("listen at {path}"))?;
    let echo = thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        std::io::copy(&mut &stream, &mut &stream)?;
        stream.shutdown(Shutdown::Write)
    });
    let count = ECHO_BYTES >> 20;
    guest.ask(&format!("dd if=/dev/vdb of=/tmp/sent bs=1M count={count} status=none"))?;
    guest.ask(&format!("socat -t 600 - VSOCK-CONNECT:2:{HOST_PORT} </tmp/sent >/tmp/came"))?;
    guest.ask("cmp /tmp/sent /tmp/came")?;
    let ended = echo.join().unwrap_or_else(|_| Err(std::io::Error::other("it panicked")));
    ended.attempt(|| "give back what comes from the guest".into())
}

/// Files that the guest writes are there for the host, and the other way round.
fn shared_files(guest: &mut Session<'_>, shared: &Path) -> Result<()> {
    guest.ask("mount -t virtiofs shared /mnt && mkdir /mnt/files && cd /mnt/files")?;
    let content = "\"$i: $((i * i))\"";
    guest.ask(&format!("for ((i = 0; i < {FILES}; i++)); do echo {content} >$i; done"))?;
    for number in 0..FILES {
        let path = shared.join(format!("files/{number}"));
        if folders::read(&path)? != format!("{number}: {}\n", number * number).as_bytes() {
            return Err(Failure::new(format!("{} is not as it was written", path.display())));
        }
    }
    let from_host = "from the host";
    folders::write(&shared.join("files/host"), from_host.as_bytes())?;
    guest.gets("cat host", from_host)?;
    // Read from the host again.
    guest.ask("cd / && umount /mnt && mount -t virtiofs shared /mnt && cd /mnt/files")?;
    let check = "read -r text <$i; [ \"$text\" = ";
    guest.gets(
        &format!(
            "for ((i = 0; i < {FILES}; i++)); do {check}{content} ] && echo; done | wc -l; cd"
        ),
        &FILES.to_string(),
    )
}

/// A download from the host, whose address is that of the network's way out.
fn network(guest: &mut Session<'_>, server: &Server, download: &Path) -> Result<()> {
    guest.ask(&format!("until ip -4 address | grep -q {GUEST}; do sleep 0.2; done"))?;
    let sum = cksum(download)?;
    guest.gets(&format!("wget -qO - http://{HOST}:{}/download | cksum", server.port()), &sum)
}

fn package(guest: &mut Session<'_>, server: &Server) -> Result<()> {
    let source = format!("deb [trusted=yes] http://{HOST}:{}/repository ./", server.port());
    guest.ask(&format!("echo '{source}' >/etc/apt/sources.list"))?;
    guest.ask("apt-get update -qq && apt-get install -qq --yes hello >/dev/null")?;
    guest.gets("hello", "Hello, world!")
}

/// A disk is copied to another one, and that one is read.
fn disks(guest: &mut Session<'_>, pattern: &Path) -> Result<()> {
    guest.ask_in_vain("dd if=/dev/zero of=/dev/vdb count=1 status=none")?;
    guest.ask("dd if=/dev/vdb of=/dev/vdc bs=1M oflag=direct conv=fsync status=none")?;
    let sum = cksum(pattern)?;
    guest.gets("dd if=/dev/vdc bs=1M iflag=direct status=none | cksum", &sum)?;
    guest.gets("journalctl -k | grep -ci 'i/o error'; true", "0")
}

/// One interrupt for each slot, which devices share.
fn without_msi(mut guest: Session<'_>, pattern: &Path) -> Result<()> {
    let shown = guest.ask("cat /proc/interrupts")?;
    for device in ["virtio0", "virtio1"] {
        let line = shown.lines().find(|line| line.trim_end().ends_with(device));
        if !line.is_some_and(|line| line.contains("Level")) {
            let why = format!("/proc/interrupts has no level interrupt of {device}:\n{shown}");
            return Err(Failure::new(why));
        }
    }
    if shown.contains("MSI") {
        return Err(Failure::new(format!("/proc/interrupts has MSIs:\n{shown}")));
    }
    let mut head = Command::new("sh");
    head.args(["-c", "head -c 67108864 \"$1\" | md5sum", "sh"]);
    let said = output_of(head.arg(pattern))?;
    let sum = said.split(' ').next().unwrap_or_default();
    let read = "dd if=/dev/vdb bs=1M count=64 2>/dev/null | md5sum";
    // This shell echoes what is typed.
    let said = guest.ask(read)?;
    if !said.contains(sum) {
        return Err(Failure::new(format!("in the guest, `{read}` says {said:?}, not {sum:?}")));
    }
    guest.power_off("poweroff -f")
}

/// Fills a disk with sectors that are all different.
fn make_pattern(path: &Path) -> Result<()> {
    let mut block = vec![0; 1 << 20];
    let mut write = || {
        let mut file = File::create(path)?;
        let mut state = 1_u64;
        for byte in block.chunks_exact_mut(8) {
            // An xorshift generator (Marsaglia 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            byte.copy_from_slice(&state.to_le_bytes());
        }
        for number in 0..DISK_BYTES >> 20 {
            for (sector, bytes) in block.chunks_exact_mut(512).enumerate() {
                bytes[..8].copy_from_slice(&(number << 11 | sector as u64).to_le_bytes());
            }
            file.write_all(&block)?;
        }
        Ok(())
    };
    write().attempt(|| format!("write {}", path.display()))
}

fn make_download(pattern: &Path, to: &Path) -> Result<()> {
    let copy = || {
        let mut from = File::open(pattern)?.take(DOWNLOAD_BYTES);
        std::io::copy(&mut from, &mut File::create(to)?)
    };
    copy().attempt(|| format!("write {}", to.display())).map(drop)
}

/// A file that is nothing but a hole.
pub(super) fn hole(path: &Path, bytes: u64) -> Result<()> {
    let made = File::create(path).and_then(|file| file.set_len(bytes));
    made.attempt(|| format!("write {}", path.display()))
}

/// A repository with one package, without a signature.
fn make_repository(web: &Path) -> Result<()> {
    let set = PackageSet {
        name: "hello",
        releases: &[Release::Bookworm],
        what: "a package for guests to install (hello for POWER)",
        parts: vec![Part::any("hello", POWER)],
        is_one_build: false,
    };
    let fetched = cache::fetch(&set, false)?;
    let package = fetched.package("hello_")?;
    let folder = web.join("repository");
    folders::make(&folder)?;
    let bytes = folders::read(package)?;
    folders::write(&folder.join("hello.deb"), &bytes)?;
    let archive = deb::control(package)?;
    let entries = tar::entries(&archive)?;
    let control = entries.iter().find_map(|entry| match &entry.kind {
        Kind::File(control) if entry.path.trim_start_matches("./") == "control" => Some(control),
        _ => None,
    });
    let control = control.ok_or_else(|| Failure::new("the package hello has no control file"))?;
    let mut list = String::from_utf8_lossy(control).trim_end().to_owned();
    // What dpkg-scanpackages(1) adds.
    let sum = output_of(Command::new("sha256sum").arg(package))?;
    let sum = sum.split(' ').next().unwrap_or_default();
    let size = bytes.len();
    let _ = writeln!(list, "\nFilename: ./hello.deb\nSize: {size}\nSHA256: {sum}");
    folders::write(&folder.join("Packages"), list.as_bytes())
}

/// What `cksum` says of a file, without its name.
fn cksum(file: &Path) -> Result<String> {
    let said = output_of(Command::new("cksum").arg(file))?;
    Ok(said.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

fn same(one: &Path, other: &Path) -> Result<()> {
    output_of(Command::new("cmp").arg(one).arg(other)).map(drop)
}

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket).and_then(|stream| {
        // Who does not answer for so long hangs.
        stream.set_read_timeout(Some(HANG))?;
        stream.set_write_timeout(Some(HANG))?;
        Ok(stream)
    });
    stream.attempt(|| format!("connect to {}", socket.display()))
}

fn send(stream: &mut UnixStream, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes).attempt(|| "write to the guest".into())
}

/// Sends bytes, which have to come back.
fn echoes(stream: &mut UnixStream, bytes: &[u8]) -> Result<()> {
    let mut came = vec![0; bytes.len()];
    thread::scope(|scope| {
        let mut writer = stream.try_clone().attempt(|| "duplicate a socket".into())?;
        let sent = scope.spawn(move || send(&mut writer, bytes));
        stream.read_exact(&mut came).attempt(|| "read what the guest sends back".into())?;
        sent.join().unwrap_or_else(|_| Err(Failure::new("it panicked")))
    })?;
    match came == bytes {
        true => Ok(()),
        false => Err(Failure::new("the guest sends back other bytes than came")),
    }
}
