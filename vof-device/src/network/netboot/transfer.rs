//! One file by TFTP: what each packet means, and what is answered (RFC 1350, 2347, 2348, 2349).

use std::net::Ipv4Addr;

use super::error::NetbootError;
use crate::args::Failed;

/// Operations.
const READ_REQUEST: u16 = 1;
const DATA: u16 = 3;
const ACKNOWLEDGE: u16 = 4;
const ERROR: u16 = 5;
const OPTIONS: u16 = 6;

/// Errors.
const ILLEGAL_OPERATION: u16 = 4;
const FULL: u16 = 3;
pub(super) const UNKNOWN_ID: u16 = 5;
const REFUSED_OPTIONS: u16 = 8;

/// Bytes of a block without options.
const BLOCK_BYTES: usize = 512;

/// The longest text of a server that is kept, in characters.
const MESSAGE_CHARACTERS: usize = 100;

/// Takes the next bytes of the file.
pub(super) type Put<'a> = dyn FnMut(&[u8]) -> Result<(), Failed> + 'a;

/// A file on its way.
pub(super) struct Transfer {
    pub(super) server: Ipv4Addr,
    pub(super) file: String,
    /// How much of it has come.
    pub(super) bytes: u64,
    /// How much there is, where the server tells.
    pub(super) of: Option<u64>,
    most: u64,
    state: State,
    /// The blocks that are asked for.
    wanted_block: usize,
    /// The blocks that there are.
    block: usize,
    /// The number of the last block that came.
    number: u16,
    /// What was sent last, to be sent again where no answer comes.
    packet: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Asked for, with options or without.
    Asked { with_options: bool },
    /// The server answers.
    Coming,
}

/// What comes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is none that matters.
    Nothing,
    /// It is answered by what is sent next.
    Answer,
    /// It is to be asked for anew, as of a server that nobody knows yet.
    Anew,
    /// It was the last, and is answered.
    Done,
}

impl Transfer {
    /// Of a file of at most so many bytes, in blocks of so many bytes if the server has them.
    pub(super) fn new(server: Ipv4Addr, file: String, most: u64, wanted_block: usize) -> Self {
        let mut transfer = Self {
            server,
            file,
            bytes: 0,
            of: None,
            most,
            state: State::Asked { with_options: true },
            wanted_block,
            block: BLOCK_BYTES,
            number: 0,
            packet: Vec::new(),
        };
        transfer.packet = transfer.request(true);
        transfer
    }

    /// What is to be sent, once or again.
    pub(super) fn packet(&self) -> &[u8] {
        &self.packet
    }

    /// A packet of the server has come.
    pub(super) fn take(
        &mut self,
        packet: &[u8],
        put: &mut Put<'_>,
    ) -> Result<Outcome, NetbootError> {
        let Some((operation, rest)) = number(packet) else { return Ok(Outcome::Nothing) };
        match operation {
            DATA => self.data(rest, put),
            OPTIONS => self.options(rest),
            ERROR => self.error(rest),
            _ => Ok(Outcome::Nothing),
        }
    }

    fn data(&mut self, packet: &[u8], put: &mut Put<'_>) -> Result<Outcome, NetbootError> {
        let Some((number, data)) = number(packet) else { return Ok(Outcome::Nothing) };
        if number == self.number && self.state == State::Coming {
            // The acknowledgement was lost, or is late.
            return Ok(Outcome::Answer);
        }
        if number != self.number.wrapping_add(1) {
            return Ok(Outcome::Nothing);
        }
        if data.len() > self.block {
            return Err(self.breaks("its blocks are longer than was agreed on"));
        }
        let bytes = self.bytes + data.len() as u64;
        if bytes > self.most {
            return Err(self.too_large());
        }
        put(data).map_err(|_| {
            self.packet = error_packet(FULL, "no room");
            NetbootError::NoRoom { file: self.file.clone(), bytes: self.bytes }
        })?;
        (self.bytes, self.number, self.state) = (bytes, number, State::Coming);
        self.acknowledge();
        Ok(if data.len() < self.block { Outcome::Done } else { Outcome::Answer })
    }

    /// What the server says to the options (RFC 2347): those that it takes.
    fn options(&mut self, packet: &[u8]) -> Result<Outcome, NetbootError> {
        match self.state {
            State::Asked { with_options: true } => {}
            // The acknowledgement of it was lost.
            State::Coming if self.number == 0 => return Ok(Outcome::Answer),
            _ => return Ok(Outcome::Nothing),
        }
        let mut texts = packet.split(|&byte| byte == 0).map(std::str::from_utf8);
        while let (Some(Ok(name)), Some(Ok(value))) = (texts.next(), texts.next()) {
            let value = value.parse::<u64>();
            match (name.to_ascii_lowercase().as_str(), value) {
                // "The server ... [may] reply with a smaller value", and 8 is the least (RFC 2348).
                ("blksize", Ok(block @ 8..)) if block <= self.wanted_block as u64 => {
                    self.block = block as usize;
                }
                ("tsize", Ok(bytes)) if bytes > self.most => return Err(self.too_large()),
                ("tsize", Ok(bytes)) => self.of = Some(bytes),
                _ => return Err(self.breaks("it answers with options that were not asked for")),
            }
        }
        self.state = State::Coming;
        self.acknowledge();
        Ok(Outcome::Answer)
    }

    fn error(&mut self, packet: &[u8]) -> Result<Outcome, NetbootError> {
        let Some((code, text)) = number(packet) else { return Ok(Outcome::Nothing) };
        // Servers that know no options are to leave them out; some refuse.
        let may_be_options = matches!(code, 0 | ILLEGAL_OPERATION | REFUSED_OPTIONS);
        if may_be_options && self.state == (State::Asked { with_options: true }) {
            self.state = State::Asked { with_options: false };
            self.packet = self.request(false);
            return Ok(Outcome::Anew);
        }
        let text = String::from_utf8_lossy(text.split(|&byte| byte == 0).next().unwrap_or(text));
        let message = text.chars().filter(|letter| !letter.is_control());
        let message = message.take(MESSAGE_CHARACTERS).collect();
        let (server, file) = (self.server, self.file.clone());
        Err(NetbootError::Refused { server, file, code, message })
    }

    fn request(&self, with_options: bool) -> Vec<u8> {
        let mut packet = READ_REQUEST.to_be_bytes().to_vec();
        let block = self.wanted_block.to_string();
        let options: &[&str] = if with_options { &["blksize", &block, "tsize", "0"] } else { &[] };
        for text in [self.file.as_str(), "octet"].iter().chain(options) {
            packet.extend_from_slice(text.as_bytes());
            packet.push(0);
        }
        packet
    }

    fn acknowledge(&mut self) {
        let number = self.number.to_be_bytes();
        self.packet = [ACKNOWLEDGE.to_be_bytes(), number].concat();
    }

    fn too_large(&mut self) -> NetbootError {
        self.packet = error_packet(FULL, "too large");
        let (server, file) = (self.server, self.file.clone());
        NetbootError::TooLarge { server, file, most: self.most }
    }

    fn breaks(&mut self, what: &'static str) -> NetbootError {
        self.packet = error_packet(ILLEGAL_OPERATION, what);
        NetbootError::Protocol { server: self.server, file: self.file.clone(), what }
    }
}

/// A packet that tells of an error.
pub(super) fn error_packet(code: u16, what: &str) -> Vec<u8> {
    let mut packet = [ERROR.to_be_bytes(), code.to_be_bytes()].concat();
    packet.extend_from_slice(what.as_bytes());
    packet.push(0);
    packet
}

/// The number in front, and what is behind it.
fn number(packet: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = packet.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

    fn transfer(most: u64) -> Transfer {
        Transfer::new(SERVER, "boot".to_owned(), most, 1428)
    }

    fn data(number: u16, bytes: usize) -> Vec<u8> {
        let mut packet = [DATA.to_be_bytes(), number.to_be_bytes()].concat();
        packet.resize(4 + bytes, number as u8);
        packet
    }

    fn options(text: &str) -> Vec<u8> {
        [&OPTIONS.to_be_bytes(), text.as_bytes()].concat()
    }

    /// Gives packets, and what came of them all.
    fn give(transfer: &mut Transfer, packets: &[Vec<u8>]) -> (Vec<Outcome>, usize) {
        let mut bytes = 0;
        let outcomes = packets.iter().map(|packet| {
            let mut put = |data: &[u8]| {
                bytes += data.len();
                Ok(())
            };
            transfer.take(packet, &mut put).unwrap()
        });
        let outcomes = outcomes.collect();
        (outcomes, bytes)
    }

    fn fails(transfer: &mut Transfer, packet: &[u8]) -> NetbootError {
        transfer.take(packet, &mut |_| Ok(())).unwrap_err()
    }

    #[test]
    fn a_file_comes_in_blocks() {
        let mut transfer = transfer(1 << 20);
        assert_eq!(transfer.packet(), b"\0\x01boot\0octet\0blksize\x001428\0tsize\x000\0");
        let packets = [
            options("blksize\x001000\0tsize\x002500\0"),
            data(1, 1000),
            data(2, 1000),
            // Late, of the past, of the future.
            data(2, 1000),
            data(1, 1000),
            data(4, 1000),
            data(3, 500),
        ];
        use Outcome::{Answer, Done, Nothing};
        let (outcomes, bytes) = give(&mut transfer, &packets);
        assert_eq!(outcomes, [Answer, Answer, Answer, Answer, Nothing, Nothing, Done]);
        assert_eq!((bytes, transfer.of), (2500, Some(2500)));
        assert_eq!(transfer.packet(), [0, 4, 0, 3]);
    }

    /// "If the file is a multiple of the block size, the last block is empty", and numbers go on
    /// from 65535 to 0.
    #[test]
    fn numbers_may_run_over() {
        let mut transfer = transfer(1 << 30);
        for number in 1..=70_000_u32 {
            assert_eq!(give(&mut transfer, &[data(number as u16, 512)]).1, 512);
        }
        assert_eq!(give(&mut transfer, &[data(70_001_u32 as u16, 0)]).0, [Outcome::Done]);
        assert_eq!(transfer.bytes, 70_000 * 512);
    }

    #[test]
    fn servers_may_know_no_options() {
        // They are left out.
        let mut old = transfer(1 << 20);
        assert_eq!(give(&mut old, &[data(1, 512), data(2, 3)]).0, [Outcome::Answer, Outcome::Done]);
        // They are refused.
        let mut strict = transfer(1 << 20);
        let refusal = error_packet(REFUSED_OPTIONS, "no options");
        assert_eq!(give(&mut strict, std::slice::from_ref(&refusal)).0, [Outcome::Anew]);
        assert_eq!(strict.packet(), b"\0\x01boot\0octet\0");
        let error = fails(&mut strict, &refusal);
        assert!(matches!(error, NetbootError::Refused { code: REFUSED_OPTIONS, .. }), "{error}");
    }

    #[test]
    fn errors_of_the_server_are_told_without_harm() {
        let long = format!("\x1b[2Jnot found{}", "!".repeat(1000));
        let error = fails(&mut transfer(1), &error_packet(1, &long)).to_string();
        assert!(error.starts_with("10.0.2.2 does not give boot: error 1 of TFTP, \"[2Jnot"));
        assert!(error.len() < 200, "{error}");
    }

    #[test]
    fn what_breaks_the_protocol_ends_it() {
        let after = |packets: &[Vec<u8>], last: &[u8]| {
            let mut transfer = transfer(2000);
            give(&mut transfer, packets);
            let error = fails(&mut transfer, last);
            // The server is told.
            assert_eq!(transfer.packet()[..2], [0, 5]);
            error
        };
        for wrong in ["blksize\x001429\0", "blksize\x007\0", "blksize\0x\0", "windowsize\x004\0"] {
            let error = after(&[], &options(wrong));
            assert!(matches!(error, NetbootError::Protocol { .. }), "{error}");
        }
        let error = after(&[], &data(1, 513));
        assert!(matches!(error, NetbootError::Protocol { .. }), "{error}");
        let error = after(&[], &options("tsize\x002001\0"));
        assert!(matches!(error, NetbootError::TooLarge { most: 2000, .. }), "{error}");
        // A file that never ends.
        let blocks: Vec<_> = (1..4).map(|number| data(number, 512)).collect();
        let error = after(&blocks, &data(4, 512));
        assert!(matches!(error, NetbootError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn other_packets_are_left_out() {
        let packets =
            [vec![], vec![0], vec![0, 3], vec![0, 3, 0], vec![0, 5, 0], vec![0, 1, 2], data(0, 9)];
        let (outcomes, bytes) = give(&mut transfer(1000), &packets);
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Nothing));
        assert_eq!(bytes, 0);
    }

    #[test]
    fn without_room_it_ends() {
        let mut transfer = transfer(1000);
        let error = transfer.take(&data(1, 512), &mut |_| Err(Failed)).unwrap_err();
        assert_eq!(error, NetbootError::NoRoom { file: "boot".to_owned(), bytes: 0 });
    }
}
