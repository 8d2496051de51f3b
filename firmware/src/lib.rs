#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![forbid(unsafe_code)]
#![no_std]

/// The image: code and data, at most 1,024 bytes. It writes into itself while it starts a client,
/// so it is copied anew for each start of the machine.
pub const IMAGE: &[u8] = include_bytes!("../image/vof.bin");

/// Real address that [`IMAGE`] is linked for and has to be copied to.
pub const LOAD_ADDRESS: u64 = 0x100;

/// Real address of the image's first instruction.
pub const ENTRY: u64 = 0x100;

/// Real address of the entry of the client interface, which a client program gets in r5.
pub const CLIENT_INTERFACE: u64 = 0x178;

/// The status of H_OF_CLIENT, its r3, that makes the image enter another program: see above. No
/// status of any other outcome is 1.
pub const ENTER_PROGRAM: i64 = 1;

/// The status of H_OF_CLIENT, its r3, that makes the image make the same call again: nothing has
/// come of this one, and nothing is lost. No status of any other outcome is 2.
pub const CALL_AGAIN: i64 = 2;

/// Real address of the first frame of the client's stack, its r1. The stack grows down from there
/// to [`STACK_BOTTOM`].
pub const STACK_FRAME: u64 = 0xffe0;

/// Real address of the lowest byte of the client's stack. A client is due at least 32 KiB
/// (PowerPC binding to IEEE 1275 §8.2.2).
pub const STACK_BOTTOM: u64 = 0x7fe0;

/// How much memory from real address 0 on belongs to the firmware, its stack included, in bytes.
pub const RESERVED_BYTES: u64 = 0x1_0000;

/// The property of `/chosen` that tells the image what to start. Four cells: the client's entry
/// point, its mode (64 or 32), address and size in bytes of the initial RAM disk (both 0 for
/// none).
pub const CLIENT_PROPERTY: &str = "rust-vmm,client";

/// The code of RTAS, position-independent (LoPAPR §7.2.5).
pub const RTAS_SHIM: &[u8; 20] = include_bytes!("../image/rtas.bin");

const _: () = {
    assert!(IMAGE.len() <= 1024);
    assert!(IMAGE.len() as u64 + LOAD_ADDRESS <= STACK_BOTTOM);
    assert!(STACK_FRAME - STACK_BOTTOM >= 32 << 10 && STACK_FRAME < RESERVED_BYTES);
    // The binding wants the stack aligned to 16 bytes.
    assert!(STACK_FRAME % 16 == 0);
};

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = include_str!("../image/vof.map");

    fn address_of(symbol: &str) -> u64 {
        let mut lines = MAP.lines().filter_map(|line| line.split_once(' '));
        let (address, _) = lines.find(|(_, name)| *name == symbol).unwrap();
        u64::from_str_radix(address, 16).unwrap()
    }

    fn word_at(address: u64) -> u32 {
        let at = (address - LOAD_ADDRESS) as usize;
        u32::from_be_bytes(IMAGE[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn addresses_are_those_of_the_image() {
        assert_eq!(address_of("start"), ENTRY);
        assert_eq!(address_of("client_interface"), CLIENT_INTERFACE);
    }

    /// Behind the hypercall, `mtctr r3` and two `bdz`: each counts down, and branches at 0. So r3 is
    /// 1 where the first does, and 2 where the second does.
    #[test]
    fn image_knows_its_two_statuses() {
        let bdz =
            |from: u64, to: &str| 0x4240_0000 | (address_of(to).wrapping_sub(from) as u32 & 0xfffc);
        let call = address_of("call_again");
        assert_eq!(call, CLIENT_INTERFACE + 4);
        assert_eq!((word_at(call + 8), word_at(call + 12)), (0x4400_0022, 0x7c69_03a6));
        assert_eq!(word_at(call + 16), bdz(call + 16, "enter_program"));
        assert_eq!(word_at(call + 20), bdz(call + 20, "call_again"));
        assert_eq!((ENTER_PROGRAM, CALL_AGAIN), (1, 2));
    }

    #[test]
    fn image_asks_for_the_property() {
        let at = (address_of("client_name") - LOAD_ADDRESS) as usize;
        let name = IMAGE[at..].split(|&byte| byte == 0).next().unwrap();
        assert_eq!(name, CLIENT_PROPERTY.as_bytes());
    }

    /// The first two instructions make r1: `li r1, 0` and `ori r1, r1, STACK_FRAME`.
    #[test]
    fn image_sets_the_stack() {
        assert_eq!(word_at(ENTRY), 0x3820_0000);
        assert_eq!(u64::from(word_at(ENTRY + 4)), 0x6021_0000 | STACK_FRAME);
    }
}
