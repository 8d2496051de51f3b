//! What a client's `read` of a disk costs, beside the same transfer by a plain call of the host, in
//! one run: `cargo bench -p pseries-devices --features vof --bench client [FOLDER]`. The file is made
//! in the folder, which is the current one if not said, and read from the host's page cache: what is
//! in it at hand, and what the disk's thread reads.

use std::fs::File;
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pseries_devices::disk::{ClientDisk, DiskOptions, FileDisk};
use vof_device::block::{BlockDevice, BlockPackage};
use vof_device::test_utils::{Client, TestMachine, sample_tree};

const DISK_BYTES: u64 = 256 << 20;
const RAM_BYTES: u64 = 384 << 20;
/// Where reads go: all of the disk fits.
const BUFFER: u32 = 64 << 20;
const ROUNDS: usize = 5;

fn main() {
    let folder = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let folder = PathBuf::from(folder.unwrap_or_else(|| ".".into()));
    let path = folder.join(format!("pseries-devices-bench-{}", std::process::id()));
    let file = File::create_new(&path).expect("a file");
    let ones = vec![1; 1 << 20];
    for megabyte in 0..DISK_BYTES >> 20 {
        file.write_all_at(&ones, megabyte << 20).expect("room");
    }
    let disk =
        Arc::new(FileDisk::open(&path, &DiskOptions::new().read_only(true)).expect("a disk"));
    let file = File::open(&path).expect("the file");
    std::fs::remove_file(&path).expect("its name is not needed any more");

    let client_disk = ClientDisk::new(disk);
    let package = Arc::new(BlockPackage::new(Arc::new(client_disk.clone())));
    let waiting = Arc::new(BlockPackage::new(Arc::new(Waiting(client_disk))));
    let machine = TestMachine::new(sample_tree(), RAM_BYTES, |builder| {
        builder
            .package("/vdevice/v-scsi@2000", package)
            .package("/vdevice/IBM,nvram@71000001", waiting)
    });
    let client = machine.client();
    let at_hand = client.one("open", &["/vdevice/v-scsi@2000".into()]);
    let by_thread = client.one("open", &["/vdevice/IBM,nvram@71000001".into()]);
    println!("{:10} {:>14} {:>14} {:>14}", "read", "plain call", "at hand", "by the thread");
    for (name, bytes) in [
        ("512", 512),
        ("4 KiB", 4 << 10),
        ("32 KiB", 32 << 10),
        ("1 MiB", 1 << 20),
        ("all", 1 << 28),
    ] {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            times[0].push(plain(&file, bytes));
            times[1].push(reads(&client, at_hand, bytes));
            times[2].push(reads(&client, by_thread, bytes));
        }
        let [plain, at_hand, by_thread] = times.map(|times| told(median(times), bytes));
        println!("{name:10} {plain:>14} {at_hand:>14} {by_thread:>14}");
    }
}

/// A disk that has nothing at hand.
struct Waiting(ClientDisk);

impl BlockDevice for Waiting {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read(to, offset)
    }

    fn write(&self, from: &[u8], offset: u64) -> io::Result<()> {
        self.0.write(from, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

/// How many reads of a size are made: of so many bytes that it takes some time, and not too many by
/// a thread.
fn count(bytes: usize) -> u64 {
    (DISK_BYTES / bytes as u64).min(4096)
}

fn plain(file: &File, bytes: usize) -> Duration {
    let mut data = vec![0; bytes];
    let start = Instant::now();
    for number in 0..count(bytes) {
        file.read_exact_at(&mut data, number * bytes as u64).expect("read");
        black_box(&mut data);
    }
    start.elapsed() / count(bytes) as u32
}

fn reads(client: &Client<'_>, ihandle: u32, bytes: usize) -> Duration {
    client.one("seek", &[ihandle.into(), 0.into(), 0.into()]);
    let arguments = [ihandle.into(), BUFFER.into(), (bytes as u32).into()];
    let start = Instant::now();
    for _ in 0..count(bytes) {
        assert_eq!(client.one("read", &arguments), bytes as u32);
    }
    start.elapsed() / count(bytes) as u32
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn told(time: Duration, bytes: usize) -> String {
    let per_second = bytes as f64 / time.as_secs_f64() / 1e9;
    format!("{:.1?} {per_second:.1}G/s", time)
}
