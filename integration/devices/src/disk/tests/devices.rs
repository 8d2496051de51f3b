//! Block devices of the host, where tests may make loop devices.

use super::*;

/// A loop device on an image, until this is dropped.
struct Loop {
    device: PathBuf,
    _image: Temporary,
}

impl Loop {
    /// `None` where there are none.
    fn new(sectors: u64, block: u32) -> Option<Self> {
        let image = Temporary::image(sectors);
        let block = block.to_string();
        let output = Command::new("losetup")
            .args(["--find", "--show", "--sector-size", &block])
            .arg(&image.0)
            .output();
        match output {
            Ok(output) if output.status.success() => {
                let device = String::from_utf8(output.stdout).unwrap().trim().into();
                Some(Self { device, _image: image })
            }
            other => {
                eprintln!("skipped: no loop devices ({other:?})");
                None
            }
        }
    }

    /// Others that look at new devices may be at it for a moment.
    fn open(&self, options: &DiskOptions) -> FileDisk {
        let mut tries = 0..1000;
        loop {
            match FileDisk::open(&self.device, options) {
                Err(DiskError { reason: DiskFault::InUse { .. }, .. })
                    if tries.next().is_some() =>
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                result => return result.unwrap(),
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

#[test]
fn devices_are_disks() {
    for block in [512, 4096] {
        for direct in [false, true] {
            let Some(device) = Loop::new(4096, block) else { return };
            let disk = device.open(&DiskOptions::new().direct(direct));
            assert_eq!(disk.size_bytes(), 4096 * 512);
            assert_eq!(disk.block_sizes().logical, block);
            let again = FileDisk::open(&device.device, &DiskOptions::new()).unwrap_err();
            assert!(matches!(again.reason, DiskFault::InUse { .. }), "{again}");
            let later = DiskOptions::new().lock_later(true);
            let heir = FileDisk::open(&device.device, &later).unwrap();
            assert!(matches!(heir.lock().unwrap_err().reason, DiskFault::InUse { .. }));
            disk.unlock();
            heir.lock().unwrap();
            assert!(matches!(disk.lock().unwrap_err().reason, DiskFault::InUse { .. }));
            heir.unlock();
            disk.lock().unwrap();

            // Sectors in the middle of blocks, in memory at any place.
            let mut model: Vec<u8> = (0..4096 * 512).map(|at| (at / 512) as u8).collect();
            let mut data = vec![0xab; 1 + 21 * 512];
            write(&disk, 1003 * 512, &data[1..]).unwrap();
            model[1003 * 512..1024 * 512].fill(0xab);
            disk.write_zeroes(2001 * 512, 3 * 512, false).unwrap();
            model[2001 * 512..2004 * 512].fill(0);
            disk.write_zeroes(2048 * 512, 512 * 512, true).unwrap();
            model[2048 * 512..2560 * 512].fill(0);
            disk.discard(3072 * 512, 256 * 512).unwrap();
            disk.flush().unwrap();
            disk.read_at(&mut Scatter::from(&mut data[1..]), 1000 * 512).unwrap();
            assert!(data[1..] == model[1000 * 512..1021 * 512]);
            let all = read(&disk, 0, model.len()).unwrap();
            for (sector, (got, expected)) in all.chunks(512).zip(model.chunks(512)).enumerate() {
                // What was discarded may be anything.
                assert!(
                    (3072..3328).contains(&sector) || got == expected,
                    "{sector} {block} {direct}"
                );
            }
        }
    }
}

#[test]
#[ignore = "it is a process of another test"]
fn lose_what_was_written() {
    let Some(path) = path_of_this_process() else { return };
    let disk = FileDisk::open(&path, &DiskOptions::new()).unwrap();
    for megabyte in 0..8 {
        write(&disk, megabyte << 20, &[7; 1 << 20]).unwrap();
    }
    assert!(disk.flush().is_err());
    // The kernel has forgotten it, and would say that all is well.
    assert!(disk.flush().is_err());
    assert_eq!(read(&disk, 0, 512).unwrap().len(), 512);
    println!("noticed");
}

/// A device whose host has less room than it says, as thin ones may.
#[test]
fn what_is_lost_is_told_for_ever() {
    let folder = Temporary::new();
    std::fs::create_dir(&folder.0).unwrap();
    let script = r#"
        mount -t tmpfs -o size=1m tmpfs "$0" && truncate -s 16M "$0/image" || exit 99
        device=$(losetup --find --show "$0/image") || exit 99
        PSERIES_DEVICES_TEST_PATH="$device" "$@"
        status=$?
        losetup --detach "$device"
        exit $status"#;
    let before = ["unshare", "--mount", "sh", "-c", script, folder.0.to_str().unwrap()];
    let test = "disk::tests::devices::lose_what_was_written";
    let output = this_program(&before, test, Path::new("")).output();
    std::fs::remove_dir(&folder.0).unwrap();
    expect_or_skip(output, "noticed");
}
