use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU32, Ordering};

use virtio_bindings::bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT};
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::bitmap::{AtomicBitmap, Bitmap, BitmapSlice};
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryMmap};

use super::*;
use crate::virtio::driver::{Buffer, DriverQueue};

type Memory = GuestMemoryMmap<AtomicBitmap>;

const QUEUE: GuestAddress = GuestAddress(0x1000);
const SIZE: u16 = 16;
const TABLE: GuestAddress = GuestAddress(0x8000);
/// Two regions meet here, and there is nothing from `END` on.
const SEAM: u64 = 0x2_0000;
const END: u64 = 0x4_0000;

fn memory() -> Memory {
    let low = (GuestAddress(0), SEAM as usize);
    let high = (GuestAddress(SEAM), (END - SEAM) as usize);
    Memory::from_ranges(&[low, high]).unwrap()
}

/// A queue with one chain in it.
fn queue_with(memory: &Memory, buffers: &[Buffer]) -> Queue {
    let mut driver = DriverQueue::new(memory, QUEUE, SIZE);
    driver.add(buffers);
    driver.queue()
}

fn chain_of<'m>(
    memory: &'m Memory,
    queue: &mut Queue,
) -> Result<Chain<'m, impl BitmapSlice>, ChainError> {
    Chain::new(memory, queue.pop_descriptor_chain(memory).unwrap())
}

#[test]
fn buffers_are_found_in_both_directions() {
    let memory = memory();
    memory.write_slice(b"out and about", GuestAddress(SEAM - 4)).unwrap();
    let buffers = [
        Buffer::readable(SEAM - 4, 13),
        Buffer::readable(0x9000, 0),
        Buffer::writable(0xa000, 3),
        Buffer::writable(0xb000, 5),
    ];
    let mut driver = DriverQueue::new(&memory, QUEUE, SIZE);
    let direct = driver.add(&buffers);
    let indirect = driver.add_indirect(TABLE, &buffers);
    let mut queue = driver.queue();
    for head in [direct, indirect] {
        let chain = queue.pop_descriptor_chain(&memory).unwrap();
        assert_eq!(chain.head_index(), head);
        let chain = Chain::new(&memory, chain).unwrap();
        // One buffer lies over the seam, and one has no bytes.
        assert_eq!(lengths(&chain.readable), [4, 9]);
        assert_eq!(lengths(&chain.writable), [3, 5]);
        let mut text = [0; 20];
        assert_eq!(chain.readable.copy_to(&mut text), 13);
        assert_eq!(&text[..13], b"out and about");
        assert_eq!(chain.writable.copy_from(b"in pieces, cut off"), 8);
        assert_eq!(memory.read_obj::<[u8; 3]>(GuestAddress(0xa000)).unwrap(), *b"in ");
        assert_eq!(memory.read_obj::<[u8; 6]>(GuestAddress(0xb000)).unwrap(), *b"piece\0");
    }
    assert!(queue.pop_descriptor_chain(&memory).is_none());
}

fn lengths(pieces: &Pieces<'_, impl BitmapSlice>) -> Vec<usize> {
    pieces.iter().map(VolatileSlice::len).collect()
}

/// "The driver MUST place any device-writable descriptor elements after any device-readable
/// descriptor elements" (Virtio 1.2 §2.7.4.2).
#[test]
fn readable_comes_first() {
    let memory = memory();
    for bytes in [0, 8] {
        let buffers = [Buffer::writable(0x9000, bytes), Buffer::readable(0xa000, 8)];
        let mut queue = queue_with(&memory, &buffers);
        assert_eq!(chain_of(&memory, &mut queue).unwrap_err(), ChainError::ReadableAfterWritable);
    }
}

#[test]
fn buffers_outside_memory_are_refused() {
    let memory = memory();
    for (at, bytes) in [
        (END, 1),
        (END - 8, 9),
        (SEAM - 8, u32::MAX),
        (u64::MAX, 1),
        (u64::MAX - 3, 8),
        (u64::MAX - 0xffff_fffe, u32::MAX),
        (1 << 63, 4096),
    ] {
        for buffer in [Buffer::readable(at, bytes), Buffer::writable(at, bytes)] {
            let mut queue = queue_with(&memory, &[buffer]);
            let error = ChainError::OutsideMemory { at: GuestAddress(at), bytes };
            assert_eq!(chain_of(&memory, &mut queue).unwrap_err(), error);
        }
    }
}

#[test]
fn chains_that_do_not_end_are_refused() {
    let memory = memory();
    let next = VRING_DESC_F_NEXT as u16;
    let indirect = VRING_DESC_F_INDIRECT as u16;
    let broken = |descriptors: &[Descriptor]| {
        let mut driver = DriverQueue::new(&memory, QUEUE, SIZE);
        for (index, descriptor) in descriptors.iter().enumerate() {
            driver.write_descriptor(index as u16, *descriptor);
        }
        driver.make_available(0);
        chain_of(&memory, &mut driver.queue()).unwrap_err() == ChainError::Broken
    };
    // In a circle, alone and by two; to a descriptor that there is not.
    assert!(broken(&[Descriptor::new(0x9000, 8, next, 0)]));
    let one = |to| Descriptor::new(0x9000, 8, next, to);
    assert!(broken(&[one(1), one(0)]));
    assert!(broken(&[one(SIZE)]));
    assert!(broken(&[one(u16::MAX)]));
    // Tables that are no multiple of 16, empty, outside memory, at the end of addresses.
    for (at, bytes) in [(TABLE.0, 24), (TABLE.0, 0), (END, 16), (u64::MAX, 16), (u64::MAX - 15, 32)]
    {
        assert!(broken(&[Descriptor::new(at, bytes, indirect, 0)]), "{at:#x} {bytes}");
    }
    // Tables with more entries than can be counted.
    assert!(broken(&[Descriptor::new(TABLE.0, !15, indirect, 0)]));
    // A table in a table.
    let nested = Descriptor::new(TABLE.0, 16, indirect, 0);
    memory.write_obj(nested, TABLE).unwrap();
    assert!(broken(&[nested]));
    // More than 2³² bytes, by one buffer after the other.
    let memory = Memory::from_ranges(&[(GuestAddress(0), 4 << 20)]).unwrap();
    let mut driver = DriverQueue::new(&memory, QUEUE, 1024);
    let buffers = vec![Buffer::readable(0, 4 << 20); 1024];
    driver.add_indirect(TABLE, &buffers);
    assert_eq!(chain_of(&memory, &mut driver.queue()).unwrap_err(), ChainError::Broken);
    driver.add_indirect(TABLE, &vec![Buffer::readable(0, 8); MAX_PIECES + 1]);
    let mut queue = driver.queue();
    queue.set_next_avail(1);
    assert_eq!(chain_of(&memory, &mut queue).unwrap_err(), ChainError::TooManyPieces);
}

/// A head that is no descriptor: the chain has none.
#[test]
fn a_head_out_of_the_table_is_refused() {
    let memory = memory();
    let mut driver = DriverQueue::new(&memory, QUEUE, SIZE);
    driver.make_available(SIZE);
    assert_eq!(chain_of(&memory, &mut driver.queue()).unwrap_err(), ChainError::Broken);
}

fn bytes(pieces: &Pieces<'_, impl BitmapSlice>) -> Vec<u8> {
    let mut copy = vec![0; pieces.len()];
    assert_eq!(pieces.copy_to(&mut copy), copy.len());
    let mut gathered = vec![0; pieces.len()];
    assert_eq!(pieces.gather().copy_to(&mut gathered), copy.len());
    assert_eq!(copy, gathered);
    copy
}

#[test]
fn pieces_are_split_anywhere() {
    let memory = memory();
    let data: Vec<u8> = (0..30).collect();
    memory.write_slice(&data, GuestAddress(0x9000)).unwrap();
    let ends = [0, 1, 7, 15, 16, 30];
    let buffers: Vec<_> = ends
        .windows(2)
        .map(|part| Buffer::readable(0x9000 + part[0], (part[1] - part[0]) as u32))
        .collect();
    let mut queue = queue_with(&memory, &buffers);
    let whole = chain_of(&memory, &mut queue).unwrap().readable;
    for cut in 0..=30 {
        let mut back = whole.clone();
        let front = back.split_front(cut).unwrap();
        assert_eq!((bytes(&front), bytes(&back)), (data[..cut].into(), data[cut..].into()));
        let mut front = whole.clone();
        let back = front.split_back(30 - cut).unwrap();
        assert_eq!((bytes(&front), bytes(&back)), (data[..cut].into(), data[cut..].into()));
        let mut gather = whole.gather();
        let first = gather.split_front(cut);
        assert_eq!((first.len(), gather.len()), (cut, 30 - cut));
    }
    let mut rest = whole.clone();
    assert!(rest.split_front(31).is_none());
    assert!(rest.split_back(31).is_none());
    assert_eq!(bytes(&rest), data);
    assert_eq!(whole.read_obj::<u16>(), Some(u16::from_ne_bytes([0, 1])));
    assert_eq!(rest.split_front(1).unwrap().read_obj::<u16>(), None);
}

/// A file without a name.
fn temporary_file(data: &[u8]) -> File {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("pseries-devices-chain-{}-{count}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all(data).unwrap();
    file.rewind().unwrap();
    file
}

#[test]
fn files_are_read_and_written_in_place() {
    let memory = memory();
    let data: Vec<u8> = (0..=255).cycle().take(0x3000).collect();
    let mut file = temporary_file(&data);
    let buffers = [
        Buffer::writable(SEAM - 0x800, 0x1000),
        Buffer::writable(0x9001, 3),
        Buffer::writable(0xa000, 0x1800),
    ];
    let mut queue = queue_with(&memory, &buffers);
    let pieces = chain_of(&memory, &mut queue).unwrap().writable;
    pieces.fill(|to| to.read_exact_at(&file, 0x100)).unwrap();
    let mut copy = vec![0; pieces.len()];
    pieces.copy_to(&mut copy);
    assert_eq!(copy, data[0x100..][..copy.len()]);

    pieces.gather().write_all_at(&file, 0x10_0000).unwrap();
    let mut written = Vec::new();
    file.read_to_end(&mut written).unwrap();
    assert_eq!(written.len(), 0x10_0000 + copy.len());
    assert_eq!(written[0x10_0000..], copy);

    let end = pieces.fill(|to| to.read_exact_at(&file, 0x10_0001)).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
    for offset in [u64::MAX, i64::MAX as u64 - 1] {
        assert!(pieces.gather().write_all_at(&file, offset).is_err());
        assert!(pieces.fill(|to| to.read_exact_at(&file, offset)).is_err());
    }
}

#[test]
fn what_was_written_is_marked() {
    let memory = memory();
    let marked = || -> Vec<u64> {
        let pages = (0..END).step_by(0x1000).filter(|at| {
            let (region, offset) = memory.to_region_addr(GuestAddress(*at)).unwrap();
            (**region).bitmap().dirty_at(offset.0 as usize)
        });
        pages.collect()
    };
    let clean = || memory.iter().for_each(|region| (**region).bitmap().reset());
    let buffers = [Buffer::writable(SEAM - 0x1000, 0x2000), Buffer::writable(0xa000, 0x3000)];
    let mut queue = queue_with(&memory, &buffers);
    let mut pieces = chain_of(&memory, &mut queue).unwrap().writable;
    let file = temporary_file(&[7; 0x2800]);

    clean();
    let read = pieces.fill(|to| to.read(&file)).unwrap();
    assert_eq!((read, marked()), (0x2800, vec![0xa000, SEAM - 0x1000, SEAM]));

    clean();
    assert_eq!(pieces.fill(|to| Ok(to.copy_from(&[1; 0x1001]))).unwrap(), 0x1001);
    assert_eq!(marked(), [SEAM - 0x1000, SEAM]);

    clean();
    let back = pieces.split_back(0x1001).unwrap();
    back.fill(|to| to.read_exact_at(&file, 0)).unwrap();
    assert_eq!(marked(), [0xb000, 0xc000]);
    back.copy_from(b"text");
    pieces.gather().write_all_at(&file, 0).unwrap();
    assert_eq!(marked(), [0xb000, 0xc000]);

    // It cannot be said how far a read came that failed.
    clean();
    pieces.fill(|to| to.read_exact_at(&file, 0x2000)).unwrap_err();
    assert_eq!(marked(), [0xa000, 0xb000, SEAM - 0x1000, SEAM]);
}

#[test]
fn streams_are_read_until_they_would_block() {
    let memory = memory();
    let (here, there) = UnixDatagram::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let buffers =
        [Buffer::readable(0x9000, 4), Buffer::writable(0x9002, 1), Buffer::writable(0x9003, 9)];
    let mut queue = queue_with(&memory, &buffers);
    let chain = chain_of(&memory, &mut queue).unwrap();
    memory.write_slice(b"ping", GuestAddress(0x9000)).unwrap();
    assert_eq!(chain.readable.gather().write(&there).unwrap(), 4);
    assert_eq!(chain.writable.fill(|to| to.read(&here)).unwrap(), 4);
    assert_eq!(memory.read_obj::<[u8; 6]>(GuestAddress(0x9000)).unwrap(), *b"piping");
    let error = chain.writable.fill(|to| to.read(&here)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}
