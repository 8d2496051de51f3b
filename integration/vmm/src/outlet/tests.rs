use super::*;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

const LIMIT_BYTES: usize = 4096;

fn pipe() -> (UnixStream, File) {
    let (reader, writer) = UnixStream::pair().unwrap();
    (reader, OwnedFd::from(writer).into())
}

/// One that takes nothing until `taken` bytes were read.
pub(crate) fn full_pipe() -> (UnixStream, File, u64) {
    let (reader, mut writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    let mut taken = 0;
    for chunk in [&[b'.'; 4096][..], b"."] {
        while let Ok(count) = writer.write(chunk) {
            taken += count as u64;
        }
    }
    writer.set_nonblocking(false).unwrap();
    (reader, OwnedFd::from(writer).into(), taken)
}

pub(crate) fn skip(reader: &mut UnixStream, bytes: u64) {
    io::copy(&mut reader.take(bytes), &mut io::sink()).unwrap();
}

fn lane(file: &File) -> Lane {
    Lane::open(file.try_clone().unwrap(), "a socket", LIMIT_BYTES).unwrap()
}

#[test]
fn what_two_send_to_one_file_keeps_its_order() {
    let (reader, file) = pipe();
    let lanes = [lane(&file), lane(&file)];
    drop(file);
    assert!(Arc::ptr_eq(&lanes[0].outlet, &lanes[1].outlet));
    for n in 0..100 {
        lanes[n % 2].say(&n.to_string());
    }
    drop(lanes);
    let lines: Vec<_> = BufReader::new(reader).lines().map(Result::unwrap).collect();
    assert_eq!(lines, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// Sends lines until one is left out, and a few more.
fn overflow(lane: &Lane) -> u64 {
    let mut said = 0;
    while lane.outlet.lock().lanes[lane.index].left_out < 10 {
        lane.say(&format!("line {said}"));
        said += 1;
    }
    said
}

#[test]
fn messages_that_do_not_fit_are_counted_where_they_are_missing() {
    let (mut reader, file, taken) = full_pipe();
    let lane = lane(&file);
    drop(file);
    let said = overflow(&lane);
    skip(&mut reader, taken);
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    for n in 0..said - 10 {
        assert_eq!(lines.next(), Some(format!("line {n}")));
    }
    let gap = "pseries-vmm: 10 messages were left out, as a socket was not read";
    assert_eq!(lines.next().as_deref(), Some(gap));
    lane.say("again");
    assert_eq!(lines.next().as_deref(), Some("again"));
}

/// A virtual CPU goes no faster than its messages are written, but does not stop for them.
#[test]
fn who_may_wait_waits_for_a_reader_and_not_for_nobody() {
    let (mut reader, file, taken) = full_pipe();
    let lane = lane(&file);
    drop(file);
    let speaker = thread::spawn(move || {
        wait_in_this_thread();
        overflow(&lane)
    });
    let said = speaker.join().unwrap();
    skip(&mut reader, taken);
    let lines: Vec<_> = BufReader::new(reader).lines().map(Result::unwrap).collect();
    assert_eq!(lines.len() as u64, said - 10 + 1);
}

/// Two lanes of one file: who waits in either is let go.
#[test]
fn who_waits_for_room_is_let_go_when_somebody_leaves() {
    let (_reader, file, _) = full_pipe();
    let lanes = [lane(&file), lane(&file)];
    drop(file);
    hurry_one(&lanes[0].outlet);
    for lane in &lanes {
        assert_eq!(lane.send(&[b'x'; 2 * LIMIT_BYTES], Duration::MAX), LIMIT_BYTES);
    }
}

#[test]
fn a_flush_ends_when_nothing_goes() {
    let (mut reader, file, _) = full_pipe();
    let lane = lane(&file);
    drop(file);
    overflow(&lane);
    flush(false);
    assert!(lane.unwritten_bytes() > 0);
    let reading = thread::spawn(move || reader.read_to_end(&mut Vec::new()));
    while lane.unwritten_bytes() > 0 {
        thread::sleep(LOOK_EVERY);
    }
    flush(false);
    drop(lane);
    reading.join().unwrap().unwrap();
}

/// Whoever saw that all is written knows whether it was: the mark and the message come first.
#[test]
fn what_failed_is_not_done_before_it_is_told() {
    let (mut reader, messages, taken) = full_pipe();
    let other = lane(&messages);
    drop(messages);
    // Not for writing. No other test has it, so that its thread is at nothing else.
    let full = File::open("/proc/self/exe").unwrap();
    let full = Lane::open(full, "no output", LIMIT_BYTES).unwrap();
    set_messages(other);
    let messages = MESSAGES.get().unwrap();
    // While this is held the message cannot be sent.
    let held = messages.outlet.lock();
    full.send(b"for nobody", Duration::ZERO);
    while !full.outlet.lock().lanes[full.index].closed {
        thread::sleep(LOOK_EVERY);
    }
    thread::sleep(10 * LOOK_EVERY);
    assert!(FAILED.load(Ordering::SeqCst));
    assert!(full.unwritten_bytes() > 0, "done, and nothing was told");
    drop(held);
    while full.unwritten_bytes() > 0 {
        thread::sleep(LOOK_EVERY);
    }
    skip(&mut reader, taken);
    // What another test made it say may come first.
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap).take(2);
    assert!(lines.any(|line| line.contains("cannot write to no output")));
}

#[test]
fn who_cannot_be_written_to_gets_no_more_and_the_others_do() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let full = Lane::open(full, "full", LIMIT_BYTES).unwrap();
    let (reader, file) = pipe();
    let other = lane(&file);
    drop(file);
    for _ in 0..1000 {
        full.say("for nobody");
        full.send(&[b'x'; LIMIT_BYTES], Duration::ZERO);
    }
    while full.unwritten_bytes() > 0 {
        thread::sleep(LOOK_EVERY);
    }
    assert_eq!(full.send(&[b'x'; 2 * LIMIT_BYTES], Duration::ZERO), 2 * LIMIT_BYTES);
    assert!(FAILED.load(Ordering::SeqCst));
    other.say("here");
    drop(other);
    assert_eq!(BufReader::new(reader).lines().next().unwrap().unwrap(), "here");
}
