//! What is read, written, and made to last.

use super::*;

/// A disk by direct I/O, where the file system has it.
fn direct_disk(image: &Temporary) -> Option<FileDisk> {
    match image.open_unlocked(&DiskOptions::new().direct(true)) {
        Ok(disk) => Some(disk),
        Err(DiskError { reason: DiskFault::NoDirectIo, .. }) => {
            eprintln!("skipped: no direct I/O");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_is_behind_the_end_is_refused() {
    let image = Temporary::image(8);
    let disk = image.disk();
    for offset in [8 * 512, 7 * 512 + 1, u64::MAX, i64::MAX as u64] {
        assert!(read(&disk, offset, 512).is_err());
        assert!(write(&disk, offset, &[1; 512]).is_err());
        assert!(disk.discard(offset, 512).is_err());
        assert!(disk.write_zeroes(offset, 512, false).is_err());
    }
    drop(disk);
    assert_eq!(std::fs::metadata(&image.0).unwrap().len(), 8 * 512);
}

#[test]
fn a_file_that_became_shorter_is_an_error() {
    let image = Temporary::image(64);
    let directs = [false, true];
    for direct in directs {
        image.fill(64);
        let Some(disk) = (if direct { direct_disk(&image) } else { Some(image.disk()) }) else {
            continue;
        };
        OpenOptions::new().write(true).open(&image.0).unwrap().set_len(10 * 512 + 7).unwrap();
        assert_eq!(read(&disk, 0, 512).unwrap(), [0; 512]);
        assert!(read(&disk, 10 * 512, 512).is_err());
        assert_eq!(read(&disk, 63 * 512, 512).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert!(read(&disk, 9 * 512, 4 * 512).is_err());
    }
}

/// What was read just now is there without waiting, but past the page cache; what is not there is
/// an error at once.
#[test]
fn what_the_host_has_at_hand_is_read_without_waiting() {
    let image = Temporary::image(64);
    let at_hand = |disk: &FileDisk, offset, bytes| {
        let mut data = vec![0xff; bytes];
        let read = disk.try_read_at(&mut Scatter::from(&mut data[..]), offset);
        read.map(|is_read| is_read.then_some(data))
    };
    let disk = image.disk();
    let expected = read(&disk, 512, 63 * 512).unwrap();
    match at_hand(&disk, 512, 63 * 512).unwrap() {
        Some(data) => assert_eq!(data, expected),
        // As some have it that lie on top of others.
        None => return eprintln!("skipped: the file system cannot tell"),
    }
    for (offset, bytes) in [(64 * 512, 512), (63 * 512, 1024), (u64::MAX - 511, 512)] {
        assert!(at_hand(&disk, offset, bytes).is_err());
    }
    OpenOptions::new().write(true).open(&image.0).unwrap().set_len(10 * 512).unwrap();
    let error = at_hand(&disk, 8 * 512, 4 * 512).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(at_hand(&disk, 8 * 512, 1024).unwrap(), Some([[8; 512], [9; 512]].concat()));
    drop(disk);
    image.fill(64);
    if let Some(disk) = direct_disk(&image) {
        assert_eq!(at_hand(&disk, 0, 512).unwrap(), None);
    }
}

/// As files of tmpfs are: nothing is waited for, whatever the file system knows of that.
#[test]
fn files_in_memory_are_at_hand() {
    let folder = Path::new("/dev/shm");
    let image = Temporary::below(folder);
    if std::fs::write(&image.0, [7; 1024]).is_err() {
        eprintln!("skipped: no {}", folder.display());
        return;
    }
    let disk = image.disk();
    let mut data = [0; 512];
    assert!(disk.try_read_at(&mut Scatter::from(&mut data[..]), 512).unwrap());
    assert_eq!(data, [7; 512]);
}

#[test]
#[ignore = "it is a process of another test"]
fn fill_a_file_system() {
    let Some(path) = path_of_this_process() else { return };
    File::create(&path).unwrap().set_len(16 << 20).unwrap();
    let disk = FileDisk::open(&path, &DiskOptions::new()).unwrap();
    let failed = (0..16).find_map(|number| write(&disk, number << 20, &[7; 1 << 20]).err());
    assert_eq!(failed.unwrap().kind(), ErrorKind::StorageFull);
    // What is there can be read, flushed and given back, and then there is space again.
    assert_eq!(read(&disk, 0, 512).unwrap(), [7; 512]);
    disk.flush().unwrap();
    disk.discard(0, 16 << 20).unwrap();
    write(&disk, 8 << 20, &[8; 512]).unwrap();
    println!("went on");
}

/// In a file system of its own that has room for 256 KiB.
#[test]
fn a_full_file_system_is_an_error() {
    let folder = Temporary::new();
    std::fs::create_dir(&folder.0).unwrap();
    let script = r#"mount -t tmpfs -o size=256k tmpfs "$0" || exit 99; exec "$@""#;
    let image = folder.0.join("image");
    let place = folder.0.to_str().unwrap();
    let before = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, place];
    let test = "disk::tests::transfers::fill_a_file_system";
    let output = this_program(&before, test, &image).output();
    std::fs::remove_dir(&folder.0).unwrap();
    expect_or_skip(output, "went on");
}

#[test]
#[ignore = "it is a process of another test"]
fn write_beyond_a_limit() {
    let Some(path) = path_of_this_process() else { return };
    let disk = FileDisk::open(&path, &DiskOptions::new()).unwrap();
    write(&disk, 0, &[1; 512]).unwrap();
    let error = write(&disk, 63 * 512, &[1; 512]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
    println!("went on");
}

/// For a process that ignores SIGXFSZ, as a VMM should.
#[test]
fn files_that_may_not_grow_are_an_error() {
    let image = Temporary::image(64);
    // In units of 512 bytes.
    let script = r#"trap "" XFSZ; ulimit -f 8; exec "$0" "$@""#;
    let before = ["sh", "-c", script];
    let test = "disk::tests::transfers::write_beyond_a_limit";
    expect_or_skip(this_program(&before, test, &image.0).output(), "went on");
}

#[test]
fn space_is_given_back_and_zeroed() {
    let folders = [std::env::temp_dir(), PathBuf::from("/dev/shm")];
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for direct in [false, true] {
            let image = Temporary::below(folder);
            image.fill(4096);
            let Some(disk) = (if direct { direct_disk(&image) } else { Some(image.disk()) }) else {
                continue;
            };
            let used = || std::fs::metadata(&image.0).unwrap().blocks();
            disk.flush().unwrap();
            let before = used();
            disk.discard(1 << 20, 1 << 19).unwrap();
            disk.write_zeroes(3 << 19, 1 << 18, true).unwrap();
            disk.flush().unwrap();
            assert!(used() < before, "{folder:?}");
            // Ends that are in the middle of a block; no space is given back.
            let before = used();
            disk.write_zeroes(512, 3 * 512, false).unwrap();
            disk.write_zeroes(9 * 512, 1024 * 512, false).unwrap();
            disk.discard(2040 * 512, 3 * 512).unwrap();
            disk.flush().unwrap();
            assert!(used() >= before, "{folder:?}");
            let data = read(&disk, 0, 4096 * 512).unwrap();
            for (sector, bytes) in data.chunks(512).enumerate() {
                let is_gone = matches!(sector, 1..=3 | 9..=1032 | 2040..=2042 | 2048..=3583);
                let is_left = bytes == [sector as u8; 512];
                let is_zero = bytes == [0; 512];
                assert!(if is_gone { is_zero } else { is_left }, "{folder:?} {sector}");
            }
        }
    }
}

/// With a generator of its own, so that a failure can be seen again.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Sectors at any place and in any memory, where the host wants blocks of 4096 bytes.
#[test]
fn parts_of_blocks_are_written_in_whole_blocks() {
    for alignment in [
        Alignment { memory: 4096, block: 4096 },
        Alignment { memory: 512, block: 4096 },
        Alignment { memory: 512, block: 512 },
    ] {
        let image = Temporary::image(4096);
        let file = OpenOptions::new().read(true).write(true).open(&image.0).unwrap();
        let mut model = std::fs::read(&image.0).unwrap();
        let direct = Direct::new(alignment);
        let mut numbers = Numbers(0x1234_5678_9abc_def1);
        for round in 0..300u64 {
            let offset = numbers.below(4096) * 512;
            let most = if round % 50 == 0 { 4096 } else { 20 };
            let sectors = 1 + numbers.below(most).min(4095 - offset / 512);
            let range = offset as usize..(offset + sectors * 512) as usize;
            if numbers.below(2) == 0 {
                let fill = numbers.below(256) as u8;
                model[range.clone()].fill(fill);
                let mut data = model[range].to_vec();
                data.insert(0, 0); // not aligned
                let mut from = Gather::from(&data[1..]);
                let _guard = direct.guard(offset, sectors * 512);
                direct.write_at(&file, &mut from, offset).unwrap();
                assert!(from.is_empty());
            } else {
                let mut data = vec![0; range.len() + 1];
                direct.read_at(&file, &mut Scatter::from(&mut data[1..]), offset).unwrap();
                assert_eq!(data[1..], model[range]);
            }
        }
        assert_eq!(std::fs::read(&image.0).unwrap(), model);
    }
}

/// Threads that write sectors of the same blocks do not undo each other's.
#[test]
fn parts_of_a_block_are_not_lost() {
    let image = Temporary::image(64);
    let file = OpenOptions::new().read(true).write(true).open(&image.0).unwrap();
    let direct = Direct::new(Alignment { memory: 512, block: 4096 });
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (direct, file) = (&direct, &file);
            scope.spawn(move || {
                for round in 0..200u64 {
                    // Whole blocks now and then, far from the others.
                    let (sector, sectors) =
                        if round % 8 == 0 { (32 + thread * 8, 8) } else { (thread, 1) };
                    let data = vec![round as u8; sectors * 512];
                    let _guard = direct.guard(sector * 512, data.len() as u64);
                    direct.write_at(file, &mut Gather::from(&data[..]), sector * 512).unwrap();
                }
            });
        }
    });
    let data = std::fs::read(&image.0).unwrap();
    assert_eq!(data[..4 * 512], [199; 4 * 512]);
    assert_eq!(data[4 * 512..8 * 512], (4..8).flat_map(|n| [n; 512]).collect::<Vec<u8>>());
}

#[test]
fn direct_images_are_whole_blocks() {
    let image = Temporary::image(9);
    let disk = match image.open_unlocked(&DiskOptions::new().direct(true)) {
        // Blocks are larger than sectors here.
        Err(DiskError { reason: DiskFault::Size { bytes: 4608, unit }, .. }) => {
            assert_ne!(4608 % unit, 0);
            return;
        }
        Err(DiskError { reason: DiskFault::NoDirectIo, .. }) => return,
        other => other.unwrap(),
    };
    assert_eq!(read(&disk, 8 * 512, 512).unwrap(), [8; 512]);
    write(&disk, 8 * 512, &[1; 512]).unwrap();
    disk.flush().unwrap();
    assert_eq!(std::fs::read(&image.0).unwrap()[8 * 512..], [1; 512]);
}
