//! What is a disk, and whose.

use super::*;

fn fault(path: &Path, options: &DiskOptions) -> DiskFault {
    let error = FileDisk::open(path, options).unwrap_err();
    assert_eq!(error.path, path);
    assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
    error.reason
}

#[test]
fn what_is_no_disk_is_named() {
    let options = DiskOptions::new();
    let message = |path: &Path| fault(path, &options).to_string();
    assert!(message(Path::new("/nonexistent/disk.img")).contains("No such file"));
    assert!(message(Path::new("")).contains("No such file"));
    assert!(message(Path::new("/")).contains("a directory"));
    assert!(message(Path::new("/dev/null")).contains("a character device"));
    assert!(message(Path::new("/dev/full")).contains("a character device"));
    let socket = Temporary::new();
    let _listener = UnixListener::bind(&socket.0).unwrap();
    assert!(message(&socket.0).contains("a socket"));
    let pipe = Temporary::new();
    assert!(Command::new("mkfifo").arg(&pipe.0).status().unwrap().success());
    assert!(message(&pipe.0).contains("a pipe"));

    let file = Temporary::new();
    for (bytes, words) in [(0, "empty"), (1, "1 bytes is not"), (511, "512"), (1025, "512")] {
        File::create(&file.0).unwrap().set_len(bytes).unwrap();
        assert!(message(&file.0).contains(words), "{}", message(&file.0));
    }
    File::create(&file.0).unwrap().set_len(512).unwrap();
    assert_eq!(file.disk().size_bytes(), 512);
}

#[test]
fn other_formats_are_refused_unless_raw_is_meant() {
    let image = Temporary::new();
    for (format, at, magic) in [
        ("qcow2", 0, &b"QFI\xfb\0\0\0\x03"[..]),
        ("VHDX", 0, b"vhdxfile"),
        ("VMDK", 0, b"KDMV"),
        ("VMDK", 0, b"# Disk DescriptorFile\n"),
        ("VDI", 64, b"\x7f\x10\xda\xbe"),
    ] {
        let mut data = vec![0; 4096];
        data[at..at + magic.len()].copy_from_slice(magic);
        std::fs::write(&image.0, &data).unwrap();
        let error = fault(&image.0, &DiskOptions::new());
        assert!(matches!(error, DiskFault::Format { format: named } if named == format), "{error}");
        assert!(error.to_string().contains("qemu-img convert -O raw"));
        let raw = image.open_unlocked(&DiskOptions::new().image_type(ImageType::Raw)).unwrap();
        assert_eq!(read(&raw, 0, 4096).unwrap(), data);
    }
    let qcow2 = fault(&image.0, &DiskOptions::new().image_type(ImageType::Qcow2));
    assert!(qcow2.to_string().contains("qcow2"));
}

#[test]
fn what_cannot_be_written_is_refused_by_name() {
    // Nobody can write there, not even root.
    let path = Path::new("/sys/kernel/notes");
    if !path.is_file() {
        eprintln!("skipped: no {path:?}");
        return;
    }
    let error = fault(path, &DiskOptions::new());
    assert!(matches!(error, DiskFault::ReadOnly(_)), "{error}");
    assert!(error.to_string().contains("readonly=on"));

    let image = Temporary::image(8);
    let disk = image.open_unlocked(&DiskOptions::new().read_only(true)).unwrap();
    assert!(disk.is_read_only());
    assert_eq!(read(&disk, 512, 512).unwrap(), [1; 512]);
    assert!(write(&disk, 0, &[0; 512]).is_err());
    assert!(disk.discard(0, 512).is_err());
    assert!(disk.write_zeroes(0, 512, true).is_err());
    disk.flush().unwrap();
}

#[test]
fn writers_are_alone() {
    let image = Temporary::image(8);
    let writes = DiskOptions::new();
    let reads = DiskOptions::new().read_only(true);
    let writer = image.disk();
    assert!(matches!(fault(&image.0, &writes), DiskFault::InUse { to_write: true }));
    assert!(matches!(fault(&image.0, &reads), DiskFault::InUse { to_write: false }));
    drop(writer);
    let readers = [image.open_unlocked(&reads).unwrap(), image.open_unlocked(&reads).unwrap()];
    assert!(matches!(fault(&image.0, &writes), DiskFault::InUse { to_write: true }));
    drop(readers);
    image.disk();
}

#[test]
fn a_lock_is_handed_over() {
    let image = Temporary::image(8);
    let later = DiskOptions::new().lock_later(true);
    let (from, to) = (image.disk(), image.open(&later).unwrap());
    let in_use = |disk: &FileDisk| {
        let error = disk.lock().unwrap_err();
        assert_eq!(error.path, image.0);
        assert!(matches!(error.reason, DiskFault::InUse { to_write: true }), "{error}");
    };
    in_use(&to);
    write(&from, 512, &[9; 512]).unwrap();
    from.lock().unwrap();
    from.unlock();
    from.unlock();
    to.lock().unwrap();
    assert_eq!(read(&to, 512, 512).unwrap(), [9; 512]);
    // Who let go of it may want it again.
    in_use(&from);
    to.unlock();
    from.lock().unwrap();
    in_use(&to);
    // Several may read.
    from.unlock();
    let reader = image.open_unlocked(&DiskOptions::new().read_only(true)).unwrap();
    let other = image.open(&later.clone().read_only(true)).unwrap();
    other.lock().unwrap();
    let writer = image.open(&later).unwrap();
    in_use(&writer);
    reader.unlock();
    other.unlock();
    writer.lock().unwrap();
}

#[test]
#[ignore = "it is a process of another test"]
fn hold_a_disk() {
    let Some(path) = path_of_this_process() else { return };
    let _disk = FileDisk::open(&path, &DiskOptions::new()).unwrap();
    println!("held");
    io::stdout().flush().unwrap();
    // Until it is killed.
    let _ = io::stdin().read(&mut [0]);
}

#[test]
fn a_lock_ends_with_its_process() {
    let image = Temporary::image(8);
    let mut child: Child =
        this_program(&[], "disk::tests::open::hold_a_disk", &image.0).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut text = String::new();
    while !text.contains("held") {
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();
        text.push(char::from(byte[0]));
    }
    assert!(matches!(fault(&image.0, &DiskOptions::new()), DiskFault::InUse { .. }));
    // As by kill -9.
    child.kill().unwrap();
    child.wait().unwrap();
    image.disk();
}
