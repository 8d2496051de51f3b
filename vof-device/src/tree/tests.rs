use proptest::prelude::*;

use super::read::{HEADER_BYTES, LAST_COMPATIBLE, MAGIC, VERSION, token};
use super::*;
use crate::limits::{
    ADDED_VALUE_BYTES, MAX_BLOB_BYTES, MAX_DEPTH, MAX_NODE_NAME_BYTES, MAX_NODE_PROPERTIES,
    MAX_PROPERTY_NAME_BYTES,
};
use crate::test_utils::{sample_blob, sample_tree};

/// Writes blobs, wrong ones too. Property names are not shared.
#[derive(Default)]
struct Blob {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Blob {
    fn token(mut self, token: u32) -> Self {
        self.structure.extend(token.to_be_bytes());
        self
    }

    fn begin(self, name: &str) -> Self {
        let mut blob = self.token(token::BEGIN_NODE);
        blob.structure.extend(name.bytes().chain([0]));
        blob.pad()
    }

    fn property(self, name: &str, value: &[u8]) -> Self {
        let mut blob = self.token(token::PROP).token(value.len() as u32);
        let offset = blob.strings.len() as u32;
        blob.strings.extend(name.bytes().chain([0]));
        blob = blob.token(offset);
        blob.structure.extend(value);
        blob.pad()
    }

    fn phandle(self, phandle: u32) -> Self {
        self.property("phandle", &phandle.to_be_bytes())
    }

    fn end(self) -> Self {
        self.token(token::END_NODE)
    }

    fn pad(mut self) -> Self {
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
        self
    }

    fn finish(self) -> Vec<u8> {
        self.token(token::END).finish_without_end()
    }

    fn finish_without_end(self) -> Vec<u8> {
        let structure_at = HEADER_BYTES + 16;
        let strings_at = structure_at + self.structure.len();
        let total = strings_at + self.strings.len();
        let header = [
            MAGIC,
            total as u32,
            structure_at as u32,
            strings_at as u32,
            HEADER_BYTES as u32,
            VERSION,
            LAST_COMPATIBLE,
            0,
            self.strings.len() as u32,
            self.structure.len() as u32,
        ];
        let mut blob: Vec<u8> = header.iter().flat_map(|field| field.to_be_bytes()).collect();
        blob.resize(structure_at, 0);
        blob.extend(self.structure);
        blob.extend(self.strings);
        blob
    }
}

fn root() -> Blob {
    Blob::default().begin("").phandle(1)
}

fn error(blob: Blob) -> BlobError {
    DeviceTree::from_blob(&blob.finish()).unwrap_err()
}

#[test]
fn sample_comes_back_as_it_was() {
    let blob = sample_blob();
    assert_eq!(DeviceTree::from_blob(&blob).unwrap().to_blob(), blob);
    // What follows the tree is no part of it.
    let mut longer = blob.clone();
    longer.extend([0xaa; 100]);
    assert_eq!(DeviceTree::from_blob(&longer).unwrap().to_blob(), blob);
}

#[test]
fn reservations_and_boot_cpu_come_back() {
    let mut fdt = vm_fdt::FdtWriter::new_with_mem_reserv(&[
        vm_fdt::FdtReserveEntry::new(0x1000, 0x2000).unwrap(),
        vm_fdt::FdtReserveEntry::new(1 << 40, 1 << 33).unwrap(),
    ])
    .unwrap();
    let node = fdt.begin_node("").unwrap();
    fdt.property_phandle(7).unwrap();
    fdt.end_node(node).unwrap();
    fdt.set_boot_cpuid_phys(5);
    let blob = fdt.finish().unwrap();
    assert_eq!(DeviceTree::from_blob(&blob).unwrap().to_blob(), blob);
}

/// dtc looks for a name, with its NUL, in all that is there of the block, and takes the first place.
#[test]
fn names_are_where_dtc_puts_them() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for _ in 0..200 {
        let mut tree = sample_tree();
        for _ in 0..random(60) {
            let node = tree.nodes().nth(random(10) as usize).unwrap();
            let name: String =
                (0..1 + random(7)).map(|_| if random(3) == 0 { 'b' } else { 'a' }).collect();
            tree.set_property(node, &name, b"").unwrap();
        }
        let mut expected: Vec<u8> = Vec::new();
        for (name, _) in tree.nodes().flat_map(|node| tree.properties(node)) {
            let name = [name.as_bytes(), &[0]].concat();
            if !expected.windows(name.len()).any(|place| place == name) {
                expected.extend(name);
            }
        }
        let blob = tree.to_blob();
        assert_eq!(blob[blob.len() - expected.len()..], expected);
        assert_eq!(blob[32..36], (expected.len() as u32).to_be_bytes());
        // Each at its first place, which the blob's own reader does not look at.
        let again = DeviceTree::from_blob(&blob).unwrap();
        let all = |tree: &DeviceTree| {
            let names = tree.nodes().flat_map(|node| tree.properties(node));
            names.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(all(&again), all(&tree));
        assert_eq!(again.to_blob(), blob);
    }
}

#[test]
fn names_share_their_ends() {
    let blob = root().property("dma-ranges", b"").property("ranges", b"").end().finish();
    let tree = DeviceTree::from_blob(&blob).unwrap();
    let again = tree.to_blob();
    assert_eq!(again.len(), blob.len() - "ranges\0".len());
    assert_eq!(DeviceTree::from_blob(&again).unwrap().to_blob(), again);
}

#[test]
fn slack_and_nops_are_read_over() {
    let blob = root().token(token::NOP).property("a", b"12345").token(token::NOP).end();
    let mut bytes = blob.token(token::NOP).finish();
    bytes.resize(bytes.len() + 64, 0);
    let total = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&total.to_be_bytes());
    let tree = DeviceTree::from_blob(&bytes).unwrap();
    assert_eq!(tree.property(tree.root(), "a"), Some(&b"12345"[..]));
}

#[test]
fn every_early_end_is_told() {
    let blob = sample_blob();
    for len in 0..blob.len() {
        let truncated = DeviceTree::from_blob(&blob[..len]);
        assert!(matches!(truncated, Err(BlobError::Truncated { .. })), "{len}");
    }
}

#[test]
fn headers_are_checked() {
    let with = |field: usize, value: u32| {
        let mut blob = sample_blob();
        blob[field * 4..field * 4 + 4].copy_from_slice(&value.to_be_bytes());
        DeviceTree::from_blob(&blob).unwrap_err()
    };
    assert_eq!(with(0, 7), BlobError::Magic(7));
    assert_eq!(with(5, 16), BlobError::Version { version: 16, last_compatible: 16 });
    assert_eq!(with(6, 18), BlobError::Version { version: 17, last_compatible: 18 });
    assert_eq!(with(1, u32::MAX), BlobError::TooLarge(u32::MAX as usize));
    let most = MAX_BLOB_BYTES as u32;
    assert_eq!(with(1, most + 1), BlobError::TooLarge(MAX_BLOB_BYTES + 1));
    assert!(matches!(with(1, most), BlobError::Truncated { .. }));
    for (field, value) in [(2, u32::MAX), (3, u32::MAX), (4, u32::MAX), (8, u32::MAX), (9, 4)] {
        assert!(matches!(with(field, value), BlobError::Truncated { .. }), "{field}");
    }
}

#[test]
fn structures_that_are_no_tree_are_told() {
    use BlobError as E;
    assert!(matches!(error(Blob::default()), E::NotOneTree { .. }));
    assert!(matches!(error(root()), E::NotOneTree { .. }));
    assert!(matches!(error(root().end().end()), E::NotOneTree { .. }));
    assert!(matches!(error(root().end().begin("second")), E::NotOneTree { .. }));
    assert!(matches!(error(root().token(5)), E::Token { token: 5, .. }));
    let unended = root().end().finish_without_end();
    assert!(matches!(DeviceTree::from_blob(&unended), Err(E::Truncated { .. })));
    let late = root().begin("a").phandle(2).end().property("late", b"");
    assert!(matches!(error(late), E::PropertyPlace { .. }));
    assert!(matches!(error(Blob::default().property("early", b"")), E::PropertyPlace { .. }));
}

#[test]
fn names_are_checked() {
    use BlobError as E;
    let long = "n".repeat(MAX_NODE_NAME_BYTES + 1);
    for name in ["", "a/b", "a b", "@1", "\u{e4}", &long] {
        assert!(matches!(error(root().begin(name)), E::NodeName { .. }), "{name:?}");
    }
    assert!(matches!(error(Blob::default().begin("root")), E::NodeName { .. }));
    let long = "p".repeat(MAX_PROPERTY_NAME_BYTES + 1);
    for name in ["", "a/b", "a b", "\u{e4}", &long] {
        assert!(matches!(error(root().property(name, b"")), E::PropertyName { .. }), "{name:?}");
    }
    let longest_node = &long[..][..MAX_PROPERTY_NAME_BYTES];
    let node = "n".repeat(MAX_NODE_NAME_BYTES);
    let blob = root().property(longest_node, b"").begin(&node).phandle(2).end().end().finish();
    let tree = DeviceTree::from_blob(&blob).unwrap();
    assert!(tree.find(&format!("/{node}")).is_some());
}

#[test]
fn twins_are_told() {
    use BlobError as E;
    let twins = root().begin("a@1").phandle(2).end().begin("a@1").phandle(3).end().end();
    assert_eq!(error(twins), E::DuplicateNode { path: "/a@1".to_owned() });
    let twins = root().begin("a@1").phandle(2).end().begin("a").phandle(3).end();
    let twins = twins.begin("a").phandle(4).end().end();
    assert_eq!(error(twins), E::DuplicateNode { path: "/a".to_owned() });
    let cousins = root().begin("a").phandle(2).begin("a").phandle(3).end().end().end();
    assert!(DeviceTree::from_blob(&cousins.finish()).is_ok());
    let twins = root().begin("a").property("x", b"1").property("y", b"").property("x", b"2");
    let (path, name) = ("/a".to_owned(), "x".to_owned());
    assert_eq!(error(twins), E::DuplicateProperty { path, name });
    let twins = root().begin("a").phandle(1).end().end();
    assert_eq!(error(twins), E::DuplicatePhandle(1));
}

#[test]
fn every_node_needs_a_phandle() {
    for phandle in [&b""[..], &[0; 4], &[0xff; 4], &[0, 0, 0, 0, 0, 0, 0, 1]] {
        let blob = root().begin("a").property("phandle", phandle).end().end();
        assert_eq!(error(blob), BlobError::Phandle { path: "/a".to_owned() });
    }
    let blob = root().begin("a").property("linux,phandle", &[0, 0, 0, 2]).end().end();
    assert_eq!(error(blob), BlobError::Phandle { path: "/a".to_owned() });
}

#[test]
fn depth_and_properties_have_limits() {
    let deep = |levels: usize| {
        let mut blob = root();
        for level in 0..levels {
            blob = blob.begin("a").phandle(level as u32 + 2);
        }
        (0..=levels).fold(blob, |blob, _| blob.end())
    };
    let tree = DeviceTree::from_blob(&deep(MAX_DEPTH).finish()).unwrap();
    let path = "/a".repeat(MAX_DEPTH);
    assert_eq!(tree.path(tree.find(&path).unwrap()), path);
    assert!(matches!(error(deep(MAX_DEPTH + 1)), BlobError::TooDeep { .. }));

    let wide = |count: usize| {
        (1..count).fold(root(), |blob, number| blob.property(&format!("p{number}"), b"")).end()
    };
    let mut tree = DeviceTree::from_blob(&wide(MAX_NODE_PROPERTIES).finish()).unwrap();
    assert_eq!(tree.set_property(tree.root(), "more", b""), Err(SetError::TooMany));
    assert!(tree.remove_property(tree.root(), "p7"));
    assert_eq!(tree.set_property(tree.root(), "more", b""), Ok(()));
    let path = "/".to_owned();
    assert_eq!(error(wide(MAX_NODE_PROPERTIES + 1)), BlobError::TooManyProperties { path });
}

#[test]
fn properties_are_set_and_removed() {
    let mut tree = sample_tree();
    let chosen = tree.find("/chosen").unwrap();
    for value in [&b""[..], b"1", b"1234", b"12345", b"1", b"123456", b"123456789"] {
        assert_eq!(tree.set_property(chosen, "bootargs", value), Ok(()));
        assert_eq!(tree.property(chosen, "bootargs"), Some(value));
        let kept = if value.len() > 4 { value.len() + ADDED_VALUE_BYTES } else { 0 };
        assert_eq!(tree.set_bytes(), kept);
    }
    assert_eq!(tree.set_property(chosen, "new", b"abcdef"), Ok(()));
    assert_eq!(tree.properties(chosen).last(), Some(("new", &b"abcdef"[..])));
    assert!(tree.remove_property(chosen, "bootargs"));
    assert!(!tree.remove_property(chosen, "bootargs"));
    assert_eq!(tree.property(chosen, "bootargs"), None);
    assert_eq!(tree.set_bytes(), 6 + ADDED_VALUE_BYTES);
    for name in ["", "a/b", "a b", &"x".repeat(MAX_PROPERTY_NAME_BYTES + 1)] {
        assert_eq!(tree.set_property(chosen, name, b""), Err(SetError::Name));
    }
    assert_eq!(tree.set_property(chosen, "phandle", b""), Err(SetError::Phandle));
    assert!(!tree.remove_property(chosen, "phandle"));
    let phandle = tree.phandle(chosen).to_be_bytes();
    assert_eq!(tree.set_property(chosen, "phandle", &phandle), Ok(()));
}

#[test]
fn a_clone_is_a_tree_of_its_own() {
    let mut tree = sample_tree();
    let before = tree.clone();
    let chosen = tree.find("/chosen").unwrap();
    tree.set_property(chosen, "bootargs", b"other").unwrap();
    assert_eq!(before.property(chosen, "bootargs"), Some(&b"console=hvc0\0"[..]));
    assert_eq!(before.to_blob(), sample_blob());
}

#[test]
fn nodes_of_other_trees_do_no_harm() {
    let mut tree = DeviceTree::from_blob(&root().end().finish()).unwrap();
    let other = sample_tree().find("/vdevice/vty").unwrap();
    assert_eq!((tree.child(other), tree.peer(other), tree.parent(other)), (None, None, None));
    assert_eq!((tree.phandle(other), tree.full_name(other)), (0, ""));
    assert_eq!(tree.property(other, "name"), None);
    assert_eq!(tree.set_property(other, "a", b""), Err(SetError::TooMany));
    assert!(!tree.remove_property(other, "a"));
    assert_eq!(tree.path(other), "/");
}

#[test]
fn aliases_name_devices_with_their_arguments() {
    let tree = sample_tree();
    let resolve = |specifier: &'static str| {
        let found = tree.resolve(specifier)?;
        Some((tree.path(found.node), found.arguments.to_owned()))
    };
    let some = |path: &str, arguments: &str| Some((path.to_owned(), arguments.to_owned()));
    assert_eq!(resolve("disk"), some("/vdevice/v-scsi@2000", "1"));
    assert_eq!(resolve("disk:2"), some("/vdevice/v-scsi@2000", "2"));
    assert_eq!(resolve("disk/nothing"), None);
    assert_eq!(resolve("/vdevice:1/vty:2"), some("/vdevice/vty@71000000", "2"));
    assert_eq!(resolve("/:all"), some("/", "all"));
    // A property of /aliases that is not a path names nothing.
    assert_eq!(resolve("phandle"), None);
}

#[test]
fn the_first_of_several_is_meant_when_the_unit_is_left_out() {
    let blob = root()
        .begin("IBM,a@1")
        .phandle(2)
        .end()
        .begin("b,a@2")
        .phandle(3)
        .end()
        .begin("a@0A,00")
        .phandle(4)
        .end()
        .end();
    let tree = DeviceTree::from_blob(&blob.finish()).unwrap();
    let find = |path: &str| tree.find(path).map(|node| tree.phandle(node));
    assert_eq!(find("/IBM,a"), Some(2));
    assert_eq!(find("/a"), Some(4));
    assert_eq!(find("/a@2"), Some(3));
    assert_eq!(find("/b,a"), Some(3));
    assert_eq!(find("/a@a,0"), Some(4));
    assert_eq!(find("/a@00A"), None);
    assert_eq!(find("/@2"), Some(3));
    assert_eq!(find("/@a,00"), Some(4));
    assert_eq!(find("/c,a"), None);
}

/// Each of them is found by its own path, whatever else is at its unit or has its name.
#[test]
fn units_and_names_are_shared() {
    let names = ["b@1", "a@1", "x,a@1", "y,a@1", "a", "x,a@2", "c@1,0", "c@1,00", "d", "d@1"];
    let blob = (2..)
        .zip(names)
        .fold(root(), |blob, (phandle, name)| blob.begin(name).phandle(phandle).end());
    let tree = DeviceTree::from_blob(&blob.end().finish()).unwrap();
    let find = |path: &str| tree.find(path).map(|node| tree.full_name(node));
    for name in names.iter().filter(|name| **name != "c@1,00") {
        assert_eq!(find(&format!("/{name}")), Some(*name));
    }
    // The same unit, written in two ways: the first is meant.
    assert_eq!(find("/c@1,00"), Some("c@1,0"));
    assert_eq!(find("/@1"), Some("b@1"));
    assert_eq!(find("/a@2"), Some("x,a@2"));
    assert_eq!(find("/@3"), None);
    assert_eq!(find("/a@3"), None);
    assert_eq!(find("/@"), None);
    let blob = root().begin("b@1").phandle(2).end().begin("x,a@1").phandle(3).end();
    let blob = blob.begin("y,a@01").phandle(4).end().end();
    let tree = DeviceTree::from_blob(&blob.finish()).unwrap();
    assert_eq!(tree.find("/a@1").map(|node| tree.phandle(node)), Some(3));
}

/// A tree in the plainest form.
#[derive(Debug, Clone)]
struct Model {
    name: String,
    properties: Vec<(String, Vec<u8>)>,
    children: Vec<Model>,
}

impl Model {
    /// Gives names that siblings do not share, and phandles.
    fn number(&mut self, name: String, next: &mut u32) {
        self.name = name;
        let mut seen = std::collections::HashSet::new();
        self.properties.retain(|(name, _)| name != "phandle" && seen.insert(name.clone()));
        let phandle = if *next % 5 == 4 { *next << 20 } else { *next };
        self.properties.insert(0, ("phandle".to_owned(), phandle.to_be_bytes().to_vec()));
        *next += 1;
        for (number, child) in self.children.iter_mut().enumerate() {
            child.number(format!("{}@{number:x}", child.name), next);
        }
    }

    fn blob(&self, blob: Blob) -> Blob {
        let blob = blob.begin(&self.name);
        let blob =
            self.properties.iter().fold(blob, |blob, (name, value)| blob.property(name, value));
        self.children.iter().fold(blob, |blob, child| child.blob(blob)).end()
    }

    fn nodes(&self) -> Vec<&Model> {
        std::iter::once(self).chain(self.children.iter().flat_map(Model::nodes)).collect()
    }

    fn nth(&mut self, number: usize) -> &mut Model {
        fn walk<'a>(model: &'a mut Model, left: &mut usize) -> Option<&'a mut Model> {
            if *left == 0 {
                return Some(model);
            }
            *left -= 1;
            model.children.iter_mut().find_map(|child| walk(child, left))
        }
        let mut left = number % self.nodes().len();
        walk(self, &mut left).unwrap()
    }

    fn set(&mut self, name: &str, value: &[u8]) {
        match self.properties.iter_mut().find(|(other, _)| other == name) {
            Some(property) => property.1 = value.to_vec(),
            None => self.properties.push((name.to_owned(), value.to_vec())),
        }
    }

    fn remove(&mut self, name: &str) -> bool {
        let len = self.properties.len();
        self.properties.retain(|(other, _)| other != name);
        self.properties.len() < len
    }
}

fn models() -> impl Strategy<Value = Model> {
    let properties = prop::collection::vec((property_name(), value()), 0..6);
    let leaf = ("[a-z][a-z,.-]{0,8}", properties.clone()).prop_map(|(name, properties)| Model {
        name,
        properties,
        children: vec![],
    });
    let tree = leaf.prop_recursive(5, 60, 6, move |inner| {
        ("[a-z][a-z,.-]{0,8}", properties.clone(), prop::collection::vec(inner, 0..6))
            .prop_map(|(name, properties, children)| Model { name, properties, children })
    });
    tree.prop_map(|mut tree| {
        tree.number(String::new(), &mut 1);
        tree
    })
}

fn property_name() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        4 => "[a-d]{1,2}",
        1 => "#?[a-z][a-z,-]{0,40}",
        1 => Just("name".to_owned()),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> + Clone {
    prop::collection::vec(any::<u8>(), 0..12)
}

fn assert_same(tree: &DeviceTree, model: &Model) {
    fn walk(tree: &DeviceTree, node: NodeId, parent: Option<NodeId>, model: &Model, path: &str) {
        assert_eq!(tree.full_name(node), model.name);
        assert_eq!(tree.name(node), model.name.split('@').next().unwrap());
        assert_eq!(tree.parent(node), parent);
        let shown = if path.is_empty() { "/" } else { path };
        assert_eq!(tree.path(node), shown);
        assert_eq!(tree.find(shown), Some(node), "{shown}");
        assert_eq!(tree.node_by_phandle(tree.phandle(node)), Some(node));
        let expected: Vec<_> =
            model.properties.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
        assert_eq!(tree.properties(node).collect::<Vec<_>>(), expected);
        for (name, value) in expected {
            assert_eq!(tree.property(node, name), Some(value));
        }
        let mut names: Vec<&str> = model.properties.iter().map(|(name, _)| name.as_str()).collect();
        if !names.contains(&"name") {
            names.push("name");
        }
        let mut previous = "";
        for name in names {
            let next = tree.next_property(node, previous.as_bytes());
            assert_eq!(next, NextProperty::Name(name));
            previous = name;
        }
        assert_eq!(tree.next_property(node, previous.as_bytes()), NextProperty::Last);
        assert_eq!(tree.next_property(node, b"no-such-name"), NextProperty::Unknown);
        let children: Vec<NodeId> = tree.children(node).collect();
        assert_eq!(children.len(), model.children.len());
        for (&child, model) in children.iter().zip(&model.children) {
            walk(tree, child, Some(node), model, &format!("{path}/{}", model.name));
        }
    }
    assert_eq!(tree.nodes().len(), model.nodes().len());
    walk(tree, tree.root(), None, model, "");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn trees_agree_with_a_plain_model(
        mut model in models(),
        steps in prop::collection::vec(
            (any::<usize>(), property_name(), prop::option::weighted(0.7, value())),
            0..60,
        ),
    ) {
        let mut tree = DeviceTree::from_blob(&model.blob(Blob::default()).finish()).unwrap();
        assert_same(&tree, &model);
        for (number, name, value) in steps {
            let nodes = model.nodes().len();
            let node = tree.nodes().nth(number % nodes).unwrap();
            let entry = model.nth(number);
            match value {
                Some(value) => {
                    prop_assert_eq!(tree.set_property(node, &name, &value), Ok(()));
                    entry.set(&name, &value);
                }
                None => prop_assert_eq!(tree.remove_property(node, &name), entry.remove(&name)),
            }
        }
        assert_same(&tree, &model);
        let blob = tree.to_blob();
        let again = DeviceTree::from_blob(&blob).unwrap();
        assert_same(&again, &model);
        prop_assert_eq!(again.to_blob(), blob);
        // `to_blob_with` differs in one value only.
        let id = tree.name_id(b"phandle").unwrap();
        let phandle = tree.phandle(tree.root()).to_be_bytes();
        prop_assert_eq!(tree.to_blob_with(tree.root(), id, &phandle), again.to_blob());
    }

    #[test]
    fn broken_blobs_are_errors_or_trees(
        model in models(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut blob = model.blob(Blob::default()).finish();
        for (at, byte) in changes {
            let at = at.index(blob.len());
            blob[at] = byte;
        }
        if let Ok(tree) = DeviceTree::from_blob(&blob) {
            let written = tree.to_blob();
            prop_assert_eq!(DeviceTree::from_blob(&written).unwrap().to_blob(), written);
        }
    }

    #[test]
    fn any_bytes_are_an_error_or_a_tree(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = DeviceTree::from_blob(&bytes);
        if let Some(magic) = bytes.get_mut(..4) {
            magic.copy_from_slice(&MAGIC.to_be_bytes());
        }
        let _ = DeviceTree::from_blob(&bytes);
    }

    /// Paths of anything: found or not, at once.
    #[test]
    fn any_path_is_answered(path in "(/|@|:|,|[a-z0]|\\PC){0,40}") {
        let tree = sample_tree();
        if let Some(found) = tree.resolve(&path) {
            prop_assert_eq!(tree.find(&tree.path(found.node)), Some(found.node));
        }
    }
}
