#![expect(clippy::single_range_in_vec_init, reason = "there may be one free range")]

use arch_ppc64::topology::MemoryRange;
use proptest::prelude::*;

use super::*;

const MIB: u32 = 1 << 20;

/// RAM from 0 on.
fn claims(ram_bytes: u64) -> Claims {
    Claims::new(&MemoryMap::of_size(ram_bytes).unwrap())
}

fn free(claims: &Claims) -> Vec<Range<u64>> {
    claims.free().cloned().collect()
}

#[test]
fn claims_are_exact_or_lowest() {
    let mut claims = claims(16 << 20);
    assert_eq!(claims.claim_at(MIB, MIB), Ok(MIB));
    assert_eq!(claims.claim_at(MIB, 1), Err(ClaimError::NotFree));
    assert_eq!(claims.claim_at(0, MIB + 1), Err(ClaimError::NotFree));
    assert_eq!(claims.claim_aligned(MIB, MIB), Ok(0));
    assert_eq!(claims.claim_aligned(1, 1), Ok(2 * MIB));
    assert_eq!(claims.claim_aligned(MIB, MIB), Ok(3 * MIB));
    // 3 bytes: the next power of two is 4.
    assert_eq!(claims.claim_aligned(1, 3), Ok(2 * MIB + 4));
    assert_eq!(claims.claim_aligned(0, 1), Err(ClaimError::Empty));
    assert_eq!(claims.claim_at(0, 0), Err(ClaimError::Empty));
}

#[test]
fn nothing_outside_ram_can_be_claimed() {
    let mut claims = claims(16 << 20);
    assert_eq!(claims.claim_at(16 * MIB - 1, 2), Err(ClaimError::NotFree));
    assert_eq!(claims.claim_at(0x8000_0000, 0x8000_0000), Err(ClaimError::NotFree));
    assert_eq!(claims.claim_at(u32::MAX, u32::MAX), Err(ClaimError::NotFree));
    assert_eq!(claims.claim_aligned(16 * MIB + 1, 1), Err(ClaimError::NotFree));
    assert_eq!(claims.claim_aligned(u32::MAX, u32::MAX), Err(ClaimError::NotFree));
    assert_eq!(free(&claims), [0..16 << 20]);
    // Only 0 is a multiple of 2^32.
    assert_eq!(claims.claim_aligned(1, u32::MAX), Ok(0));
    assert_eq!(claims.claim_aligned(1, u32::MAX), Err(ClaimError::NotFree));
}

#[test]
fn memory_above_4_gib_is_free_and_cannot_be_claimed() {
    let mut claims = claims(8 << 30);
    assert_eq!(claims.claim_at(0xffff_f000, 0x1000), Ok(0xffff_f000));
    assert_eq!(claims.claim_at(0xffff_e000, 0x1001), Err(ClaimError::NotFree));
    assert_eq!(free(&claims), [0..0xffff_f000, 1 << 32..8 << 30]);
    assert_eq!(claims.claim_aligned(0xffff_f000, 1), Ok(0));
    assert_eq!(claims.claim_aligned(1, 1), Err(ClaimError::NotFree));
    assert_eq!(claims.release(0xffff_f000, 0x1001), Err(ReleaseError::NotClaimed));
    assert_eq!(claims.release(0xffff_f000, 0x1000), Ok(()));
    assert_eq!(free(&claims), [0xffff_f000..8 << 30]);
    // −1 is the answer for "none" and no address.
    assert_eq!(claims.claim_at(u32::MAX, 1), Err(ClaimError::NotFree));
}

#[test]
fn release_is_all_or_nothing() {
    let mut claims = claims(16 << 20);
    assert!(claims.reserve_firmware(0..0x1_0000));
    assert!(claims.reserve(0x40_0000..0x80_0000));
    assert!(!claims.reserve(0..(16 << 20) + 1));
    let before = free(&claims);
    assert_eq!(claims.release(0, 0x1_0000), Err(ReleaseError::Firmware));
    assert_eq!(claims.release(0xffff, 1), Err(ReleaseError::Firmware));
    assert_eq!(claims.release(0xffff, 2), Err(ReleaseError::NotClaimed));
    assert_eq!(claims.release(0x3f_ffff, 2), Err(ReleaseError::NotClaimed));
    assert_eq!(claims.release(0x7f_ffff, 2), Err(ReleaseError::NotClaimed));
    assert_eq!(claims.release(0xff_ffff, 2), Err(ReleaseError::NotClaimed));
    assert_eq!(claims.release(0x40_0000, 0), Err(ReleaseError::Empty));
    assert_eq!(free(&claims), before);
    // What the VMM reserved for the client is the client's; a part of it splits it.
    assert_eq!(claims.release(0x50_0000, 0x1000), Ok(()));
    assert_eq!(free(&claims), [0x1_0000..0x40_0000, 0x50_0000..0x50_1000, 0x80_0000..16 << 20]);
    // Several claims at once, and the free memory between nothing of them.
    assert_eq!(claims.release(0x40_0000, 0x10_0000), Ok(()));
    assert_eq!(claims.release(0x50_1000, 0x2f_f000), Ok(()));
    assert_eq!(free(&claims), [0x1_0000..16 << 20]);
}

#[test]
fn reservations_may_overlap() {
    let mut claims = claims(0x1_0000);
    assert!(claims.reserve(0x100..0x300));
    assert!(claims.reserve(0x200..0x400));
    assert!(claims.reserve(0..0x800));
    assert!(claims.reserve(0x800..0x800));
    assert_eq!(free(&claims), [0x800..0x1_0000]);
    assert!(claims.reserve(0..0x1_0000));
    assert_eq!(free(&claims), []);
}

#[test]
fn holes_are_neither_free_nor_claimed() {
    let ram = |start: u32, bytes: u32| MemoryRange::ram(GuestAddress(start.into()), bytes.into());
    let map = MemoryMap::new([
        ram(0, MIB),
        MemoryRange::hotplug(GuestAddress(MIB.into()), MIB.into()),
        ram(4 * MIB, MIB),
        ram(5 * MIB, MIB),
        MemoryRange::ram(GuestAddress(0xffff_0000), 1 << 20),
    ]);
    let mut claims = Claims::new(&map.unwrap());
    let all = [0..0x10_0000, 0x40_0000..0x60_0000, 0xffff_0000..0x1_000f_0000_u64];
    assert_eq!(free(&claims), all);
    assert_eq!(claims.claim_aligned(MIB + 1, 1), Ok(4 * MIB));
    assert_eq!(claims.release(4 * MIB, MIB + 1), Ok(()));
    for (start, size) in [(MIB - 1, 2), (MIB, MIB), (4 * MIB - 1, 1), (6 * MIB, 1)] {
        assert_eq!(claims.claim_at(start, size), Err(ClaimError::NotFree), "{start:#x}");
        assert_eq!(claims.release(start, size), Err(ReleaseError::NotClaimed), "{start:#x}");
        let (start, size) = (u64::from(start), u64::from(size));
        assert!(!claims.reserve(start..start + size));
        assert!(!claims.is_ram(&(start..start + size)));
    }
    let (start, end) = (0x60_0000, 0x50_0000);
    assert!(!claims.reserve(start..end), "it ends before it begins");
    assert_eq!(claims.claim_at(MIB - 16, 16), Ok(MIB - 16));
    assert_eq!(claims.release(MIB - 16, 17), Err(ReleaseError::NotClaimed));
    assert_eq!(claims.release(MIB - 16, 16), Ok(()));
    assert_eq!(claims.claim_at(0xffff_0000, 0xffff), Ok(0xffff_0000));
    assert_eq!(claims.release(0xffff_0000, 0x1_0001), Err(ReleaseError::NotClaimed));
    assert_eq!(claims.release(0xffff_0000, 0xffff), Ok(()));
    assert_eq!(free(&claims), all);
}

/// "Beyond: a claim or release that would cut free memory once more fails."
#[test]
fn pieces_have_a_limit() {
    let mut claims = claims(16 << 20);
    for number in 0..MAX_FREE_RANGES as u32 - 1 {
        assert_eq!(claims.claim_at(number * 64 + 32, 32), Ok(number * 64 + 32));
    }
    let end = MAX_FREE_RANGES as u32 * 64;
    assert_eq!(claims.free_count(), MAX_FREE_RANGES);
    assert_eq!(claims.claim_at(end, 32), Err(ClaimError::TooManyPieces));
    assert_eq!(claims.release(32 + 8, 8), Err(ReleaseError::TooManyPieces));
    // What cuts nothing is still possible.
    assert_eq!(claims.release(32, 8), Ok(()));
    assert_eq!(claims.claim_at(0, 8), Ok(0));
    assert_eq!(claims.claim_at(8, 32), Ok(8));
    assert_eq!(claims.free_count(), MAX_FREE_RANGES - 1);
    assert_eq!(claims.claim_at(end, 32), Ok(end));
}

/// What claims mean, byte by byte.
#[derive(Debug, Clone)]
struct Model {
    used: Vec<bool>,
    firmware: usize,
}

impl Model {
    fn is_free(&self, range: Range<usize>) -> bool {
        self.used.get(range).is_some_and(|bytes| bytes.iter().all(|used| !used))
    }

    fn claim_at(&mut self, start: usize, size: usize) -> Option<usize> {
        let possible = size > 0 && self.is_free(start..start + size);
        possible.then(|| {
            self.used[start..start + size].fill(true);
            start
        })
    }

    fn claim_aligned(&mut self, size: usize, alignment: usize) -> Option<usize> {
        let starts = (0..self.used.len()).step_by(alignment.next_power_of_two());
        let start = starts.filter(|&start| self.is_free(start..start + size)).min()?;
        self.claim_at(start, size)
    }

    fn release(&mut self, start: usize, size: usize) -> bool {
        let range = start..start + size;
        let possible = size > 0
            && start >= self.firmware
            && self.used.get(range.clone()).is_some_and(|bytes| bytes.iter().all(|used| *used));
        if possible {
            self.used[range].fill(false);
        }
        possible
    }

    fn free(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for at in (0..self.used.len()).filter(|&at| !self.used[at]) {
            match ranges.last_mut().filter(|range| range.end == at as u64) {
                Some(range) => range.end += 1,
                None => ranges.push(at as u64..at as u64 + 1),
            }
        }
        ranges
    }
}

#[derive(Debug, Clone)]
enum Step {
    ClaimAt(u32, u32),
    ClaimAligned(u32, u32),
    Release(u32, u32),
}

fn steps(ram: u32, largest: u32, count: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..ram, 0..largest).prop_map(|(start, size)| Step::ClaimAt(start, size)),
        (0..largest, 1..65_u32).prop_map(|(size, align)| Step::ClaimAligned(size, align)),
        (0..ram, 0..largest).prop_map(|(start, size)| Step::Release(start, size)),
    ];
    prop::collection::vec(step, 1..count)
}

fn run(ram: usize, steps: Vec<Step>) {
    // A page is the least that there can be of RAM; the rest of it is as if there were none.
    let mut claims = claims(0x1_0000);
    assert!(claims.reserve_firmware(ram as u64..0x1_0000));
    assert!(claims.reserve_firmware(0..16));
    let mut model = Model { used: vec![false; ram], firmware: 16 };
    model.claim_at(0, 16);
    for step in steps {
        match step {
            Step::ClaimAt(start, size) => {
                let expected = model.claim_at(start as usize, size as usize);
                assert_eq!(claims.claim_at(start, size).ok(), expected.map(|at| at as u32));
            }
            Step::ClaimAligned(size, align) => {
                let expected = if size == 0 {
                    None
                } else {
                    model.claim_aligned(size as usize, align as usize)
                };
                let claimed = claims.claim_aligned(size, align).ok();
                assert_eq!(claimed, expected.map(|at| at as u32), "{size} at {align}");
            }
            Step::Release(start, size) => {
                let expected = model.release(start as usize, size as usize);
                assert_eq!(claims.release(start, size).is_ok(), expected);
            }
        }
    }
    assert_eq!(free(&claims), model.free());
    assert_eq!(claims.free_count(), model.free().len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn claims_agree_with_a_model_of_bytes(steps in steps(1000, 100, 60)) {
        run(1000, steps);
    }

    /// Small claims in much memory: many chunks of ranges, which split and join.
    #[test]
    fn many_pieces_agree_with_a_model_of_bytes(
        seed in any::<u64>(),
        steps in steps(8192, 12, 200),
    ) {
        let mut state = seed | 1;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below) as u32
        };
        let mut all: Vec<Step> = (0..1000).map(|n| Step::ClaimAt(n * 8 + 3, 1 + n % 4)).collect();
        for _ in 0..1500 {
            all.push(match random(3) {
                0 => Step::Release(random(8192), 1 + random(3)),
                1 => Step::ClaimAligned(1 + random(8), 1 + random(16)),
                _ => Step::ClaimAt(random(8192), 1 + random(4)),
            });
        }
        all.extend((0..1020).map(|n| Step::Release(n * 8 + 3, 1)));
        all.extend(steps);
        run(8192, all);
    }
}
