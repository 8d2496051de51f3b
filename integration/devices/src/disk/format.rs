//! What a disk image is, by its first bytes.

/// The format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ImageType {
    /// The blocks of the disk, and nothing else.
    Raw,
    /// QEMU's, which there is nothing for at present.
    Qcow2,
}

/// How many bytes [`recognise`] wants to see.
pub(super) const HEAD_BYTES: usize = 512;

/// Where each format has its magic number.
const MAGIC: [(&str, usize, &[u8]); 9] = [
    ("qcow2", 0, b"QFI\xfb"),
    ("QED", 0, b"QED\0"),
    ("VHDX", 0, b"vhdxfile"),
    ("VHD", 0, b"conectix"),
    ("VMDK", 0, b"KDMV"),
    ("VMDK", 0, b"# Disk DescriptorFile"),
    ("VDI", 64, b"\x7f\x10\xda\xbe"),
    ("Parallels", 0, b"WithoutFreeSpace"),
    ("Parallels", 0, b"WithouFreSpacExt"),
];

/// Which format the first bytes are of, unless that is none. Nothing but the magic number is
/// looked at.
pub(super) fn recognise(head: &[u8; HEAD_BYTES]) -> Option<&'static str> {
    MAGIC.iter().find(|(_, at, magic)| head[*at..].starts_with(magic)).map(|(name, ..)| *name)
}
