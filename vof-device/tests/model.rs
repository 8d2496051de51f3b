//! Clients of random trees, and what a plain model of the interface says that they get.

use proptest::prelude::*;
use vof_device::test_utils::model::{Change, Pick, Row, Session, Space, Step, Tree};

fn property_names() -> impl Strategy<Value = String> + Clone {
    let names = ["a", "b", "c", "reg", "name", "#cells", "device_type2", "ab", "abcdefgh"];
    prop::sample::select(names.to_vec()).prop_map(str::to_owned)
}

fn values() -> impl Strategy<Value = Vec<u8>> + Clone {
    prop::collection::vec(any::<u8>(), 0..20)
}

fn trees() -> impl Strategy<Value = Tree> {
    let names = ["a", "b", "x,a", "y,a", "cpu", "aliases"];
    let units =
        [None, Some("0"), Some("1"), Some("01"), Some("1,0"), Some("A"), Some("a"), Some("ff")];
    let row = (
        any::<usize>(),
        prop::sample::select(names.to_vec()),
        prop::sample::select(units.to_vec()),
        prop::collection::vec((property_names(), values()), 0..8),
    );
    let row = row.prop_map(|(parent, name, unit, properties)| {
        let name = unit.map_or(name.to_owned(), |unit| format!("{name}@{unit}"));
        Row { parent, name, properties }
    });
    let aliases = prop::collection::vec(any::<usize>(), 0..3);
    (prop::collection::vec(row, 0..50), aliases, 0..3_u8)
        .prop_map(|(rows, aliases, numbering)| Tree::of_rows(&rows, &aliases, numbering))
}

fn picks() -> impl Strategy<Value = Pick> + Clone {
    prop::option::weighted(0.95, any::<usize>()).prop_map(Pick)
}

fn changes() -> impl Strategy<Value = Change> {
    let seldom = || prop::bool::weighted(0.2);
    (seldom(), seldom(), seldom(), seldom(), seldom(), seldom(), any::<bool>()).prop_map(
        |(drop_units, drop_names, drop_manufacturers, zeros, upper, slashes, arguments)| Change {
            drop_units,
            drop_names,
            drop_manufacturers,
            zeros,
            upper,
            slashes,
            arguments,
        },
    )
}

/// Around what is in use, and around the end of RAM.
fn addresses() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![
        0..0x10_u32,
        (0..0x80_u32).prop_map(|number| number << 12),
        (0..0x20_u32).prop_map(|number| number << 16),
        (0x100_0000 - 0x10..0x100_0010_u32),
        Just(u32::MAX),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let rooms = || prop_oneof![0..40_u32, Just(300)];
    let paths = "((/|al0|al1)(/|a|b|x,a|cpu|@1|@0A|:y|,){0,8}|al[0-3](:z|/a|/b@1)?)";
    let names = || prop_oneof![8 => property_names(), 1 => Just(String::new()), 1 => "[d-f]{1,70}"];
    let in_tree = prop_oneof![
        picks().prop_map(Step::Peer),
        picks().prop_map(Step::Child),
        picks().prop_map(Step::Parent),
        (picks(), names()).prop_map(|(pick, name)| Step::Len(pick, name)),
        (picks(), names(), rooms()).prop_map(|(pick, name, room)| Step::Get(pick, name, room)),
        (picks(), any::<usize>()).prop_map(|(pick, at)| Step::GetAt(pick, at)),
        (picks(), any::<usize>()).prop_map(|(pick, at)| Step::Next(pick, at)),
        (picks(), names()).prop_map(|(pick, name)| Step::NextOf(pick, name)),
        (picks(), property_names(), values())
            .prop_map(|(pick, name, value)| Step::Set(pick, name, value)),
        (picks(), rooms()).prop_map(|(pick, room)| Step::Path(pick, room)),
        paths.prop_map(Step::Find),
        (picks(), changes()).prop_map(|(pick, change)| Step::FindNode(pick, change)),
        (picks(), changes(), rooms())
            .prop_map(|(pick, change, room)| Step::Canon(pick, change, room)),
    ];
    let others = prop_oneof![
        3 => (picks(), changes()).prop_map(|(pick, change)| Step::Open(pick, change)),
        2 => (any::<usize>(), rooms()).prop_map(|(at, room)| Step::Instance(at, room)),
        1 => any::<usize>().prop_map(Step::Close),
        2 => (addresses(), addresses()).prop_map(|(start, size)| Step::ClaimAt(start, size)),
        2 => (addresses(), addresses())
            .prop_map(|(size, alignment)| Step::ClaimAligned(size, alignment.max(1))),
        1 => (addresses(), addresses()).prop_map(|(start, size)| Step::Release(start, size)),
        2 => (any::<usize>(), addresses())
            .prop_map(|(at, offset)| Step::ReleaseClaimed(at, offset)),
        1 => (any::<usize>(), values()).prop_map(|(at, text)| Step::Write(at, text)),
        1 => (any::<usize>(), "[a-z]{0,12}", rooms())
            .prop_map(|(at, typed, room)| Step::Read(at, typed, room)),
        1 => prop::sample::select(&["test", "claim", "no-such", ""][..])
            .prop_map(|name| Step::Test(name.to_owned())),
        1 => (spaces(), addresses(), addresses(), addresses())
            .prop_map(|(space, at, size, align)| Step::MethodClaim(space, at, size, align)),
        1 => (spaces(), addresses(), addresses())
            .prop_map(|(space, at, size)| Step::MethodClaim(space, at, size, 0)),
        1 => (spaces(), addresses(), addresses())
            .prop_map(|(space, at, size)| Step::MethodRelease(space, at, size)),
        1 => (addresses(), addresses()).prop_map(|(at, size)| Step::Translate(at, size)),
        1 => any::<u32>().prop_map(Step::SetCallback),
        1 => Just(Step::MoveOn),
        1 => Just(Step::Nothing),
    ];
    prop_oneof![3 => in_tree, 1 => others]
}

fn spaces() -> impl Strategy<Value = Space> {
    prop::sample::select(&[Space::Real, Space::Virtual][..])
}

fn play(mut session: Session, steps: &[Step]) {
    for step in steps {
        session.run(step);
    }
    session.check_tree();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn clients_get_what_a_plain_model_says(
        tree in trees(),
        steps in prop::collection::vec(steps(), 1..120),
    ) {
        play(Session::with_tree(&tree), &steps);
    }

    /// With a console, and where free memory is told.
    #[test]
    fn clients_of_the_sample_do_too(steps in prop::collection::vec(steps(), 1..120)) {
        play(Session::with_sample(), &steps);
    }
}
