//! Which processor a guest gets that knows it, or that does not.

use super::*;
use crate::cas::vectors::vector5;
use crate::config::{AddressTranslation, Interrupts};

/// Every processor that there can be, and every generation of kernels: a guest that knows the
/// processor gets that, any other the highest level that both know.
#[test]
fn guests_get_the_highest_level_that_both_know() {
    use CpuModel::{Power9, Power10, Power11};
    /// The level that is agreed on, and what KVM is told.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Gets {
        /// The processor itself.
        Raw,
        /// The machine's own level, to which its newer host is held anyway.
        Own,
        /// A level below the machine's.
        Older(CpuModel),
    }
    use Gets::{Older, Own, Raw};
    const NO_HOST: Option<CpuModel> = None;
    // Model, host, and what kernels get that know no more than POWER9, POWER10 and POWER11.
    let table = [
        (Power9, NO_HOST, [Raw, Raw, Raw]),
        (Power9, Some(Power9), [Raw, Raw, Raw]),
        (Power9, Some(Power10), [Own, Own, Own]),
        (Power9, Some(Power11), [Own, Own, Own]),
        (Power10, NO_HOST, [Older(Power9), Raw, Raw]),
        (Power10, Some(Power10), [Older(Power9), Raw, Raw]),
        (Power10, Some(Power11), [Older(Power9), Own, Own]),
        (Power11, NO_HOST, [Older(Power9), Older(Power10), Raw]),
        (Power11, Some(Power11), [Older(Power9), Older(Power10), Raw]),
    ];
    for (model, host, gets) in table {
        let machine =
            Machine::new(&TestConfig { cpus: Cpus::new(2, model), ..TestConfig::default() });
        let mut machine = machine.unwrap();
        if let Some(host) = host {
            machine = machine.on_host(host.pvr()).unwrap();
        }
        let platform = Platform::of(&machine);
        for (newest, gets) in [Power9, Power10, Power11].into_iter().zip(gets) {
            let bytes = kernel_that_knows(newest);
            let (decision, changes) = negotiate(&platform, &bytes).unwrap();
            let case = format!("{model} on {host:?}, kernel of {newest}: {decision:x?}");
            let level = match gets {
                Raw => None,
                Own => Some(model.logical_pvr()),
                Older(level) => Some(level.logical_pvr()),
            };
            assert_eq!(decision.compat, level, "{case}");
            assert_eq!(decision.cpu_version, level.unwrap_or(machine.cpu().pvr()), "{case}");
            assert_eq!(decision.is_lowered, matches!(gets, Older(_)), "{case}");
            assert_eq!(decision.is_as_started(), !decision.is_lowered, "{case}");
            // The tree says so of each CPU, where it did not before.
            let version = decision.cpu_version.to_be_bytes();
            let said = value(&changes, "/cpus", "cpu-version");
            assert!(
                said == Some(&version)
                    || said.is_none() && decision.cpu_version == machine.cpu().version(),
                "{case}"
            );
        }
        // Before POWER9 there was no radix.
        let refusal = negotiate(&platform, &kernel_that_knows(CpuModel::Power8)).unwrap_err();
        let (pvr, logical_pvr) = (machine.cpu().pvr(), model.logical_pvr());
        assert_eq!(refusal, CasError::Processor { pvr, logical_pvr, lowest: 0x0f00_0005 });
    }
}

/// What a kernel says that knows processors up to this one. Of before POWER9, it has no word about
/// radix trees and XIVE.
fn kernel_that_knows(newest: CpuModel) -> Vec<u8> {
    let mut vector_5 = linux_vector_5(&[]);
    if newest == CpuModel::Power8 {
        vector_5.truncate(vector5::INTERRUPTS_BYTE - 1);
    }
    kernel_that_says(newest, &vector_5)
}

fn kernel_that_says(newest: CpuModel, vector_5: &[u8]) -> Vec<u8> {
    let known = CpuModel::ALL.into_iter().filter(|model| *model <= newest);
    let mut processors: Vec<_> = known
        .flat_map(|model| {
            [(0xffff_0000, model.pvr() & 0xffff_0000), (0xffff_ffff, model.logical_pvr())]
        })
        .map(|(mask, value)| ProcessorPattern { mask, value })
        .collect();
    processors.push(LINUX_END);
    structure(&processors, &[&[0x80], &[0x80], &[0x80], &[0x80], vector_5])
}

/// Where there are hashed page tables, a guest from before radix trees and XIVE runs, whatever it
/// says of these two; the tree then has what its processor has.
#[test]
fn guests_of_before_radix_get_hash_and_xics() {
    let either =
        [vector5::MMU_BYTE, vector5::INTERRUPTS_BYTE].map(|number| (number, vector5::EITHER_WAY));
    let kernels = [
        kernel_that_knows(CpuModel::Power8),
        kernel_that_says(CpuModel::Power8, &linux_vector_5(&either)),
    ];
    for (model, host) in [
        (CpuModel::Power9, None),
        (CpuModel::Power9, Some(CpuModel::Power10)),
        (CpuModel::Power11, None),
    ] {
        let cpus = Cpus::new(1, model);
        let machine = Machine::new(&TestConfig { cpus, ..config() }).unwrap();
        let machine = machine.on_host(host.unwrap_or(model).pvr()).unwrap();
        let of = |mmu, interrupts| {
            let machine = machine.clone().with_mmu(mmu).with_interrupts(interrupts);
            Platform::of(&machine)
        };
        let platform = of(Support::Either, Support::Either);
        for kernel in &kernels {
            let (decision, changes) = negotiate(&platform, kernel).unwrap();
            assert_eq!((decision.cpu_version, decision.compat), (0x0f00_0004, Some(0x0f00_0004)));
            assert_eq!((decision.mmu, decision.interrupts), (Mmu::Hash, InterruptMode::Xics));
            assert!(decision.is_lowered);
            assert_eq!(value(&changes, "/cpus", "ibm,pa-features").unwrap().len(), 26);
        }
        // A newer one that comes after it has what it would have had.
        let (decision, changes) = negotiate(&platform, &kernel_that_knows(model)).unwrap();
        assert_eq!((decision.mmu, decision.is_lowered), (Mmu::Radix, false));
        assert_eq!(value(&changes, "/cpus", "ibm,pa-features").unwrap().len(), 68);
        // Neither radix alone nor XIVE alone is for it.
        for platform in [
            of(Support::Only(Mmu::Radix), Support::Either),
            of(Support::Either, Support::Only(InterruptMode::Xive)),
        ] {
            let refusal = negotiate(&platform, &kernels[0]).unwrap_err();
            assert!(matches!(refusal, CasError::Processor { lowest: 0x0f00_0005, .. }));
            let newer = linux_vector_5(&[(vector5::INTERRUPTS_BYTE, vector5::EITHER_WAY)]);
            let (_, changes) = negotiate(&platform, &kernel_that_says(model, &newer)).unwrap();
            assert_eq!(value(&changes, "/cpus", "ibm,pa-features"), None);
        }
    }
}

/// A POWER8 machine is that to every guest, which needs a hashed page table.
#[test]
fn power8_is_power8_to_newer_guests() {
    let cpus = Cpus::new(1, CpuModel::Power8);
    let machine = Machine::new(&TestConfig { cpus, ..config() }).unwrap();
    assert_eq!(machine.wanted_mmu(), AddressTranslation::Hash);
    assert_eq!(machine.wanted_interrupts(), Interrupts::Xics);
    let machine = machine.on_host(CpuModel::Power9.pvr()).unwrap();
    let platform = Platform::of(&machine);
    assert_eq!(platform_support(&platform), [23, 0, 24, 0, 25, 0, 26, 0]);
    // A kernel of today chooses from what it is offered.
    let newer = kernel_that_says(CpuModel::Power11, &linux_vector_5(&[(vector5::MMU_BYTE, 0)]));
    for kernel in [kernel_that_knows(CpuModel::Power8), newer] {
        let (decision, _) = negotiate(&platform, &kernel).unwrap();
        assert_eq!((decision.cpu_version, decision.compat), (0x0f00_0004, Some(0x0f00_0004)));
        assert_eq!((decision.mmu, decision.interrupts), (Mmu::Hash, InterruptMode::Xics));
        assert!(!decision.is_lowered);
        assert_eq!(decision.architecture_vector_5()[23..], [0; 4]);
    }
    // One that has nothing but radix trees.
    let refusal = negotiate(&platform, &kernel_that_knows(CpuModel::Power11)).unwrap_err();
    assert_eq!(refusal, CasError::Mmu(Support::Only(Mmu::Radix)));
}

/// The last negotiation counts: an older boot loader does not keep its kernel down.
#[test]
fn own_level_can_be_had_after_a_lower_one() {
    let cpus = Cpus::new(1, CpuModel::Power10);
    let machine = Machine::new(&TestConfig { cpus, ..config() }).unwrap();
    for (host, own) in [(0x0080_0200, None), (0x0082_0200, Some(0x0f00_0006))] {
        let platform = Platform::of(&machine.clone().on_host(host).unwrap());
        let negotiate = |newest| negotiate(&platform, &kernel_that_knows(newest)).unwrap();
        let (lower, changes) = negotiate(CpuModel::Power9);
        assert_eq!((lower.compat, lower.is_lowered), (Some(0x0f00_0005), true));
        let (higher, back) = negotiate(CpuModel::Power10);
        assert_eq!((higher.compat, higher.is_lowered), (own, false));
        let names = |changes: &[TreeChange]| {
            changes.iter().map(|change| change.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&changes), names(&back));
    }
}
