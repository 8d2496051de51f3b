//! A disk of the host as the client interface sees it.

use std::sync::Arc;

use vof_device::block::{BlockDevice, BlockPackage};
use vof_device::test_utils::{TestMachine, sample_tree};

use super::*;

#[test]
fn clients_have_the_disk_that_devices_have() {
    let image = Temporary::image(64);
    let disk = Arc::new(image.disk());
    let client = ClientDisk::new(disk.clone());
    assert_eq!((client.size_bytes(), client.block_bytes()), (64 * 512, 512));
    assert!(!client.is_read_only());
    write(&*disk, 7 * 512, &[0xaa; 1024]).unwrap();
    let mut data = [0; 1536];
    client.read(&mut data, 6 * 512).unwrap();
    assert_eq!((data[511], data[512], data[1535]), (6, 0xaa, 0xaa));
    client.write(&[0xbb; 512], 8 * 512).unwrap();
    client.flush().unwrap();
    assert_eq!(read(&*disk, 7 * 512, 1024).unwrap()[511..513], [0xaa, 0xbb]);
    // What is not there is an error, and nothing is written there.
    for offset in [64 * 512, 63 * 512 + 1, u64::MAX - 1] {
        assert!(client.read(&mut data, offset).is_err());
        assert!(client.try_read(&mut data, offset).is_err());
        assert!(client.write(&data, offset).is_err());
    }
    assert_eq!(std::fs::metadata(&image.0).unwrap().len(), 64 * 512);
    drop((disk, client));
    let read_only = image.open_unlocked(&DiskOptions::new().read_only(true)).unwrap();
    let client = ClientDisk::new(Arc::new(read_only));
    assert!(client.is_read_only());
    assert_eq!(client.write(&[1; 512], 0).unwrap_err().raw_os_error(), Some(libc::EROFS));
}

/// "Else false": never other bytes.
#[test]
fn what_is_at_hand_is_what_is_there() {
    let image = Temporary::image(2048);
    let disk = ClientDisk::new(Arc::new(image.disk()));
    let mut data = vec![0; 1 << 19];
    // It was written just now.
    if disk.try_read(&mut data, 512 * 512).unwrap() {
        assert!(data.iter().enumerate().all(|(at, &byte)| byte == (at / 512) as u8));
    } else {
        eprintln!("skipped: this file system cannot tell what is at hand");
    }
    // A file that became shorter has not got it, at hand or not.
    OpenOptions::new().write(true).open(&image.0).unwrap().set_len(512 * 512).unwrap();
    for offset in [512 * 512, 256 * 512] {
        match disk.try_read(&mut data, offset) {
            Ok(is_read) => assert!(!is_read),
            Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
        }
    }
    assert_eq!(disk.read(&mut data, 256 * 512).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    drop(disk);
    // Past the page cache, nothing is.
    if let Ok(direct) = image.open_unlocked(&DiskOptions::new().direct(true)) {
        let disk = ClientDisk::new(Arc::new(direct));
        assert!(!disk.try_read(&mut data[..512], 0).unwrap());
        disk.read(&mut data[..512], 0).unwrap();
        assert_eq!(data[..512], [0; 512]);
    }
}

/// By the calls of a client.
#[test]
fn clients_read_and_write_files() {
    let image = Temporary::image(4096);
    for direct in [false, true] {
        let Ok(disk) = image.open_unlocked(&DiskOptions::new().direct(direct)) else { continue };
        let package = BlockPackage::new(Arc::new(ClientDisk::new(Arc::new(disk))));
        let machine = TestMachine::new(sample_tree(), 16 << 20, |builder| {
            builder.package("disk", Arc::new(package))
        });
        let client = machine.client();
        let ihandle = client.one("open", &["disk:0".into()]);
        let (buffer, len) = (0x10_0000, 3 * 512 + 9);
        let seek = || client.one("seek", &[ihandle.into(), 0.into(), (1000 * 512 - 5).into()]);
        let transfer = [ihandle.into(), buffer.into(), len.into()];
        assert_eq!((seek(), client.one("read", &transfer)), (0, len));
        let text = client.peek(buffer, len as usize);
        assert_eq!((text[4], text[5], text[len as usize - 1]), (231, 232, 235));
        client.poke(buffer, &vec![0x77; len as usize]);
        assert_eq!((seek(), client.one("write", &transfer)), (0, len));
        let file = std::fs::read(&image.0).unwrap();
        assert_eq!(file[1000 * 512 - 5..1003 * 512 + 4], vec![0x77; len as usize]);
        assert_eq!((file[1000 * 512 - 6], file[1003 * 512 + 4]), (231, 235));
        drop(machine);
        image.fill(4096);
    }
}
