//! RAM on its way: read, sent without what is zero, and put in its place.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, BufReader, Read, Write};

use arch_ppc64::GuestRam;
use vm_memory::GuestAddress;

use super::protocol::{Message, PAGES_BYTES_MAX, WireError, broken};
use crate::dirty_log::LOG_PAGE_BYTES;
use crate::ram::Ram;

/// RAM is sent, and looked at for zeros, in pages.
const PAGE: usize = LOG_PAGE_BYTES as usize;

/// What goes at once. A multiple of a page.
const PIECE_BYTES: usize = 1 << 20;

/// The header of a message with RAM behind it.
const HEADER_BYTES: usize = 24;

const _: () = assert!(2 * HEADER_BYTES <= PAGE);

const ZEROS: [u8; PAGE] = [0; PAGE];

/// RAM that cannot be had at the source, or has no place at the destination.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RamTransferError {
    /// The connection.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// There is no such RAM.
    #[error("there is no RAM of {bytes:#x} bytes at {at:#x}")]
    Place {
        /// Where it begins.
        at: u64,
        /// How much it is.
        bytes: u64,
    },
}

/// Sends RAM. What it is given goes when there is much of it, and at the end of a round.
pub(crate) struct RamSender<'a, W> {
    ram: &'a dyn GuestRam,
    to: &'a mut W,
    /// Messages that are to be written, and room for more.
    waiting: Vec<u8>,
    /// How many bytes of them there are.
    bytes: usize,
    sent: u64,
}

impl<'a, W: Write> RamSender<'a, W> {
    pub(crate) fn new(ram: &'a dyn GuestRam, to: &'a mut W) -> Self {
        // A piece may become as many messages as it has pages.
        let room = 2 * PIECE_BYTES + PIECE_BYTES / PAGE * HEADER_BYTES;
        Self { ram, to, waiting: vec![0; room], bytes: 0, sent: 0 }
    }

    /// Sends what is there at this moment, of whole pages.
    pub(crate) fn send(&mut self, at: GuestAddress, bytes: u64) -> Result<(), RamTransferError> {
        let mut done = 0;
        while done < bytes {
            // To a multiple of a piece: then it is in one region, mostly.
            let start = at.0 + done;
            let piece = PIECE_BYTES as u64 - start % PIECE_BYTES as u64;
            let piece = piece.min(bytes - done);
            self.piece(start, piece as usize)?;
            done += piece;
        }
        Ok(())
    }

    fn piece(&mut self, at: u64, bytes: usize) -> Result<(), RamTransferError> {
        let no_ram = |_| RamTransferError::Place { at, bytes: bytes as u64 };
        // Behind where a header would be.
        let start = self.bytes + HEADER_BYTES;
        let content = &mut self.waiting[start..start + bytes];
        self.ram.read(GuestAddress(at), content).map_err(no_ram)?;
        let mut from = 0;
        while from < bytes {
            let mut pages = self.waiting[start + from..start + bytes].chunks(PAGE).map(is_zero);
            let empty = pages.next().unwrap_or(true);
            let alike = 1 + pages.take_while(|next| *next == empty).count();
            let to = bytes.min(from + alike * PAGE);
            let (at, count) = (at + from as u64, to - from);
            if empty {
                self.header(&Message::Zeros { at, bytes: count as u64 })?;
            } else {
                self.header(&Message::Pages { at, bytes: count as u32 })?;
                // It stays where it is, or moves to the front: a page that is left out is longer than
                // two headers.
                if self.bytes != start + from {
                    self.waiting.copy_within(start + from..start + to, self.bytes);
                }
                self.bytes += count;
            }
            from = to;
        }
        if self.bytes >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn header(&mut self, message: &Message) -> Result<(), WireError> {
        message.write(&mut &mut self.waiting[self.bytes..self.bytes + HEADER_BYTES])?;
        self.bytes += HEADER_BYTES;
        Ok(())
    }

    /// Sends all that waits.
    pub(crate) fn flush(&mut self) -> Result<(), RamTransferError> {
        self.sent += self.bytes as u64;
        let written = self.to.write_all(&self.waiting[..self.bytes]).map_err(broken);
        self.bytes = 0;
        Ok(written?)
    }

    /// How many bytes were sent.
    pub(crate) const fn sent_bytes(&self) -> u64 {
        self.sent
    }
}

fn is_zero(page: &[u8]) -> bool {
    *page == ZEROS[..page.len()]
}

/// Who brings RAM: it may put it where it belongs without a copy.
pub(crate) trait BringRam: Read {
    /// Reads some of these bytes into RAM, which there is: how many, and not none.
    ///
    /// # Errors
    /// What the stream says; that there is no such RAM.
    fn bring(&mut self, ram: &Ram, at: GuestAddress, bytes: usize) -> io::Result<usize>;
}

/// Puts RAM that follows a message in its place: what was read with the message, and the rest of it
/// straight.
pub(crate) fn receive_pages(
    ram: &Ram,
    from: &mut BufReader<impl BringRam>,
    at: u64,
    bytes: u32,
) -> Result<(), RamTransferError> {
    // Before anything of it is read.
    check(ram, at, bytes.into())?;
    let no_ram = |_| RamTransferError::Place { at, bytes: bytes.into() };
    let mut done = 0;
    while done < bytes {
        let (place, left) = (GuestAddress(at + u64::from(done)), (bytes - done) as usize);
        let here = from.buffer();
        let count = if here.is_empty() {
            from.get_mut().bring(ram, place, left).map_err(broken)?
        } else {
            let count = here.len().min(left);
            GuestRam::write(ram, place, &here[..count]).map_err(no_ram)?;
            from.consume(count);
            count
        };
        if count == 0 {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()).into());
        }
        done += count as u32;
    }
    Ok(())
}

/// Makes RAM zero. What is zero already is left alone: it may be no memory of the host yet.
pub(crate) fn receive_zeros(
    ram: &dyn GuestRam,
    at: u64,
    bytes: u64,
) -> Result<(), RamTransferError> {
    // Nobody is heard while this is done: it is no more than there is to do for what is sent.
    if bytes > u64::from(PAGES_BYTES_MAX) {
        return Err(WireError::Nonsense("a message makes more RAM zero than it may").into());
    }
    check(ram, at, bytes)?;
    let no_ram = |_| RamTransferError::Place { at, bytes };
    let mut page = ZEROS;
    let mut done = 0;
    while done < bytes {
        let at = GuestAddress(at + done);
        let piece = (bytes - done).min(PAGE as u64) as usize;
        ram.read(at, &mut page[..piece]).map_err(no_ram)?;
        if !is_zero(&page[..piece]) {
            ram.write(at, &ZEROS[..piece]).map_err(no_ram)?;
        }
        done += piece as u64;
    }
    Ok(())
}

fn check(ram: &dyn GuestRam, at: u64, bytes: u64) -> Result<(), RamTransferError> {
    ram.check_ram(GuestAddress(at), bytes).map_err(|_| RamTransferError::Place { at, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::Stopping;
    use arch_ppc64::topology::{MemoryMap, MemoryRange};
    use std::sync::Arc;
    use vm_memory::{Bytes, GuestAddressSpace};

    const RANGES: [(GuestAddress, usize); 2] =
        [(GuestAddress(0), 3 << 20), (GuestAddress(0x40_0000), 1 << 20)];

    fn memory() -> Arc<Ram> {
        let map = RANGES.map(|(at, bytes)| MemoryRange::ram(at, bytes as u64));
        let map = MemoryMap::new(map).unwrap();
        let ram = crate::boot::create_ram(&map, &Default::default(), &Stopping::new(|| false));
        ram.unwrap().memory().memory().into_inner()
    }

    impl BringRam for &[u8] {
        fn bring(&mut self, ram: &Ram, at: GuestAddress, bytes: usize) -> io::Result<usize> {
            // Not all at once.
            let count = bytes.min(self.len()).min(3000);
            ram.write_slice(&self[..count], at).map_err(io::Error::other)?;
            *self = &self[count..];
            Ok(count)
        }
    }

    fn received(ram: &Ram, stream: &[u8]) -> Result<u64, RamTransferError> {
        let (mut stream, mut messages) = (BufReader::with_capacity(10_000, stream), 0);
        while !stream.fill_buf().unwrap().is_empty() {
            match Message::read(&mut stream)? {
                Message::Pages { at, bytes } => receive_pages(ram, &mut stream, at, bytes)?,
                Message::Zeros { at, bytes } => receive_zeros(ram, at, bytes)?,
                other => panic!("{other:?}"),
            }
            messages += 1;
        }
        Ok(messages)
    }

    #[test]
    fn what_is_sent_is_there_and_zeros_cost_nothing() {
        let (from, to) = (memory(), memory());
        for page in [0, 1, 2, 7, 300, 511, 512, 767] {
            from.write_obj(page + 1, GuestAddress(page * 4096 + 4088)).unwrap();
        }
        from.write_slice(&[9; 1 << 20], GuestAddress(0x40_0000)).unwrap();
        // What was there before is not there then.
        to.write_slice(&[0xff; 1 << 20], GuestAddress(0x8000)).unwrap();
        let mut stream = Vec::new();
        let mut sender = RamSender::new(&*from, &mut stream);
        for (at, bytes) in RANGES {
            sender.send(at, bytes as u64).unwrap();
        }
        sender.flush().unwrap();
        let sent = sender.sent_bytes();
        assert_eq!(sent, stream.len() as u64);
        assert!(sent < (1 << 20) + 8 * 4096 + 1000, "{sent}");
        let messages = received(&to, &stream).unwrap();
        assert!(messages < 32, "{messages}");
        for (at, bytes) in RANGES {
            let (mut a, mut b) = (vec![0; bytes], vec![1; bytes]);
            from.read_slice(&mut a, at).unwrap();
            to.read_slice(&mut b, at).unwrap();
            assert!(a == b);
        }
    }

    #[test]
    fn single_pages_go_together() {
        struct Writes(Vec<u8>, u32);
        impl Write for Writes {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 += 1;
                self.0.write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (from, to) = (memory(), memory());
        let mut writes = Writes(Vec::new(), 0);
        let mut sender = RamSender::new(&*from, &mut writes);
        for page in (0..768).step_by(2) {
            from.write_obj(page + 1, GuestAddress(page * 4096)).unwrap();
            sender.send(GuestAddress(page * 4096), 4096).unwrap();
        }
        sender.flush().unwrap();
        assert!(writes.1 < 4, "{}", writes.1);
        assert_eq!(received(&to, &writes.0).unwrap(), 384);
        assert_eq!(to.read_obj::<u64>(GuestAddress(766 * 4096)).unwrap(), 767);
    }

    #[test]
    fn what_has_no_place_is_refused_before_it_is_read() {
        let ram = memory();
        for (at, bytes) in [(0x30_0000, 1), (0x2f_f000, 0x2000), (u64::MAX, 1), (0x50_0000, 4096)] {
            let mut from = BufReader::new(&[1; 0x2000][..]);
            assert!(receive_pages(&ram, &mut from, at, bytes).is_err());
            assert_eq!(from.get_ref().len() + from.buffer().len(), 0x2000);
            assert!(receive_zeros(&*ram, at, bytes.into()).is_err());
        }
        for bytes in [u64::from(PAGES_BYTES_MAX) + 1, u64::MAX >> 1] {
            let error = receive_zeros(&*ram, 0, bytes).unwrap_err();
            assert!(matches!(error, RamTransferError::Wire(WireError::Nonsense(_))), "{error}");
        }
        let mut to = Vec::new();
        let mut sender = RamSender::new(&*ram, &mut to);
        assert!(sender.send(GuestAddress(0x30_0000), 4096).is_err());
    }

    #[test]
    fn a_stream_that_ends_early_is_an_error() {
        let mut short = BufReader::new(&[1; 100][..]);
        let error = receive_pages(&memory(), &mut short, 0, 4096).unwrap_err();
        assert!(matches!(error, RamTransferError::Wire(_)), "{error}");
    }
}
