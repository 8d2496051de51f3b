//! Radix trees and hashed page tables.

use super::*;
use crate::cas::decision::Support::{Either, Only};
use crate::hpt::Order;

/// 512 MiB, and room for 768 MiB more: tables of 4 MiB and 16 MiB.
fn platform_of(mmu: Support<Mmu>) -> Platform {
    Platform::of(&Machine::new(&config()).unwrap().with_mmu(mmu))
}

fn order(order: u64) -> Option<Order> {
    Order::new(order)
}

/// What comes of a Linux's bytes 6 and 24 of vector 5.
fn agreed(mmu: Support<Mmu>, resizes: u8, says: u8) -> (Mmu, Option<Order>) {
    let vectors = linux(&linux_vector_5(&[(6, resizes), (24, says)]));
    let (decision, _) = negotiate(&platform_of(mmu), &vectors).unwrap();
    (decision.mmu, decision.hpt_order)
}

#[test]
fn a_guest_that_chooses_hash_gets_a_table() {
    // Either, radix, hash, as the guest says it.
    assert_eq!(agreed(Either, 0x05, 0x80), (Mmu::Radix, None));
    assert_eq!(agreed(Either, 0x05, 0x40), (Mmu::Radix, None));
    // For the memory that there is, where the guest can have it resized, else for all.
    assert_eq!(agreed(Either, 0x05, 0), (Mmu::Hash, order(22)));
    assert_eq!(agreed(Either, 0x04, 0), (Mmu::Hash, order(24)));
    // Where there is nothing else, the table has been made before.
    assert_eq!(agreed(Only(Mmu::Hash), 0x05, 0), (Mmu::Hash, order(24)));
    assert_eq!(agreed(Only(Mmu::Hash), 0x05, 0x80), (Mmu::Hash, order(24)));
}

#[test]
fn a_guest_that_cannot_do_hash_is_refused() {
    let vectors = linux(&linux_vector_5(&[(24, 0x40)]));
    let refusal = negotiate(&platform_of(Only(Mmu::Hash)), &vectors).unwrap_err();
    assert_eq!(refusal, CasError::Mmu(Only(Mmu::Radix)));
    assert!(refusal.to_string().contains("by radix only"), "{refusal}");
}

/// A boot loader is in real mode, and a table for it would be for nothing.
#[test]
fn who_says_nothing_keeps_what_the_machine_started_with() {
    let of = |mmu| {
        let (decision, _) = negotiate(&platform_of(mmu), &grub()).unwrap();
        (decision.mmu, decision.hpt_order)
    };
    assert_eq!(of(Either), (Mmu::Radix, None));
    assert_eq!(of(Only(Mmu::Radix)), (Mmu::Radix, None));
    assert_eq!(of(Only(Mmu::Hash)), (Mmu::Hash, order(24)));
    for mmu in [Either, Only(Mmu::Radix), Only(Mmu::Hash)] {
        let decision = Decision::default_for(&platform_of(mmu));
        assert_eq!((decision.mmu, decision.hpt_order), of(mmu));
    }
}

#[test]
fn the_platform_offers_what_it_has() {
    let bytes = |mmu| platform_support(&platform_of(mmu))[2..].to_vec();
    assert_eq!(bytes(Either), [24, 0x80, 25, 0, 26, 0x40]);
    assert_eq!(bytes(Only(Mmu::Radix)), [24, 0x40, 25, 0, 26, 0x40]);
    assert_eq!(bytes(Only(Mmu::Hash)), [24, 0, 25, 0, 26, 0]);
}

/// The size in the tree is that of the guest's table, whatever was agreed on before.
#[test]
fn the_tree_has_the_size_of_the_table() {
    let pft_size = |mmu, vectors: &[u8]| {
        let (_, changes) = negotiate(&platform_of(mmu), vectors).unwrap();
        value(&changes, "/cpus", "ibm,pft-size").map(<[u8]>::to_vec)
    };
    let by_hash = linux(&linux_vector_5(&[(24, 0)]));
    assert_eq!(pft_size(Either, &by_hash), Some(vec![0, 0, 0, 0, 0, 0, 0, 22]));
    assert_eq!(pft_size(Either, &linux(&linux_vector_5(&[]))), Some(vec![0, 0, 0, 0, 0, 0, 0, 24]));
    assert_eq!(pft_size(Either, &grub()), Some(vec![0, 0, 0, 0, 0, 0, 0, 24]));
    // Nothing to agree on, nothing to change.
    assert_eq!(pft_size(Only(Mmu::Hash), &by_hash), None);
    assert_eq!(pft_size(Only(Mmu::Radix), &grub()), None);
}
