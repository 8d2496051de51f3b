//! What DHCP servers say (RFC 2131, and RFC 2132 for the options).

use std::net::Ipv4Addr;

use smoltcp::wire::{DhcpMessageType, DhcpPacket};

use super::request::{is_name, is_unicast};

const MAGIC: u32 = 0x6382_5363;
const ETHERNET: (u16, u8) = (1, 6);
const BOOTREPLY: u8 = 2;

/// Options.
const PAD: u8 = 0;
const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const OVERLOAD: u8 = 52;
const MESSAGE_TYPE: u8 = 53;
const SERVER_IDENTIFIER: u8 = 54;
const TFTP_SERVER_NAME: u8 = 66;
const BOOTFILE_NAME: u8 = 67;
/// RFC 5859.
const TFTP_SERVER_ADDRESS: u8 = 150;
const END: u8 = 255;

/// What a client asks for (option 55).
pub(super) const WANTED: [u8; 5] =
    [SUBNET_MASK, ROUTER, TFTP_SERVER_NAME, BOOTFILE_NAME, TFTP_SERVER_ADDRESS];

/// Where the fields of BOOTP for names are (RFC 951 §3), which may have options in them.
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
const OPTIONS: usize = 240;

/// A reply, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) kind: DhcpMessageType,
    /// The address for the client, which may be one.
    pub(super) address: Ipv4Addr,
    /// Who replies.
    pub(super) server: Ipv4Addr,
    /// Who has the file, where that is said.
    pub(super) next_server: Option<Ipv4Addr>,
    pub(super) file: Option<String>,
    pub(super) netmask: Ipv4Addr,
    pub(super) gateway: Option<Ipv4Addr>,
    /// All of it.
    pub(super) message: Vec<u8>,
}

impl Reply {
    /// The reply in this message, if it is one to the request of this number, for this station.
    pub(super) fn parse(message: &[u8], transaction: u32, mac: [u8; 6]) -> Option<Self> {
        let packet = DhcpPacket::new_checked(message).ok()?;
        let hardware = (packet.hardware_type().into(), packet.hardware_len());
        let is_for_us = *message.first()? == BOOTREPLY
            && packet.magic_number() == MAGIC
            && hardware == ETHERNET
            && packet.transaction_id() == transaction
            && packet.client_hardware_address().0 == mac;
        if !is_for_us {
            return None;
        }
        let places = Places::of(message)?;
        let option = |kind| places.option(kind);
        let address = |kind| option(kind).and_then(address_in).filter(is_unicast);
        let kind = match option(MESSAGE_TYPE)? {
            &[kind] => DhcpMessageType::from(kind),
            _ => return None,
        };
        let client = packet.your_ip();
        let named = option(TFTP_SERVER_NAME).and_then(text).and_then(|name| name.parse().ok());
        let next_server = Some(packet.server_ip())
            .filter(is_unicast)
            .or_else(|| named.filter(is_unicast))
            .or_else(|| address(TFTP_SERVER_ADDRESS));
        let file = option(BOOTFILE_NAME).and_then(text);
        let file = file.or_else(|| places.file.and_then(text)).filter(|name| is_name(name));
        let netmask = option(SUBNET_MASK).and_then(address_in).filter(is_netmask);
        Some(Self {
            kind,
            address: client,
            server: address(SERVER_IDENTIFIER)?,
            next_server,
            file: file.map(str::to_owned),
            netmask: netmask.unwrap_or_else(|| netmask_of_class(client)),
            gateway: address(ROUTER),
            message: message.to_vec(),
        })
    }
}

/// Where options are in a message, and the name of the file if that is in its own place.
struct Places<'a> {
    options: [&'a [u8]; 3],
    file: Option<&'a [u8]>,
}

impl<'a> Places<'a> {
    /// The option 52 says that fields have options in them: 1 that of the file, 2 that of the
    /// server, 3 both.
    fn of(message: &'a [u8]) -> Option<Self> {
        let (options, sname, file) =
            (message.get(OPTIONS..)?, message.get(SNAME)?, message.get(FILE)?);
        let overload = match find(options, OVERLOAD) {
            Some(&[which]) => which,
            _ => 0,
        };
        let has = |bit: u8, field: &'a [u8]| if overload & bit != 0 { field } else { &[] };
        Some(Self {
            options: [options, has(1, file), has(2, sname)],
            file: (overload & 1 == 0).then_some(file),
        })
    }

    fn option(&self, kind: u8) -> Option<&'a [u8]> {
        self.options.iter().find_map(|options| find(options, kind))
    }
}

/// The value of the first option of this kind.
fn find(mut options: &[u8], kind: u8) -> Option<&[u8]> {
    loop {
        match options {
            [] | [END, ..] => return None,
            [PAD, rest @ ..] => options = rest,
            [found, bytes, rest @ ..] => {
                let (value, behind) = rest.split_at_checked(usize::from(*bytes))?;
                if *found == kind {
                    return Some(value);
                }
                options = behind;
            }
            [_] => return None,
        }
    }
}

/// Up to the first zero.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = bytes.split(|&byte| byte == 0).next()?;
    std::str::from_utf8(text).ok().filter(|text| !text.is_empty())
}

/// The first of a list.
fn address_in(value: &[u8]) -> Option<Ipv4Addr> {
    value.first_chunk::<4>().copied().map(Ipv4Addr::from)
}

fn is_netmask(mask: &Ipv4Addr) -> bool {
    let bits = mask.to_bits();
    bits.leading_ones() + bits.trailing_zeros() == u32::BITS
}

/// What a network has that says nothing else (RFC 950).
fn netmask_of_class(address: Ipv4Addr) -> Ipv4Addr {
    match address.octets()[0] {
        ..128 => Ipv4Addr::new(255, 0, 0, 0),
        128..192 => Ipv4Addr::new(255, 255, 0, 0),
        192.. => Ipv4Addr::new(255, 255, 255, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

    fn message(options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; OPTIONS];
        message[..4].copy_from_slice(&[BOOTREPLY, 1, 6, 0]);
        message[4..8].copy_from_slice(&7_u32.to_be_bytes());
        message[16..20].copy_from_slice(&[10, 0, 2, 15]);
        message[20..24].copy_from_slice(&[10, 0, 2, 3]);
        message[28..34].copy_from_slice(&MAC);
        message[108..111].copy_from_slice(b"abc");
        message[236..240].copy_from_slice(&MAGIC.to_be_bytes());
        message.extend_from_slice(options);
        message
    }

    const BASE: &[u8] = &[MESSAGE_TYPE, 1, 5, SERVER_IDENTIFIER, 4, 10, 0, 2, 2];

    #[test]
    fn names_are_in_options_or_fields() {
        let parse =
            |options: &[u8]| Reply::parse(&message(&[BASE, options].concat()), 7, MAC).unwrap();
        let plain = parse(&[END]);
        assert_eq!(plain.kind, DhcpMessageType::Ack);
        assert_eq!(plain.address, Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(plain.next_server, Some(Ipv4Addr::new(10, 0, 2, 3)));
        assert_eq!(plain.file.as_deref(), Some("abc"));
        assert_eq!(plain.netmask, Ipv4Addr::new(255, 0, 0, 0));
        let option = parse(&[PAD, BOOTFILE_NAME, 3, b'x', b'y', 0, SUBNET_MASK, 4, 255, 255, 0, 0]);
        assert_eq!(option.file.as_deref(), Some("xy"));
        assert_eq!(option.netmask, Ipv4Addr::new(255, 255, 0, 0));
        // Two routers; a mask that is none.
        let odd = parse(&[ROUTER, 8, 10, 0, 2, 1, 10, 0, 2, 9, SUBNET_MASK, 4, 255, 0, 255, 0]);
        assert_eq!(odd.gateway, Some(Ipv4Addr::new(10, 0, 2, 1)));
        assert_eq!(odd.netmask, Ipv4Addr::new(255, 0, 0, 0));

        // The field of the file has options in it.
        let mut overloaded = message(&[BASE, &[OVERLOAD, 1, 1]].concat());
        overloaded[108..115].copy_from_slice(&[BOOTFILE_NAME, 4, b'f', b'i', b'l', b'e', END]);
        let reply = Reply::parse(&overloaded, 7, MAC).unwrap();
        assert_eq!(reply.file.as_deref(), Some("file"));
        assert_eq!(reply.message, overloaded);

        // Without a server of its own, it is by name, or by address.
        let mut named = message(&[BASE, &[TFTP_SERVER_NAME, 8], b"10.0.2.7"].concat());
        named[20..24].fill(0);
        let reply = Reply::parse(&named, 7, MAC).unwrap();
        assert_eq!(reply.next_server, Some(Ipv4Addr::new(10, 0, 2, 7)));
    }

    #[test]
    fn what_is_not_for_us_is_no_reply() {
        let whole = message(&[BASE, &[END]].concat());
        assert!(Reply::parse(&whole, 7, MAC).is_some());
        assert_eq!(Reply::parse(&whole, 8, MAC), None);
        assert_eq!(Reply::parse(&whole, 7, [0; 6]), None);
        for at in [0, 1, 2, 236] {
            let mut other = whole.clone();
            other[at] ^= 3;
            assert_eq!(Reply::parse(&other, 7, MAC), None, "{at}");
        }
        assert_eq!(Reply::parse(&message(&[MESSAGE_TYPE, 1, 5]), 7, MAC), None);
        assert_eq!(Reply::parse(&message(&[MESSAGE_TYPE, 2, 5, 5]), 7, MAC), None);
        // Names that would do things to a terminal.
        let reply = Reply::parse(&message(&[BASE, &[BOOTFILE_NAME, 2, 27, b'c']].concat()), 7, MAC);
        assert_eq!(reply.unwrap().file, None);
    }

    #[test]
    fn cut_and_damaged_messages_do_no_harm() {
        let whole = message(&[BASE, &[BOOTFILE_NAME, 3], b"abc", &[OVERLOAD, 1, 3, END]].concat());
        for end in 0..whole.len() {
            let _ = Reply::parse(&whole[..end], 7, MAC);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let _ = Reply::parse(&damaged, 7, MAC);
            }
        }
    }
}
