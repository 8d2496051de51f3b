use arch_ppc64::topology::MemoryRange;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::config::Pages;

const MIB: u64 = 1 << 20;

fn goes_on() -> Stopping {
    Stopping::new(|| false)
}

fn plan(parts: &[(u64, Backing)]) -> RamPlan {
    RamPlan { parts: parts.iter().map(|&(at, backing)| (GuestAddress(at), backing)).collect() }
}

fn map(ranges: &[(u64, u64)]) -> MemoryMap {
    let ram = |&(start, bytes): &(u64, u64)| MemoryRange::ram(GuestAddress(start), bytes);
    MemoryMap::new(ranges.iter().map(ram)).unwrap()
}

fn places(ranges: &[(u64, u64)]) -> impl Iterator<Item = (u64, GuestAddress)> {
    let edges = |&(start, bytes): &(u64, u64)| [start, start + bytes - 8];
    (1..).zip(ranges.iter().flat_map(edges).map(GuestAddress))
}

#[test]
fn ranges_are_apart_and_cleared() {
    let (shared, private) = (Backing::default().shared(), Backing::default());
    // A hole, two that touch, and a hole up to 4 GiB.
    let ranges = [(0, MIB), (4 * MIB, 2 * MIB), (6 * MIB, MIB), (1 << 32, MIB)];
    for plan in [
        RamPlan::default(),
        plan(&[(0, private)]),
        plan(&[(0, shared.with_prefault(true))]),
        plan(&[(0, private.with_prefault(true))]),
    ] {
        let machine_ram = create(&map(&ranges), &plan, &goes_on()).unwrap();
        let ram = machine_ram.memory().memory();
        let regions: Vec<_> =
            ram.iter().map(|region| (region.start_addr().0, region.len())).collect();
        assert_eq!(regions, [(0, MIB), (4 * MIB, 3 * MIB), (1 << 32, MIB)]);
        let is_shared = plan.backing(GuestAddress(0)).shared;
        assert!(ram.iter().all(|region| region.file_offset().is_some() == is_shared));
        for (number, at) in places(&ranges) {
            ram.write_obj(number, at).unwrap();
        }
        for (number, at) in places(&ranges) {
            assert_eq!(ram.read_obj::<u64>(at).unwrap(), number);
        }
        for hole in [MIB, 2 * MIB, 4 * MIB - 1, 7 * MIB, (1 << 32) + MIB] {
            assert!(ram.read_obj::<u8>(GuestAddress(hole)).is_err(), "{hole:#x}");
        }
        clear(machine_ram.memory(), &plan, &goes_on()).unwrap();
        for (_, at) in places(&ranges) {
            assert_eq!(ram.read_obj::<u64>(at).unwrap(), 0);
        }
    }
}

#[test]
fn each_zone_is_had_in_its_own_way() {
    let (shared, private) = (Backing::default().shared(), Backing::default());
    let plan = plan(&[(0, shared), (2 * MIB, private), (4 * MIB, shared)]);
    let ranges = [(0, MIB), (MIB, MIB), (2 * MIB, 2 * MIB), (4 * MIB, MIB)];
    let machine_ram = create(&map(&ranges), &plan, &goes_on()).unwrap();
    let ram = machine_ram.memory().memory();
    let regions: Vec<_> = ram
        .iter()
        .map(|region| (region.start_addr().0, region.len(), region.file_offset().is_some()))
        .collect();
    assert_eq!(regions, [(0, 2 * MIB, true), (2 * MIB, 2 * MIB, false), (4 * MIB, MIB, true)]);
    for (number, at) in places(&ranges) {
        ram.write_obj(number, at).unwrap();
    }
    clear(machine_ram.memory(), &plan, &goes_on()).unwrap();
    assert!(places(&ranges).all(|(_, at)| ram.read_obj::<u64>(at).unwrap() == 0));
}

#[test]
fn nobody_waits_for_memory_who_wants_to_leave() {
    let plan = plan(&[(0, Backing::default().with_prefault(true))]);
    let error = create(&map(&[(0, 1 << 30)]), &plan, &Stopping::new(|| true)).unwrap_err();
    assert!(matches!(error, BootError::Ending), "{error}");
}

#[test]
fn huge_pages_that_are_not_there_are_told() {
    let huge = |bytes| plan(&[(0, Backing::default().with_pages(Pages::Huge(bytes)))]);
    let error = |plan: &RamPlan, bytes| create(&map(&[(0, bytes)]), plan, &goes_on()).unwrap_err();
    // No page has a size that is no power of two.
    let said = error(&huge(Some(3 * MIB)), 3 * MIB);
    assert!(said.is_the_users() && said.to_string().starts_with("hugepage_size=3M: "), "{said}");
    // The default size is 2 MiB on most hosts, and more than 64 KiB on all; no host has 16 TiB of it.
    if let Ok(page_bytes) = huge::page_bytes(Pages::Huge(None)) {
        let said = error(&huge(None), 16 << 40);
        let needed = format!("{} huge pages of", (16 << 40) / page_bytes);
        assert!(!said.is_the_users() && said.to_string().contains(&needed), "{said}");
        let said = error(&huge(None), page_bytes + 0x1_0000);
        assert!(said.is_the_users() && said.to_string().contains("a multiple"), "{said}");
    }
}

/// Where there are some: most hosts have none that nobody uses.
#[test]
fn huge_pages_are_cleared() {
    let Ok(page_bytes) = huge::page_bytes(Pages::Huge(None)) else { return };
    for prefault in [false, true] {
        let backing = Backing::default().with_pages(Pages::Huge(None)).with_prefault(prefault);
        let (plan, ranges) = (plan(&[(0, backing)]), [(0, 2 * page_bytes)]);
        let ram = match create(&map(&ranges), &plan, &goes_on()) {
            Ok(ram) => ram,
            Err(BootError::Ram(RamError::HugePages { free, .. })) if free < 2 => return,
            Err(error) => panic!("{error}"),
        };
        for (number, at) in places(&ranges) {
            ram.memory().memory().write_obj(number, at).unwrap();
        }
        clear(ram.memory(), &plan, &goes_on()).unwrap();
        assert!(
            places(&ranges).all(|(_, at)| ram.memory().memory().read_obj::<u64>(at).unwrap() == 0)
        );
    }
}

/// As much as a machine can have costs nothing, as long as it is not used.
#[test]
fn the_largest_memory_costs_nothing() {
    for backing in [Backing::default(), Backing::default().shared()] {
        let ram = mapping::map::<()>(backing, 16 << 40, Reserve::Now).unwrap();
        assert_eq!(ram.size(), 16 << 40);
        let last = vm_memory::VolatileMemory::as_volatile_slice(&ram);
        last.write_obj(7_u8, (16 << 40) - 1).unwrap();
        mapping::give_back(&ram, backing, 0, 16 << 40).unwrap();
        assert_eq!(last.read_obj::<u8>((16 << 40) - 1).unwrap(), 0);
    }
}
