use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process;

use vmm_sys_util::tempdir::TempDir;

use super::*;
use crate::active::{Active, DATA, Memory};
use crate::virtio::driver::Buffer;

const SIZE: u16 = 16;
const EVENT_IDX: u64 = 1 << VIRTIO_RING_F_EVENT_IDX;

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new_with_prefix(format!("/tmp/rng-{}-", process::id())).unwrap();
    let path = folder.as_path().to_owned();
    (folder, path)
}

/// A pipe with a name, and the end that is written to.
fn pipe(folder: &std::path::Path) -> (Source, File) {
    let path = folder.join("pipe");
    let made = process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let source = Source::open(&path).unwrap();
    let writer = File::options().write(true).open(&path).unwrap();
    (source, writer)
}

#[test]
fn requests_get_bytes_of_the_generator() {
    let random = |requests: &[u32]| {
        let mut rng = Rng::new(Source::fixed(7));
        let mut active = Active::new(&mut rng, 0, SIZE);
        let mut at = DATA;
        for &bytes in requests {
            active.add(0, &[Buffer::writable(at, bytes)]);
            active.notify(0);
            assert_eq!(active.next_used(0).1, bytes);
            at += u64::from(bytes);
        }
        active.read(DATA, (at - DATA) as usize)
    };
    let one = random(&[64, 16]);
    assert_eq!(one, random(&[64, 16]), "the same each time");
    assert_ne!(one[..16], one[16..32]);
    // The first number of SplitMix64 from this seed.
    assert_eq!(random(&[8]), 0x63cb_e1e4_5932_0dd7u64.to_le_bytes());
}

/// "The device MUST place one or more random bytes into the buffer, but it MAY use less than the
/// entire buffer length" (§5.4.6.2).
#[test]
fn a_request_has_a_limit() {
    let mut rng = Rng::new(Source::fixed(1));
    let mut active = Active::new(&mut rng, 0, SIZE);
    active.add(0, &[Buffer::writable(DATA, 100), Buffer::writable(DATA + 100, 1 << 20)]);
    active.notify(0);
    assert_eq!(active.next_used(0).1 as usize, REQUEST_BYTES_MAX);
    let beyond = active.read(DATA + REQUEST_BYTES_MAX as u64, 64);
    assert_eq!(beyond, [0; 64]);
}

#[test]
fn all_requests_are_answered_with_few_interrupts() {
    for features in [0, EVENT_IDX] {
        let mut rng = Rng::new(Source::open("/dev/urandom".as_ref()).unwrap());
        let mut active = Active::new(&mut rng, features, 64);
        active.queues[0].set_used_event(0);
        for number in 0..50 {
            active.add(0, &[Buffer::writable(DATA + 16 * number, 16)]);
        }
        active.notify(0);
        for _ in 0..50 {
            assert_eq!(active.next_used(0).1, 16);
        }
        let wanted = if features == 0 { 1..=50 } else { 1..=1 };
        assert!(wanted.contains(&active.interrupts.used_count()));
        let bytes = active.read(DATA, 800);
        assert!(bytes.chunks(16).all(|chunk| chunk != [0; 16]));
    }
}

/// Nobody waits in the device, and what comes is given as it comes.
#[test]
fn a_slow_pipe_makes_the_guest_wait_and_nobody_else() {
    let (_folder, path) = folder();
    let (source, mut writer) = pipe(&path);
    let mut rng = Rng::new(source);
    let mut active = Active::new(&mut rng, EVENT_IDX, SIZE);
    active.add(0, &[Buffer::writable(DATA, 64)]);
    active.add(0, &[Buffer::writable(DATA + 64, 64)]);
    active.notify(0);
    active.notify(0);
    assert_eq!(active.queues[0].next_used(), None);
    assert_eq!(active.run(), 0, "it does not look again and again");
    writer.write_all(b"random").unwrap();
    assert_eq!(active.next_used(0), (0, 6));
    assert_eq!(active.read(DATA, 8), b"random\0\0");
    assert_eq!(active.queues[0].next_used(), None);
    writer.write_all(b"more").unwrap();
    assert_eq!(active.next_used(0), (1, 4));
    // Another driver gets what comes after.
    drop(active);
    let mut active = Active::new(&mut rng, EVENT_IDX, SIZE);
    active.add(0, &[Buffer::writable(DATA, 64)]);
    active.notify(0);
    writer.write_all(b"next").unwrap();
    assert_eq!(active.next_used(0), (0, 4));
}

#[test]
fn a_source_that_ends_is_looked_at_now_and_then() {
    let (_folder, path) = folder();
    let (source, writer) = pipe(&path);
    let mut rng = Rng::new(source);
    let mut active = Active::new(&mut rng, 0, SIZE);
    active.add(0, &[Buffer::writable(DATA, 64)]);
    drop(writer);
    active.notify(0);
    assert!(active.run() <= 1);
    assert_eq!(active.queues[0].next_used(), None);
    let mut writer = File::options().write(true).open(path.join("pipe")).unwrap();
    writer.write_all(b"again").unwrap();
    assert_eq!(active.next_used(0), (0, 5));
    assert_eq!(active.interrupts.reset_count(), 0);
}

#[test]
fn a_file_gives_what_it_has() {
    let (_folder, path) = folder();
    let path = path.join("file");
    fs::write(&path, b"0123456789").unwrap();
    let mut rng = Rng::new(Source::open(&path).unwrap());
    let mut active = Active::new(&mut rng, 0, SIZE);
    for number in 0..3 {
        active.add(0, &[Buffer::writable(DATA + 8 * number, 8)]);
    }
    active.notify(0);
    assert_eq!([active.next_used(0).1, active.next_used(0).1], [8, 2]);
    assert_eq!(active.queues[0].next_used(), None);
    File::options().append(true).open(&path).unwrap().write_all(b"abc").unwrap();
    assert_eq!(active.next_used(0).1, 3);
    assert_eq!(active.read(DATA, 19), b"0123456789\0\0\0\0\0\0abc");
}

#[test]
fn a_queue_that_makes_no_sense_is_left_alone() {
    for source in [Source::fixed(0), Source::open("/dev/urandom".as_ref()).unwrap()] {
        let mut rng = Rng::new(source);
        let mut active = Active::new(&mut rng, 0, SIZE);
        active.queues[0].set_available_index(SIZE + 1);
        active.notify(0);
        assert_eq!(active.interrupts.reset_count(), 1);
        active.notify(0);
        assert_eq!(active.interrupts.reset_count(), 1);
        let mut active = Active::new(&mut rng, 0, SIZE);
        active.add(0, &[Buffer::writable(1 << 40, 16)]);
        active.notify(0);
        assert_eq!(active.interrupts.reset_count(), 1);
        assert_eq!(active.queues[0].next_used(), None);
    }
}

/// "The device MUST send a notification" of what it has used (§2.7.7.2), whatever comes after it.
#[test]
fn what_was_used_before_a_mistake_is_told() {
    for source in [Source::fixed(0), Source::open("/dev/urandom".as_ref()).unwrap()] {
        let mut rng = Rng::new(source);
        let mut active = Active::new(&mut rng, 0, SIZE);
        active.add(0, &[Buffer::writable(DATA, 16)]);
        active.add(0, &[Buffer::writable(1 << 40, 16)]);
        active.notify(0);
        assert_eq!(active.next_used(0), (0, 16));
        assert_eq!(active.interrupts.reset_count(), 1);
        assert_eq!(active.interrupts.used_count(), 1);
    }
}

#[test]
fn what_is_no_source_is_named() {
    let (_folder, path) = folder();
    fs::write(path.join("empty"), b"").unwrap();
    let _listener = UnixListener::bind(path.join("socket")).unwrap();
    for (name, what) in [("", "a folder"), ("empty", "empty"), ("socket", "a socket")] {
        let path = path.join(name);
        let error = Source::open(&path).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains(&path.display().to_string()), "{error}");
    }
    let error = Source::open(&path.join("absent")).unwrap_err();
    assert!(error.to_string().ends_with("/absent"), "{error}");
    assert!(matches!(error, SourceError::Open { .. }));
}

#[test]
fn it_is_an_entropy_device() {
    let rng = Rng::new(Source::fixed(0));
    let device: &dyn VirtioDevice<Memory> = &rng;
    assert_eq!(device.kind().id, 4);
    assert_eq!(device.queue_sizes().len(), 1);
    let mut config = [0; 8];
    device.read_config(0, &mut config);
    assert_eq!(config, [0; 8]);
}
