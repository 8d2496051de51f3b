//! The hypercalls by which a guest changes the table (LoPAPR §14.5.4.1).

use vm_memory::GuestAddress;

use super::bits;
use super::device::{Contents, Gone, HashedPageTable};
use super::entry::Entry;
use super::table::GROUP;
use super::tokens::TOKENS;
use crate::hypercall::{Hypercall, HypercallHandler, Next, Status, token};
use crate::ram::GuestRam;
use crate::vcpu::CpuIndex;

/// A flag by the number that the specification gives its bit.
const fn flag(bit: u32) -> u64 {
    1 << (63 - bit)
}

/// H_ENTER: "the specified page table entry, and no other of its group".
const EXACT: u64 = flag(24);
/// H_ENTER: the page is to be zeroed, or copied. No guest that is known asks for it.
const ZERO_PAGE: u64 = flag(48);
const COPY_PAGE: u64 = flag(49);
/// H_READ: four entries.
const READ_4: u64 = flag(26);
/// The entry has to be that of this abbreviated virtual page number.
const AVPN: u64 = flag(32);
/// The entry has to have none of these bits.
const ANDCOND: u64 = flag(33);

/// What an abbreviated virtual page number is compared with: all but the flags.
const AVPN_MASK: u64 = !0x7f;

/// Of the software's bits of an entry, those that are the hypervisor's.
const HYPERVISOR_BITS: u64 = 0x60;

/// Of the second doubleword, what H_PROTECT sets.
const PROTECTION: u64 = bits::PP0 | bits::KEY_HIGH | bits::KEY_LOW | bits::NO_EXECUTE | bits::PP;

/// How many pairs H_BULK_REMOVE takes.
const PAIRS: usize = 4;

/// How many entries one H_CLEAR_HPT looks at, or as many places without memory.
const CLEAR_STEP: usize = 4096;

impl HashedPageTable {
    /// H_ENTER: flags, number of the entry, the entry. R4 is the number that it got.
    fn enter(&self, ram: &dyn GuestRam, call: &mut Hypercall) -> Status {
        let [flags, number, first, second, ..] = call.args;
        if flags & (ZERO_PAGE | COPY_PAGE) != 0 {
            return Status::PARAMETER;
        }
        let entry = Entry { first: first & !HYPERVISOR_BITS | bits::VALID, second };
        if first >> bits::SEGMENT_SHIFT > 1 || !is_possible(ram, entry) {
            return Status::PARAMETER;
        }
        let mut contents = self.lock();
        if number >= contents.table.entries() {
            return Status::PARAMETER;
        }
        let start = number / GROUP * GROUP;
        let candidates = match flags & EXACT {
            0 => start..start + GROUP,
            _ => number..number + 1,
        };
        let is_free = |&number: &u64| !contents.table.get(number).is_valid();
        let Some(number) = candidates.into_iter().find(is_free) else { return Status::PTEG_FULL };
        contents.enter(number, entry);
        call.args[0] = number;
        Status::SUCCESS
    }

    /// H_READ: flags, number of the entry. One or four entries from R4 on.
    fn read(&self, call: &mut Hypercall) -> Status {
        let [flags, number, ..] = call.args;
        let contents = self.lock();
        if number >= contents.table.entries() {
            return Status::PARAMETER;
        }
        let (start, count) = if flags & READ_4 == 0 { (number, 1) } else { (number & !3, 4) };
        for (number, pair) in (start..start + count).zip(call.args.chunks_exact_mut(2)) {
            let Entry { first, second } = contents.table.get(number);
            pair.copy_from_slice(&[first, second]);
        }
        Status::SUCCESS
    }

    /// H_REMOVE: flags, number of the entry, what it is compared with. The entry in R4 and R5.
    fn remove(&self, call: &mut Hypercall) -> Status {
        let [flags, number, wanted, ..] = call.args;
        let mut contents = self.lock();
        if let Err(status) = contents.check(flags, number, wanted) {
            return status;
        }
        let (removed, gone) = contents.remove(number);
        drop(contents);
        self.caches().forget(&[gone]);
        call.args[..2].copy_from_slice(&[removed.first, removed.second]);
        Status::SUCCESS
    }

    /// H_BULK_REMOVE: up to four pairs of a request and what the entry is compared with. Each request
    /// becomes a response.
    fn bulk_remove(&self, call: &mut Hypercall) -> Status {
        // A request, as the specification numbers its bits.
        const TYPE: u64 = 3 << 62;
        const REQUEST: u64 = 1 << 62;
        const RESPONSE: u64 = 2 << 62;
        const END: u64 = 3 << 62;
        const RESERVED: u64 = 0x3c << 56;
        const BY_AVPN: u64 = 2 << 56;
        const BY_ANDCOND: u64 = 1 << 56;
        const NUMBER: u64 = u64::MAX >> 8;
        const NOT_FOUND: u64 = 1 << 60;
        const WRONG: u64 = 2 << 60;
        /// From where R and C are in an entry to where they are in a response.
        const RECORDED_SHIFT: u32 = 51;
        let mut gone = [Gone::All; PAIRS];
        let mut count = 0;
        let mut status = Status::SUCCESS;
        let mut contents = self.lock();
        for pair in call.args[..2 * PAIRS].chunks_exact_mut(2) {
            let (request, wanted) = (pair[0], pair[1]);
            match request & TYPE {
                REQUEST => {}
                END => break,
                _ => {
                    status = Status::PARAMETER;
                    break;
                }
            }
            let kept = RESPONSE | request & !TYPE & !RESERVED;
            let flags = match request & (BY_AVPN | BY_ANDCOND) {
                0 => 0,
                BY_AVPN => AVPN,
                BY_ANDCOND => ANDCOND,
                _ => {
                    pair[0] = kept | WRONG;
                    status = Status::PARAMETER;
                    break;
                }
            };
            let number = request & NUMBER;
            pair[0] = match contents.check(flags, number, wanted) {
                Ok(()) => {
                    let (removed, page) = contents.remove(number);
                    gone[count] = page;
                    count += 1;
                    let recorded = removed.second & (bits::REFERENCED | bits::CHANGED);
                    kept | recorded << RECORDED_SHIFT
                }
                Err(Status::NOT_FOUND) => kept | NOT_FOUND,
                Err(wrong) => {
                    status = wrong;
                    kept | WRONG
                }
            };
            if status != Status::SUCCESS {
                break;
            }
        }
        drop(contents);
        if count > 0 {
            self.caches().forget(&gone[..count]);
        }
        status
    }

    /// H_PROTECT: flags, among them the new protection, number of the entry, what it is compared with.
    fn protect(&self, call: &Hypercall) -> Status {
        let [flags, number, wanted, ..] = call.args;
        // Where the flags have pp0 and the upper bits of the key.
        let set = flags << 55 & bits::PP0
            | flags << 48 & bits::KEY_HIGH
            | flags & (bits::KEY_LOW | bits::NO_EXECUTE | bits::PP);
        self.change(flags & AVPN, number, wanted, |second| second & !PROTECTION | set)
            .err()
            .unwrap_or(Status::SUCCESS)
    }

    /// H_CLEAR_REF and H_CLEAR_MOD: flags, number of the entry. R4 is the second doubleword before.
    fn clear(&self, call: &mut Hypercall, bit: u64) -> Status {
        let [_, number, ..] = call.args;
        match self.change(0, number, 0, |second| second & !bit) {
            Ok(old) => {
                call.args[0] = old;
                Status::SUCCESS
            }
            Err(status) => status,
        }
    }

    fn change(
        &self,
        flags: u64,
        number: u64,
        wanted: u64,
        change: impl Fn(u64) -> u64,
    ) -> Result<u64, Status> {
        let mut contents = self.lock();
        contents.check(flags, number, wanted)?;
        let (old, gone) = contents.change(number, change);
        drop(contents);
        self.caches().forget(&[gone]);
        Ok(old)
    }

    /// H_CLEAR_HPT: takes all entries away, some with each call.
    fn clear_all(&self) -> Status {
        let mut contents = self.lock();
        contents.prepared = None;
        for _ in 0..CLEAR_STEP {
            let at = contents.cleared;
            if at >= contents.table.entries() {
                contents.cleared = 0;
                drop(contents);
                self.caches().forget(&[Gone::All]);
                return Status::SUCCESS;
            }
            let next = contents.table.next_in_memory(at);
            if next == at {
                contents.table.remove(at);
                contents.cleared = at + 1;
            } else {
                contents.cleared = next;
            }
        }
        Status::CONTINUE
    }
}

impl Contents {
    /// Whether there is such an entry, and it is the one that the guest means.
    fn check(&self, flags: u64, number: u64, wanted: u64) -> Result<(), Status> {
        if number >= self.table.entries() {
            return Err(Status::PARAMETER);
        }
        let entry = self.table.get(number);
        let is_other = flags & AVPN != 0 && entry.first & AVPN_MASK != wanted & AVPN_MASK
            || flags & ANDCOND != 0 && entry.first & wanted != 0;
        if entry.is_valid() && !is_other { Ok(()) } else { Err(Status::NOT_FOUND) }
    }
}

/// Whether its page has a size, and is RAM that is cached, or no RAM and is not.
fn is_possible(ram: &dyn GuestRam, entry: Entry) -> bool {
    const CACHE_BITS: u64 = bits::W | bits::I | bits::M | bits::G;
    /// Strong access order.
    const STRONG: u64 = bits::W | bits::I | bits::M;
    let Some((_, shift)) = entry.page_shifts() else { return false };
    let at = GuestAddress(entry.real_address(shift));
    let cache = entry.second & CACHE_BITS;
    if ram.check_ram(at, 1).is_err() {
        return cache & STRONG == bits::I;
    }
    matches!(cache, bits::M | STRONG) && ram.check_ram(at, 1 << shift).is_ok()
}

impl HypercallHandler for HashedPageTable {
    fn tokens(&self) -> &[u64] {
        &TOKENS
    }

    fn handle(&self, _: CpuIndex, ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let [flags, order, ..] = call.args;
        let status = match call.token {
            token::ENTER => self.enter(ram, call),
            token::READ => self.read(call),
            token::REMOVE => self.remove(call),
            token::BULK_REMOVE => self.bulk_remove(call),
            token::PROTECT => self.protect(call),
            token::CLEAR_REF => self.clear(call, bits::REFERENCED),
            token::CLEAR_MOD => self.clear(call, bits::CHANGED),
            token::CLEAR_HPT => self.clear_all(),
            token::RESIZE_HPT_PREPARE => self.prepare(flags, order),
            token::RESIZE_HPT_COMMIT => self.commit(flags, order),
            _ => Status::FUNCTION,
        };
        call.finish(status)
    }
}
