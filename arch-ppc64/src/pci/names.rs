//! What nodes of functions are called.

/// Base class and sub-class, and the generic name (IEEE 1275, "Generic Names" recommended practice,
/// and PCI bus binding §2.2.2.2). Where a sub-class is not here, its class is by [`CLASSES`].
#[rustfmt::skip]
const SUBCLASSES: &[(u16, &str)] = &[
    (0x0001, "display"),
    (0x0100, "scsi"),
    (0x0101, "ide"),
    (0x0102, "fdc"),
    (0x0103, "ipi"),
    (0x0104, "raid"),
    (0x0105, "ata"),
    (0x0106, "sata"),
    (0x0107, "sas"),
    (0x0108, "nvme"),
    (0x0200, "ethernet"),
    (0x0201, "token-ring"),
    (0x0202, "fddi"),
    (0x0203, "atm"),
    (0x0204, "isdn"),
    (0x0300, "vga"),
    (0x0400, "video"),
    (0x0401, "sound"),
    (0x0402, "telephony"),
    (0x0500, "memory"),
    (0x0501, "flash"),
    (0x0601, "isa"),
    (0x0700, "serial"),
    (0x0701, "parallel"),
    (0x0703, "modem"),
    (0x0800, "interrupt-controller"),
    (0x0801, "dma-controller"),
    (0x0802, "timer"),
    (0x0803, "rtc"),
    (0x0900, "keyboard"),
    (0x0902, "mouse"),
    (0x0b40, "co-processor"),
    (0x0c00, "firewire"),
    (0x0c03, "usb"),
    (0x0c04, "fibre-channel"),
    (0x0c05, "smb"),
];

/// Base class and the name of what is in it.
#[rustfmt::skip]
const CLASSES: &[(u8, &str)] = &[
    (0x00, "legacy-device"),
    (0x01, "mass-storage"),
    (0x02, "network"),
    (0x03, "display"),
    (0x04, "multimedia-device"),
    (0x05, "memory-controller"),
    (0x07, "communication-controller"),
    (0x08, "system-peripheral"),
    (0x09, "input-controller"),
    (0x0b, "cpu"),
    (0x0c, "serial-bus"),
    (0x0d, "wireless-controller"),
    (0x10, "encryption"),
    (0x11, "data-processing-controller"),
];

/// The name of a function of this class code; of a class without a name it is made of the ids.
pub(super) fn node_name(class_code: u32, vendor: u16, device: u16) -> String {
    let subclass = (class_code >> 8) as u16;
    let class = (class_code >> 16) as u8;
    let name = SUBCLASSES.iter().find(|known| known.0 == subclass).map(|known| known.1);
    let name = name.or_else(|| CLASSES.iter().find(|known| known.0 == class).map(|known| known.1));
    name.map_or_else(|| format!("pci{vendor:x},{device:x}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_generic_or_the_ids() {
        assert_eq!(node_name(0x01_0000, 0x1af4, 0x1042), "scsi");
        assert_eq!(node_name(0x02_0000, 0x1af4, 0x1041), "ethernet");
        assert_eq!(node_name(0x00_ff00, 0x1af4, 0x1044), "legacy-device");
        assert_eq!(node_name(0x07_8000, 0x1af4, 0x1043), "communication-controller");
        assert_eq!(node_name(0x01_8000, 0x1af4, 0x105a), "mass-storage");
        assert_eq!(node_name(0xff_0000, 0x1af4, 0x42), "pci1af4,42");
    }
}
