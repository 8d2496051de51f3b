//! Reading a disk: what a client gets by `read`, beside what a plain call of the host gives of the
//! same file.
//!
//! The file is in the host's page cache. Both go through it from its start to its end, in pieces of
//! a size, in turns; of each piece the shortest time counts.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pseries_devices::disk::{ClientDisk, DiskOptions, FileDisk};
use vm_memory::{Bytes, GuestAddress};
use vof_device::DeviceTree;
use vof_device::block::BlockPackage;
use vof_device::test_utils::TestMachine;

use crate::guest::{Client, RAM_BYTES};
use crate::report::{Bound, Figure, number};
use crate::trees;
use crate::unit::{MILLISECOND, Unit};

/// Size of the file in bytes.
pub const DISK_BYTES: u64 = 256 << 20;

/// What is read at once, in bytes: what GRUB reads at once with the firmware of other machines, what
/// the BSDs' loaders do, and the longest that one call moves.
pub const PIECES: [u32; 3] = [32 << 10, 64 << 10, 1 << 20];

/// How often the file is gone through, in each way.
const ROUNDS: usize = 9;

/// Of a plain call's rate, and of a GB a second. What a client reads is copied twice, once more than
/// what a plain call reads: where nothing but copies costs anything, half of its rate is the limit.
const RATIO: f64 = 0.3;
const GIGABYTES: f64 = 1.0;

/// Where the client has its buffer.
const BUFFER: u32 = 0x1000_0000;

/// The node that the disk is attached to.
const NODE: &str = "/device@1";

/// A file that a disk is, with a machine that has the disk. It is there for as long as this.
pub struct Rig {
    path: PathBuf,
    file: File,
    machine: TestMachine,
}

impl Rig {
    /// Makes the file in a folder.
    ///
    /// # Errors
    /// The host has no place for it.
    ///
    /// # Panics
    /// If a file that was made just now is no disk.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("vof-bench-{}.img", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let piece: Vec<u8> = (0..1_u32 << 18).flat_map(|word| (!word).to_be_bytes()).collect();
        for at in (0..DISK_BYTES).step_by(piece.len()) {
            file.write_all_at(&piece, at)?;
        }
        let options = DiskOptions::new().read_only(true);
        let disk = FileDisk::open(&path, &options).expect("it is a disk");
        let package = Arc::new(BlockPackage::new(Arc::new(ClientDisk::new(Arc::new(disk)))));
        let tree = DeviceTree::from_blob(&trees::blob(2)).expect("the tree is a valid one");
        let machine = TestMachine::new(tree, RAM_BYTES, |builder| builder.package(NODE, package));
        // The host gives a guest its memory when it is touched, which is nobody's time here.
        machine.ram.write_slice(&piece, GuestAddress(BUFFER.into())).expect("it is RAM");
        Ok(Self { path, file, machine })
    }

    /// A client that has the disk open.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub fn reader(&self) -> Reader<'_> {
        let mut client = Client::new(&self.machine);
        let path = client.text(NODE);
        let ihandle = client.open(path);
        assert_ne!(ihandle, 0, "the disk is open");
        Reader { client, ihandle }
    }

    /// Reads the file from the start by plain calls, and hands each call's time to `each`.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn plain(&self, piece: u32, mut each: impl FnMut(Duration)) {
        let mut buffer = vec![0; piece as usize];
        for at in (0..DISK_BYTES).step_by(piece as usize) {
            let start = Instant::now();
            self.file.read_exact_at(&mut buffer, at).expect("the file is there");
            each(start.elapsed());
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl std::fmt::Debug for Rig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rig").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A client that has the disk open.
#[derive(Debug)]
pub struct Reader<'a> {
    client: Client<'a>,
    ihandle: u32,
}

impl Reader<'_> {
    /// Reads the disk from its start, and hands each call's time to `each`.
    ///
    /// # Panics
    /// If a call does not read all that it is asked for.
    pub fn read_all(&mut self, piece: u32, mut each: impl FnMut(Duration)) {
        assert_eq!(self.client.seek(self.ihandle, 0), 0);
        for _ in 0..DISK_BYTES / u64::from(piece) {
            let start = Instant::now();
            let read = self.client.read(self.ihandle, BUFFER, piece);
            each(start.elapsed());
            assert_eq!(read, piece);
        }
    }
}

/// The shortest times of each piece.
#[derive(Debug, Default)]
struct Shortest {
    pieces: Vec<Duration>,
    at: usize,
}

impl Shortest {
    fn start(&mut self) {
        self.at = 0;
    }

    fn add(&mut self, time: Duration) {
        match self.pieces.get_mut(self.at) {
            Some(shortest) => *shortest = time.min(*shortest),
            None => self.pieces.push(time),
        }
        self.at += 1;
    }

    /// Gigabytes a second.
    fn rate(&self) -> f64 {
        DISK_BYTES as f64 / 1e9 / self.pieces.iter().sum::<Duration>().as_secs_f64()
    }

    /// The longest of them, in microseconds.
    fn longest_us(&self) -> f64 {
        self.pieces.iter().max().map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    }
}

/// Measures everything with a file in a folder.
///
/// # Errors
/// The host has no place for it.
pub fn figures(folder: &Path) -> io::Result<Vec<Figure>> {
    let rig = Rig::new(folder)?;
    let mut reader = rig.reader();
    let mut unit = Unit::accesses();
    let mut figures = Vec::new();
    let mut longest = f64::NAN;
    for piece in PIECES {
        let (mut plain, mut client) = (Shortest::default(), Shortest::default());
        for _ in 0..ROUNDS {
            unit.turn();
            plain.start();
            rig.plain(piece, |time| plain.add(time));
            client.start();
            reader.read_all(piece, |time| client.add(time));
        }
        let name = format!("read, {} KiB at once", piece >> 10);
        let (rate, plain) = (client.rate(), plain.rate());
        let figure =
            |what: String, value, unit, bound| Figure { what, value: Some(value), unit, bound };
        figures.push(figure(name.clone(), rate, "GB a second", Bound::AtLeast(GIGABYTES)));
        let beside = format!("{name}, of pread's {} GB/s", number(Some(plain)));
        figures.push(figure(beside, rate / plain, "times", Bound::AtLeast(RATIO)));
        longest = client.longest_us().max(longest);
    }
    let most = MILLISECOND * unit.take_ns() / 1000.0;
    figures.push(Figure {
        what: "read, the longest call".to_owned(),
        value: Some(longest),
        unit: "µs",
        bound: Bound::AtMost(most),
    });
    Ok(figures)
}
