//! A boot loader that is a Linux, as petitboot is one: an initial RAM disk for the guest's kernel that
//! finds systems on disks, shows a menu and starts what is chosen by kexec.

use std::path::{Path, PathBuf};

use crate::cache::{self, Fetched};
use crate::cpio::Archive;
use crate::deb;
use crate::failure::Result;
use crate::folders;
use crate::guest::{self, Guest};
use crate::kexec::KEXEC;
use crate::modules::Modules;
use crate::package_files::{self, C_LIBRARY, LIBRARIES};

/// Its first program.
const INIT: &str = include_str!("../guest/petitboot/init");

/// What reads boot loaders' files.
const ENTRIES: &str = include_str!("../guest/petitboot/entries.awk");

/// Disks, and what may be on them.
const MODULES: [&str; 12] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "sr_mod",
    "crc32c_generic",
    "ext4",
    "isofs",
    "nls_ascii",
    "nls_cp437",
    "vfat",
    "xfs",
];

/// Fetches what is missing and builds what is out of date. Gives the initial RAM disk.
pub(crate) fn make(guest: &Guest, refresh: bool) -> Result<PathBuf> {
    let kexec = package_files::set("petitboot", "kexec for POWER", KEXEC);
    let fetched = cache::fetch(&kexec, refresh)?;
    let path = guest::folder().join("petitboot.cpio");
    let of_guest = &guest.packages;
    let modules = MODULES.join(" ");
    let source = [&of_guest.manifest, &fetched.manifest, INIT, ENTRIES, &modules].concat();
    guest::build("petitboot", &source, &[&path], |unpacked| {
        folders::write(&path, &initramfs(guest, &fetched, unpacked)?)
    })?;
    Ok(path)
}

/// Not compressed: most of it is read once, by a kernel that may run on a processor in software.
fn initramfs(guest: &Guest, fetched: &Fetched, unpacked: &Path) -> Result<Vec<u8>> {
    // Of the kernel that the guest has: modules fit no other one.
    let of_guest = &guest.packages;
    deb::unpack(of_guest.package("linux-image-")?, unpacked, &["./lib/modules/*"])?;

    let mut archive = Archive::default();
    for folder in
        ["bin", "dev", "lib64", "proc", "root", "run", "sbin", "sys", "usr", "usr/bin", "usr/sbin"]
    {
        archive.folder(folder);
    }
    archive.character_device("dev/console", 5, 1);
    archive.program("bin/busybox", &folders::read(&guest.busybox)?);
    // The kernel runs it for what a module or a file system needs.
    archive.symlink("sbin/modprobe", "../bin/busybox");
    archive.program("init", INIT.as_bytes());
    archive.file("entries.awk", ENTRIES.as_bytes());
    let modules = guest::only_entry(&unpacked.join("lib/modules"))?;
    Modules::find(&modules, &MODULES)?.add_to(&mut archive);
    archive.folder(LIBRARIES);
    package_files::add(&C_LIBRARY, of_guest, unpacked, &mut archive)?;
    package_files::add(KEXEC, fetched, unpacked, &mut archive)?;
    Ok(archive.finish())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::program::filter;

    /// As busybox's awk, the machine's own reads boot loaders' files.
    fn entries(language: &str, text: &str) -> String {
        let mut awk = Command::new("awk");
        let entries =
            filter(awk.args(["-v", &format!("language={language}"), ENTRIES]), text.as_bytes());
        String::from_utf8(entries.unwrap()).unwrap()
    }

    #[test]
    fn what_grub_reads_is_read() {
        let menu = r#"
set default="0"
if [ x$feature_menuentry_id = xy ]; then menuentry_id_option="--id"; fi
set options="root=UUID=1-2 ro"
menuentry 'Debian, with "x" and $y' --class debian $menuentry_id_option 'simple' {
    insmod part_gpt
    if [ x$grub_platform = xxen ]; then insmod xzio; fi
    search --no-floppy --fs-uuid --set=root 1-2
    echo 'Loading Linux ...'
    linux   /boot/vmlinux-6.1 root=UUID=1-2 ro  quiet a=\$x # a remark
    initrd  /boot/initrd.img-6.1
}
submenu 'Advanced options' {
    menuentry "Other ${options}" {
        linux ($root)/vmlinuz $options "a b"
        initrd (hd0,gpt2)/i1 /i2
    }
    menuentry 'System setup' { fwsetup }
}
menuentry one { linux /k x=1; }
"#;
        let wanted = "Debian, with \"x\" and $y\t/boot/vmlinux-6.1\t/boot/initrd.img-6.1\t\
                      root=UUID=1-2 ro quiet a=$x\n\
                      Other root=UUID=1-2 ro\t()/vmlinuz\t(hd0,gpt2)/i1 /i2\troot=UUID=1-2 ro a b\n\
                      one\t/k\t\tx=1\n";
        assert_eq!(entries("grub", menu), wanted);
    }

    #[test]
    fn loader_entries_are_read() {
        let entry = "# One.\ntitle  A title\nversion 6.1\nlinux /vmlinuz\ninitrd /a\ninitrd /b\n\
                     options root=LABEL=x\noptions quiet\r\n";
        assert_eq!(entries("loader", entry), "A title\t/vmlinuz\t/a /b\troot=LABEL=x quiet\n");
        assert_eq!(entries("loader", "version 6.1\nlinux /v\n"), "6.1\t/v\t\t\n");
        assert_eq!(entries("loader", "title no kernel\n"), "");
    }
}
