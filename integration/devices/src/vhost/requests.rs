//! Requests whose protocol is known: they are answered when nobody works on them any more, and
//! adapted to who does.
//!
//! FUSE has flags of `open(2)` in it as the guest's architecture numbers them. Where the daemon's
//! numbers are others, it would take "a large file" for "a folder" and create nothing.

use vm_memory::GuestMemory;
use vm_memory::bitmap::BitmapSlice;

use crate::chain::Chain;
use crate::virtio::ring::{Ring, RingError, Taken};

/// What is known of a device's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requests {
    /// They are FUSE's.
    Fuse,
}

/// `FUSE_OPEN`, `_OPENDIR`, `_CREATE` and `_TMPFILE`: the flags come first behind their header.
const OPENS: [u32; 4] = [14, 27, 35, 51];
const OPERATION_AT: usize = 4;
const FLAGS_AT: usize = 40;

// Flags of open(2) where the numbers of POWER are not those of most (`asm/fcntl.h`).
const POWER_DIRECTORY: u32 = 0o4_0000;
const POWER_NOFOLLOW: u32 = 0o10_0000;
const POWER_LARGEFILE: u32 = 0o20_0000;
const POWER_DIRECT: u32 = 0o40_0000;

/// The guest's flags, and the host's. To programs of 64 bits, all files are large.
const FLAGS: [(u32, u32); 4] = [
    (POWER_DIRECTORY, libc::O_DIRECTORY as u32),
    (POWER_NOFOLLOW, libc::O_NOFOLLOW as u32),
    (POWER_LARGEFILE, 0),
    (POWER_DIRECT, libc::O_DIRECT as u32),
];

/// Of a FUSE request: length, operation and number, and more (`struct fuse_in_header`).
const NUMBER_AT: usize = 8;
/// Of an answer: length, error and number (`struct fuse_out_header`).
const ANSWER_BYTES: u32 = 16;

impl Requests {
    /// Whether requests have to be adapted to daemons of this host.
    pub(crate) const fn have_to_be_adapted(self) -> bool {
        libc::O_DIRECTORY as u32 != POWER_DIRECTORY || libc::O_DIRECT as u32 != POWER_DIRECT
    }

    /// Adapts a request to daemons of this host, where it is.
    ///
    /// A device leaves alone what it is to read (Virtio 1.2 §2.7.5.1), but a daemon reads guest
    /// memory itself, and there is no other place to have it read from. Linux makes such a request
    /// in a buffer that it reads nothing from afterwards.
    pub(crate) fn adapt<B: BitmapSlice>(self, chain: &Chain<'_, B>) {
        let Self::Fuse = self;
        let mut request = [0; FLAGS_AT + 4];
        if chain.readable.copy_to(&mut request) < request.len() {
            return;
        }
        let word =
            |at: usize| request[at..].first_chunk().map_or(0, |&word| u32::from_le_bytes(word));
        let flags = word(FLAGS_AT);
        let host = flags_of_host(flags);
        if !OPENS.contains(&word(OPERATION_AT)) || flags == host {
            return;
        }
        let mut rest = chain.readable.clone();
        if rest.split_front(FLAGS_AT).is_some() {
            rest.copy_from(&host.to_le_bytes());
        }
    }

    /// Refuses a request: with the error ENOTCONN, as that of a file system whose server is gone.
    /// Gives how many bytes were written.
    pub(crate) fn answer<B: BitmapSlice>(self, chain: &Chain<'_, B>) -> u32 {
        let Self::Fuse = self;
        let mut request = [0; NUMBER_AT + 8];
        if chain.readable.copy_to(&mut request) < request.len()
            || chain.writable.len() < ANSWER_BYTES as usize
        {
            // One that is not answered.
            return 0;
        }
        let error = -libc::ENOTCONN;
        let head = [ANSWER_BYTES.to_le_bytes(), error.to_le_bytes()].concat();
        let answer = [head.as_slice(), &request[NUMBER_AT..]].concat();
        chain.writable.copy_from(&answer);
        ANSWER_BYTES
    }

    /// Refuses what is available, but not for ever.
    pub(crate) fn answer_all<M: GuestMemory>(
        self,
        ring: &mut Ring,
        memory: &M,
    ) -> Result<(), RingError> {
        let _ = ring.doorbell().read();
        for _ in 0..ring.size() {
            match ring.take(memory)? {
                Some(Taken { head, chain }) => ring.give(memory, head, self.answer(&chain))?,
                None if ring.listen(memory)? => {}
                None => return ring.tell(memory),
            }
        }
        let _ = ring.doorbell().write(1);
        ring.tell(memory)
    }
}

/// The flags of open(2) as they are numbered here.
fn flags_of_host(flags: u32) -> u32 {
    let differ = FLAGS.iter().fold(0, |differ, (guest, _)| differ | guest);
    let of_host = FLAGS.iter().filter(|(guest, _)| flags & guest != 0);
    of_host.fold(flags & !differ, |host, (_, flag)| host | flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_open_are_the_hosts() {
        let same = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC | libc::O_APPEND;
        let same = same as u32;
        assert_eq!(flags_of_host(same), same);
        assert_eq!(flags_of_host(same | POWER_LARGEFILE), same);
        let all = POWER_DIRECTORY | POWER_NOFOLLOW | POWER_DIRECT;
        let of_host = (libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_DIRECT) as u32;
        assert_eq!(flags_of_host(all), of_host);
        assert_eq!(flags_of_host(POWER_DIRECTORY), libc::O_DIRECTORY as u32);
    }
}
