//! What guests send, what they get, and what malformed structures come to.

mod levels;
mod mmu;

use proptest::prelude::*;

use super::*;
use crate::Machine;
use crate::config::{Cpus, Memory};
use crate::cpu::CpuModel;
use crate::layout::LMB_BYTES;
use crate::machine::tests::TestConfig;

const ANY_POWER9: ProcessorPattern = ProcessorPattern { mask: 0xffff_0000, value: 0x004e_0000 };
const ISA_3_0: ProcessorPattern = ProcessorPattern { mask: 0xffff_ffff, value: 0x0f00_0005 };
const ISA_2_07: ProcessorPattern = ProcessorPattern { mask: 0xffff_ffff, value: 0x0f00_0004 };
const LINUX_END: ProcessorPattern = ProcessorPattern { mask: 0xffff_fffe, value: 0x0f00_0001 };
const GRUB_END: ProcessorPattern = ProcessorPattern { mask: 0, value: 0xffff_ffff };

/// The guest's side: lays a structure out. The last of `processors` is to be the list's end.
fn structure(processors: &[ProcessorPattern], vectors: &[&[u8]]) -> Vec<u8> {
    let mut bytes: Vec<u8> = processors
        .iter()
        .flat_map(|one| [one.mask.to_be_bytes(), one.value.to_be_bytes()].concat())
        .collect();
    bytes.push((vectors.len() - 1) as u8);
    for vector in vectors {
        bytes.push((vector.len() - 1) as u8);
        bytes.extend_from_slice(vector);
    }
    bytes
}

/// Vector 5 of a Linux 6.1 that was told of radix only; `set` changes bytes of it, by their
/// numbers.
fn linux_vector_5(set: &[(usize, u8)]) -> Vec<u8> {
    let mut vector = vec![0; 26];
    let as_it_is = [
        // LPAR, shared processors, dynamic memory, large pages, donated processors, MSI.
        (2, 0xf3),
        // Form 1, resource reassignment, form 2.
        (5, 0xe0),
        // Hot-plug events, resizing of hash tables.
        (6, 0x05),
        // At most 2048 processors.
        (11, 0x08),
        (17, 0xe0),
        (21, 0x01),
        // Dynamic memory version 2, connectors by sets.
        (22, 0xc0),
        (24, 0x40),
        (26, 0x40),
    ];
    for (number, value) in as_it_is.iter().chain(set) {
        vector[number - 1] = *value;
    }
    vector
}

/// What a Linux 6.1 sends, but for some of its oldest processors.
fn linux(vector_5: &[u8]) -> Vec<u8> {
    let mut firmware = [0; 33];
    firmware[0] = 0x20;
    // A real mode area of 512 MiB.
    firmware[25] = 2;
    let mut bytes = structure(
        &[ANY_POWER9, ISA_3_0, ISA_2_07, LINUX_END],
        &[&[0, 0xff, 0xc0], &firmware, &[0, 0xe0], &[0, 10], vector_5, &[0, 0, 0x02]],
    );
    // The seventh vector is there, and not counted.
    bytes.push(255);
    bytes.extend_from_slice(&[b'L'; 256]);
    bytes
}

/// What GRUB 2.12 sends: no processors, and nothing about the platform.
fn grub() -> Vec<u8> {
    structure(&[GRUB_END], &[&[0x80], &[0; 33], &[0, 0xe0], &[0, 1]])
}

fn config() -> TestConfig {
    TestConfig {
        memory: Memory::of_size(2 * LMB_BYTES).with_hotplug(3 * LMB_BYTES),
        cpus: Cpus::new(2, CpuModel::Power9).with_max(4),
        ..TestConfig::default()
    }
}

fn platform() -> Platform {
    Platform::of(&Machine::new(&config()).unwrap())
}

/// A POWER9 machine on a POWER10 host.
fn compat_platform() -> Platform {
    Platform::of(&Machine::new(&config()).unwrap().on_host(0x0080_0200).unwrap())
}

fn decide(bytes: &[u8]) -> Result<Decision, CasError> {
    negotiate(&platform(), bytes).map(|(decision, _)| decision)
}

/// The value that a property gets, if it is set.
fn value<'a>(changes: &'a [TreeChange], of_path: &str, of_name: &str) -> Option<&'a [u8]> {
    let is_it = |change: &&TreeChange| (change.path(), change.name()) == (of_path, of_name);
    changes.iter().filter(is_it).find_map(TreeChange::value)
}

#[test]
fn linux_gets_what_it_asks_for() {
    let (decision, changes) = negotiate(&platform(), &linux(&linux_vector_5(&[]))).unwrap();
    assert_eq!(decision, Decision::default_for(&platform()));
    let vector = value(&changes, "/chosen", "ibm,architecture-vec-5").unwrap();
    // The length byte, then bytes 1 to 26: with fewer, Linux hangs.
    assert_eq!((vector.len(), vector[0]), (27, 25));
    let agreed: Vec<(usize, u8)> =
        (1..27).map(|number| (number, vector[number])).filter(|(_, value)| *value != 0).collect();
    assert_eq!(agreed, [(2, 0x20), (5, 0xa0), (6, 0x04), (22, 0x80), (24, 0x40), (26, 0x40)]);
    // Of each CPU.
    assert_eq!(value(&changes, "/cpus", "cpu-version"), Some(&[0, 0x4e, 0x12, 0x03][..]));
}

/// By an interrupt of their own, where somebody plugs something and the guest knows it.
#[test]
fn hotplug_events_are_for_who_asks() {
    let agreed = |platform: &Platform, byte| {
        let vectors = linux(&linux_vector_5(&[(6, byte)]));
        let (decision, changes) = negotiate(platform, &vectors).unwrap();
        let vector = value(&changes, "/chosen", "ibm,architecture-vec-5").unwrap();
        assert_eq!(vector[6] == 0x04, decision.hotplug_events);
        decision.hotplug_events
    };
    assert_eq!(
        [0x05, 0x04, 0x01, 0].map(|byte| agreed(&platform(), byte)),
        [true, true, false, false]
    );
    let fixed = Platform::of(&Machine::new(&TestConfig::default()).unwrap());
    assert!(!agreed(&fixed, 0x05));
}

#[test]
fn what_linux_says_is_understood() {
    let proposal = Proposal::parse(&linux(&linux_vector_5(&[]))).unwrap();
    // Its last entry is the end of the list.
    assert_eq!(proposal.processors, [ANY_POWER9, ISA_3_0, ISA_2_07]);
    assert_eq!(proposal.levels, Some(ArchitectureLevels { version_2: 0xff, version_3: 0xc0 }));
    let firmware = FirmwareOptions { real_mode: true, min_real_mode_area_mib: 512 };
    assert_eq!(proposal.firmware, Some(firmware));
    let facilities = ProcessorOptions { floating_point: true, vector: true, decimal: true };
    assert_eq!(proposal.processor, Some(facilities));
    assert_eq!(proposal.entitlement, Some(EntitlementOptions { min_capacity_percent: 10 }));
    let options = PlatformOptions {
        dynamic_memory: true,
        form1_affinity: true,
        form2_affinity: true,
        hotplug_events: true,
        hpt_resize: true,
        max_cpus: 2048,
        dynamic_memory_v2: true,
        interrupts: Support::Only(InterruptMode::Xics),
        mmu: Support::Only(Mmu::Radix),
        radix_gtse: true,
    };
    assert_eq!(proposal.platform, Some(options));
}

#[test]
fn boot_loader_gets_what_the_machine_is() {
    let proposal = Proposal::parse(&grub()).unwrap();
    assert_eq!((proposal.processors.len(), proposal.levels), (0, None));
    assert_eq!(proposal.platform, None);
    let decision = Decision {
        cpu_version: 0x004e_1203,
        compat: None,
        is_lowered: false,
        mmu: Mmu::Radix,
        hpt_order: None,
        interrupts: InterruptMode::Xics,
        form1_affinity: false,
        form2_affinity: false,
        hotplug_events: false,
        dynamic_memory: false,
        dynamic_memory_v2: false,
    };
    assert_eq!(decide(&grub()), Ok(decision));
    // Where there are other ways, too, it keeps those that the machine started with.
    let mut platform = platform();
    platform.mmu = Support::Either;
    platform.interrupts = Support::Either;
    assert_eq!(negotiate(&platform, &grub()).unwrap().0, decision);
}

/// The last negotiation counts, whatever was agreed on before: each sets or removes the same
/// properties.
#[test]
fn negotiation_can_be_repeated() {
    let mut platform = platform();
    platform.mmu = Support::Either;
    platform.interrupts = Support::Either;
    let touched = |bytes: &[u8]| {
        let (_, changes) = negotiate(&platform, bytes).unwrap();
        let mut names: Vec<_> = changes
            .iter()
            .map(|change| (change.path().to_owned(), change.name().to_owned()))
            .collect();
        names.sort();
        names
    };
    let first = touched(&grub());
    assert_eq!(touched(&linux(&linux_vector_5(&[]))), first);
    assert_eq!(touched(&linux(&linux_vector_5(&[(2, 0), (5, 0), (22, 0)]))), first);
    assert_eq!(touched(&linux(&linux_vector_5(&[(24, 0)]))), first);
    assert_eq!(touched(&structure(&[ISA_3_0, LINUX_END], &[&[0x80]])), first);
}

#[test]
fn processor_has_to_be_known() {
    let of = |processors: &[ProcessorPattern]| {
        decide(&structure(&[processors, &[GRUB_END]].concat(), &[&[0x80]]))
            .map(|decision| decision.cpu_version)
    };
    assert_eq!(of(&[ANY_POWER9]), Ok(0x004e_1203));
    assert_eq!(of(&[ISA_3_0]), Ok(0x0f00_0005));
    // The processor itself rather than its level, in whatever order.
    assert_eq!(of(&[ISA_3_0, ANY_POWER9]), Ok(0x004e_1203));
    assert_eq!(of(&[ProcessorPattern { mask: 0, value: 0 }]), Ok(0x004e_1203));
    let refusal = of(&[ISA_2_07]).unwrap_err();
    assert_eq!(
        refusal,
        CasError::Processor { pvr: 0x004e_1203, logical_pvr: 0x0f00_0005, lowest: 0x0f00_0005 }
    );
    assert!(refusal.to_string().contains("0x004e1203"), "{refusal}");
}

/// A machine that is held to an architecture level is that level, also to a guest that knows its
/// host's processor.
#[test]
fn compatibility_mode_has_one_version() {
    let power10 = ProcessorPattern { mask: 0xffff_0000, value: 0x0080_0000 };
    let of = |processors: &[ProcessorPattern]| {
        let bytes = structure(&[processors, &[GRUB_END]].concat(), &[&[0x80]]);
        negotiate(&compat_platform(), &bytes)
    };
    let (decision, changes) = of(&[power10, ISA_3_0]).unwrap();
    assert_eq!(decision.cpu_version, 0x0f00_0005);
    assert!(changes.iter().all(|change| change.name() != "cpu-version"));
    assert!(matches!(of(&[power10]), Err(CasError::Processor { .. })));
}

/// What Linux says of processors since it knows POWER11.
#[test]
fn power11_is_known_by_its_version_and_its_level() {
    let processors =
        [(0xffff_0000, 0x0082_0000), (0xffff_ffff, 0x0f00_0007), (0xffff_ffff, 0x0f00_0006)]
            .map(|(mask, value)| ProcessorPattern { mask, value });
    let bytes = structure(&[&processors, &[LINUX_END][..]].concat(), &[&linux_vector_5(&[])]);
    let version = |model, host| {
        let cpus = Cpus::new(1, model);
        let machine = Machine::new(&TestConfig { cpus, ..config() }).unwrap();
        let platform = Platform::of(&machine.on_host(host).unwrap());
        negotiate(&platform, &bytes).unwrap().0.cpu_version
    };
    assert_eq!(version(CpuModel::Power11, 0x0082_0200), 0x0082_0200);
    assert_eq!(version(CpuModel::Power10, 0x0082_0200), 0x0f00_0006);
}

#[test]
fn guest_that_cannot_do_radix_is_refused() {
    let of = |set: &[(usize, u8)]| decide(&linux(&linux_vector_5(set)));
    let refusal = of(&[(24, 0)]).unwrap_err();
    assert_eq!(refusal, CasError::Mmu(Support::Only(Mmu::Hash)));
    assert!(refusal.to_string().contains("by hash only"), "{refusal}");
    // Either, and either with switching; other bits of the byte are about something else.
    for byte in [0x40, 0x80, 0xc0, 0x60] {
        assert_eq!(of(&[(24, byte)]).unwrap().mmu, Mmu::Radix);
    }
    // A vector from before there was radix.
    let old = linux(&linux_vector_5(&[])[..22]);
    assert_eq!(decide(&old), Err(CasError::Mmu(Support::Only(Mmu::Hash))));
}

#[test]
fn guest_that_needs_xive_is_refused() {
    let of = |byte| decide(&linux(&linux_vector_5(&[(23, byte)])));
    assert_eq!(of(0x40), Err(CasError::Interrupts(Support::Only(InterruptMode::Xive))));
    assert_eq!(of(0x80).unwrap().interrupts, InterruptMode::Xics);
}

/// Without `hcall-rpt-invalidate`, which this platform does not have, a radix guest panics when
/// it may not invalidate translations by itself.
#[test]
fn radix_comes_with_gtse() {
    let decision = decide(&linux(&linux_vector_5(&[(26, 0)]))).unwrap();
    assert_eq!(decision.architecture_vector_5()[26], 0x40);
}

#[test]
fn best_way_of_both_is_taken() {
    let mut platform = platform();
    platform.mmu = Support::Either;
    platform.interrupts = Support::Either;
    assert_eq!(platform_support(&platform), [23, 0x80, 24, 0x80, 25, 0, 26, 0x40]);
    let of = |mmu, interrupts| {
        let bytes = linux(&linux_vector_5(&[(23, interrupts), (24, mmu)]));
        let (decision, _) = negotiate(&platform, &bytes).unwrap();
        let vector = decision.architecture_vector_5();
        (decision.mmu, decision.interrupts, [vector[23], vector[24], vector[26]])
    };
    assert_eq!(of(0, 0), (Mmu::Hash, InterruptMode::Xics, [0, 0, 0]));
    assert_eq!(of(0x80, 0x80), (Mmu::Radix, InterruptMode::Xive, [0x40, 0x40, 0x40]));
    assert_eq!(of(0x40, 0), (Mmu::Radix, InterruptMode::Xics, [0, 0x40, 0x40]));
}

#[test]
fn platform_says_what_it_supports() {
    assert_eq!(platform_support(&platform()), [23, 0, 24, 0x40, 25, 0, 26, 0x40]);
}

/// Linux of 5.14 and before knows no form but the first; one that knows both takes the second.
#[test]
fn associativity_is_of_the_latest_form_that_the_guest_knows() {
    // Byte 5 also has resource reassignment (0x40), which is not there.
    for (said, agreed, points) in [
        (0x40, 0, &[4, 4][..]),
        (0xc0, 0x80, &[4, 3, 2, 1]),
        (0x20, 0x20, &[4]),
        (0xe0, 0xa0, &[4]),
    ] {
        let vectors = linux(&linux_vector_5(&[(5, said)]));
        let (decision, changes) = negotiate(&platform(), &vectors).unwrap();
        assert_eq!(decision.architecture_vector_5()[5], agreed);
        let cells: Vec<u8> = points.iter().flat_map(|point: &u32| point.to_be_bytes()).collect();
        let found = value(&changes, "/rtas", "ibm,associativity-reference-points");
        assert_eq!(found, Some(cells.as_slice()), "{said:#x}");
    }
    // Without a vector 5, as for a boot loader.
    let (_, changes) = negotiate(&platform(), &grub()).unwrap();
    let found = value(&changes, "/rtas", "ibm,associativity-reference-points");
    assert_eq!(found, Some(&[0, 0, 0, 4, 0, 0, 0, 4][..]));
}

#[test]
fn memory_is_listed_as_the_guest_knows_it() {
    const NODE: &str = "/ibm,dynamic-reconfiguration-memory";
    let (_, changes) = negotiate(&platform(), &linux(&linux_vector_5(&[]))).unwrap();
    #[rustfmt::skip]
    let sets: Vec<u8> = [
        2,
        2, 0, 0, 0, 0, 0xa0,
        3, 0, 0x2000_0000, 0x8000_0002, 0, 0_u32,
    ].iter().flat_map(|cell| cell.to_be_bytes()).collect();
    assert_eq!(value(&changes, NODE, "ibm,dynamic-memory-v2"), Some(sets.as_slice()));
    let gone = TreeChange::Remove { path: NODE.into(), name: "ibm,dynamic-memory".into() };
    assert!(changes.contains(&gone));

    let (decision, changes) = negotiate(&platform(), &linux(&linux_vector_5(&[(22, 0)]))).unwrap();
    assert_eq!(decision.architecture_vector_5()[22], 0);
    let blocks = value(&changes, NODE, "ibm,dynamic-memory").unwrap();
    assert_eq!(blocks.len(), 4 + 5 * 24);
    assert_eq!(blocks[..4], [0, 0, 0, 5]);
    assert_eq!(blocks[4..28], [[0; 23].as_slice(), &[0xa0]].concat());
    #[rustfmt::skip]
    assert_eq!(blocks[100..], [
        0, 0, 0, 0, 0x40, 0, 0, 0, 0x80, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
    let gone = TreeChange::Remove { path: NODE.into(), name: "ibm,dynamic-memory-v2".into() };
    assert!(changes.contains(&gone));

    let fixed = Platform::of(&Machine::new(&TestConfig::default()).unwrap());
    let (decision, changes) = negotiate(&fixed, &linux(&linux_vector_5(&[]))).unwrap();
    assert!(!decision.dynamic_memory && !decision.dynamic_memory_v2);
    assert!(changes.iter().all(|change| change.path() != NODE));
}

/// A vector is ignored when its first bit is set.
#[test]
fn ignored_vectors_say_nothing() {
    let vector_5 = linux_vector_5(&[(1, 0x80), (24, 0)]);
    assert_eq!(decide(&linux(&vector_5)), decide(&grub()));
}

#[test]
fn structure_cut_off_anywhere_is_an_error() {
    for whole in [linux(&linux_vector_5(&[])), grub()] {
        let counted = if whole == grub() { whole.len() } else { whole.len() - 257 };
        for len in 0..counted {
            assert_eq!(decide(&whole[..len]), Err(CasError::Truncated { at: len }));
        }
        for len in counted..=whole.len() {
            assert!(decide(&whole[..len]).is_ok());
        }
    }
}

#[test]
fn largest_structure_is_read_and_a_larger_one_is_not() {
    let mut processors = vec![ANY_POWER9; MAX_PROCESSORS - 1];
    let vectors = [[0x80; 256].as_slice(); 256];
    processors.push(LINUX_END);
    let largest = structure(&processors, &vectors);
    assert_eq!(largest.len(), MAX_VECTOR_BYTES);
    assert!(decide(&largest).is_ok());
    processors.insert(0, ANY_POWER9);
    assert_eq!(decide(&structure(&processors, &vectors)), Err(CasError::EndlessProcessors));
    assert_eq!(decide(&vec![0; 1 << 20]), Err(CasError::EndlessProcessors));
}

fn any_processor() -> impl Strategy<Value = ProcessorPattern> {
    (any::<u32>(), any::<u32>())
        .prop_map(|(mask, value)| ProcessorPattern { mask, value: value & mask })
}

fn any_vector() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..=256)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Whatever a guest passes, it gets an answer, and that changes nothing but what may change.
    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok((_, changes)) = negotiate(&platform(), &bytes) {
            for change in changes {
                prop_assert!(matches!(
                    change.name(),
                    "ibm,architecture-vec-5"
                        | "cpu-version"
                        | "ibm,associativity-reference-points"
                        | "ibm,dynamic-memory"
                        | "ibm,dynamic-memory-v2"
                ));
            }
        }
    }

    /// What is laid out is what is read, and nothing behind it counts.
    #[test]
    fn structures_are_read_as_laid_out(
        processors in prop::collection::vec(any_processor(), 0..40),
        vectors in prop::collection::vec(any_vector(), 1..9),
        behind in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = structure(&[processors.as_slice(), &[LINUX_END]].concat(), &vectors
            .iter().map(Vec::as_slice).collect::<Vec<_>>());
        let proposal = Proposal::parse(&bytes).unwrap();
        prop_assert_eq!(&proposal.processors, &processors);
        prop_assert_eq!(proposal.levels.is_some(), vectors[0][0] & 0x80 == 0);
        let vector_5 = vectors.get(4).filter(|vector| vector[0] & 0x80 == 0);
        prop_assert_eq!(proposal.platform.is_some(), vector_5.is_some());
        let len = bytes.len();
        prop_assert_eq!(
            Proposal::parse(&bytes[..len - 1]),
            Err(CasError::Truncated { at: len - 1 })
        );
        bytes.extend(behind);
        prop_assert_eq!(Proposal::parse(&bytes).unwrap(), proposal);
    }

    /// The answer is never more than both sides can.
    #[test]
    fn answer_is_within_the_proposal(vector in any_vector()) {
        let bytes = structure(&[LINUX_END], &[&[0x80], &[0x80], &[0x80], &[0x80], &vector]);
        let platform = platform();
        let proposal = Proposal::parse(&bytes).unwrap();
        if let (Ok(decision), Some(options)) =
            (Decision::new(&proposal, &platform), proposal.platform)
        {
            prop_assert!(options.mmu.includes(&decision.mmu));
            prop_assert!(options.interrupts.includes(&decision.interrupts));
            prop_assert!(platform.mmu.includes(&decision.mmu));
            prop_assert!(platform.interrupts.includes(&decision.interrupts));
            prop_assert!(!decision.dynamic_memory_v2 || options.dynamic_memory_v2);
            prop_assert!(!decision.form1_affinity || options.form1_affinity);
            prop_assert!(!decision.form2_affinity || options.form2_affinity);
        }
    }
}
