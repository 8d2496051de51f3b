//! How much of the host's memory a guest can make a disk take, by all threads together: in a
//! process of its own, as nobody else is to be counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use arch_ppc64::CpuIndex;
use vof_device::block::BlockPackage;
use vof_device::limits::{
    MAX_DISK_BYTES, MAX_DISK_EXTENTS, MAX_DISK_TRANSFER_BYTES, MAX_INSTANCES, MAX_OPENINGS,
    MAX_PATH_BYTES,
};
use vof_device::test_utils::iso::NewIso;
use vof_device::test_utils::{CALL_AGAIN, TestDisk, TestMachine, sample_tree};

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

struct Counting;

// SAFETY: the system's allocator does everything; counting it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let bytes = layout.size() as isize;
        PEAK.fetch_max(LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Files in as many pieces as can be, open as often as can be, by the longest paths.
#[test]
fn a_disk_takes_no_more_than_its_share() {
    const PIECES: usize = MAX_DISK_EXTENTS / MAX_INSTANCES;
    let iso = NewIso { section_bytes: 2048, ..NewIso::default() };
    let disk = Arc::new(TestDisk::new(iso.image(&[("file", &vec![1; PIECES * 2048])])));
    let package = Arc::new(BlockPackage::new(disk.clone()));
    let machine =
        TestMachine::new(sample_tree(), 16 << 20, |builder| builder.package("disk", package));
    let client = machine.client();
    // Names that mean nothing lead to the file.
    let alias = "/vdevice/v-scsi@2000:";
    let dots = "\\.".repeat((MAX_PATH_BYTES - alias.len() - "\\file".len()) / 2);
    let path = format!("{alias}{dots}\\file");
    assert!(path.len() >= MAX_PATH_BYTES - 1);

    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let open = || client.one("open", &[path.as_str().into()]);
    let handles: Vec<u32> = (0..MAX_INSTANCES).map(|_| open()).filter(|&it| it != 0).collect();
    assert!(handles.len() >= MAX_INSTANCES - 8, "{} are open", handles.len());
    disk.set_at_hand(false);
    for &ihandle in &handles {
        let read = [ihandle.into(), 0x10_0000.into(), 0x1000.into()];
        client.try_call("read", &read, 1);
    }
    client.call("close", &[handles[0].into()], 0);
    disk.hold();
    for cpu in 1..=MAX_OPENINGS as u32 {
        let client = client.on_cpu(CpuIndex(cpu));
        assert_eq!(client.try_call("open", &[path.as_str().into()], 1).status, CALL_AGAIN);
    }
    disk.release();
    let taken = (PEAK.load(Ordering::Relaxed) - before) as usize;
    let share = (MAX_INSTANCES + MAX_OPENINGS) * (MAX_PATH_BYTES + 640) + MAX_DISK_BYTES;
    println!("{taken} of {share} bytes, of which the buffer is {MAX_DISK_TRANSFER_BYTES}");
    assert!(taken <= share, "{taken} of {share} bytes");
    assert!(taken >= share / 2, "{taken} of {share} bytes: the share is not only an upper bound");
    drop(machine);
    let left = LIVE.load(Ordering::Relaxed) - before;
    assert!(left < 64 << 10, "{left} bytes are left");
}
