//! Clients of random trees, and what a plain model of the tree says that they get.

use arch_ppc64::Status;
use proptest::prelude::*;
use proptest::sample::Index;
use vm_fdt::FdtWriter;
use vof_device::test_utils::{Argument, Client, TestMachine};
use vof_device::{DeviceTree, PropertyPolicy};

const NONE: u32 = u32::MAX;
const RAM_BYTES: u64 = 16 << 20;

/// A tree as one would write it down: nodes in depth-first order.
#[derive(Debug, Clone, Default)]
struct Model {
    nodes: Vec<Node>,
    /// Ihandles with what they are of.
    instances: Vec<(u32, usize, String)>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    name: String,
    parent: Option<usize>,
    children: Vec<usize>,
    phandle: u32,
    properties: Vec<(String, Vec<u8>)>,
}

impl Model {
    fn node(&self, phandle: u32) -> Option<usize> {
        self.nodes.iter().position(|node| node.phandle == phandle)
    }

    fn phandle(&self, node: Option<usize>) -> u32 {
        node.map_or(0, |node| self.nodes[node].phandle)
    }

    fn peer(&self, node: usize) -> Option<usize> {
        let siblings = &self.nodes[self.nodes[node].parent?].children;
        let at = siblings.iter().position(|&sibling| sibling == node)?;
        siblings.get(at + 1).copied()
    }

    /// "name" is always there.
    fn value(&self, node: usize, name: &str) -> Option<Vec<u8>> {
        let node = &self.nodes[node];
        let stored = node.properties.iter().find(|(other, _)| other == name);
        match stored {
            Some((_, value)) => Some(value.clone()),
            None if name == "name" => Some([base(&node.name).as_bytes(), b"\0"].concat()),
            None => None,
        }
    }

    fn names(&self, node: usize) -> Vec<&str> {
        let properties = &self.nodes[node].properties;
        let mut names: Vec<&str> = properties.iter().map(|(name, _)| name.as_str()).collect();
        if !names.contains(&"name") {
            names.push("name");
        }
        names
    }

    fn set(&mut self, node: usize, name: &str, value: &[u8]) {
        let properties = &mut self.nodes[node].properties;
        match properties.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => *old = value.to_vec(),
            None => properties.push((name.to_owned(), value.to_vec())),
        }
    }

    fn path(&self, node: usize) -> String {
        match self.nodes[node].parent {
            None => "/".to_owned(),
            Some(parent) => {
                let above = self.path(parent);
                format!("{}/{}", above.trim_end_matches('/'), self.nodes[node].name)
            }
        }
    }

    /// The node and its arguments.
    fn find(&self, specifier: &str) -> Option<(usize, String)> {
        if !specifier.starts_with('/') {
            let head_len = specifier.find(['/', ':']).unwrap_or(specifier.len());
            let (alias, tail) = specifier.split_at(head_len);
            let (aliases, _) = self.find("/aliases")?;
            let value = self.value(aliases, alias).filter(|_| alias != "name")?;
            let path = String::from_utf8(value).ok()?;
            let path = path.trim_end_matches('\0');
            let path = if tail.is_empty() { path } else { path.split(':').next()? };
            return self.find(&format!("{path}{tail}")).filter(|_| path.starts_with('/'));
        }
        let (mut node, mut arguments) = (0, "");
        for component in specifier.split('/').filter(|component| !component.is_empty()) {
            let name;
            (name, arguments) = component.split_once(':').unwrap_or((component, ""));
            if !name.is_empty() {
                node = self.child(node, name)?;
            }
        }
        Some((node, arguments.to_owned()))
    }

    /// What is meant is the first child of the first kind there is: that name; another's with the
    /// unit or the manufacturer left out.
    fn child(&self, node: usize, wanted: &str) -> Option<usize> {
        let children = &self.nodes[node].children;
        let first = |is_it: &dyn Fn(&str) -> bool| {
            children.iter().copied().find(|&child| is_it(&self.nodes[child].name))
        };
        let manufacturers = |name: &str| name.split_once(',').map(|(_, rest)| rest.to_owned());
        let (name, address) = (base(wanted), unit(wanted));
        match (name, address) {
            ("", None) => None,
            ("", Some(address)) => first(&|child| unit(child).as_ref() == Some(&address)),
            (name, None) => first(&|child| child == name)
                .or_else(|| first(&|child| base(child) == name))
                .or_else(|| first(&|child| manufacturers(base(child)).as_deref() == Some(name))),
            (name, Some(address)) => {
                let is_there = |child: &str| unit(child).as_ref() == Some(&address);
                first(&|child| is_there(child) && base(child) == name).or_else(|| {
                    first(&|child| {
                        is_there(child) && manufacturers(base(child)).as_deref() == Some(name)
                    })
                })
            }
        }
    }

    fn blob(&self) -> Vec<u8> {
        fn write(fdt: &mut FdtWriter, model: &Model, node: usize) -> Result<(), vm_fdt::Error> {
            let entry = &model.nodes[node];
            let node = fdt.begin_node(&entry.name)?;
            for (name, value) in &entry.properties {
                fdt.property(name, value)?;
            }
            for &child in &entry.children {
                write(fdt, model, child)?;
            }
            fdt.end_node(node)
        }
        let mut fdt = FdtWriter::new().unwrap();
        write(&mut fdt, self, 0).unwrap();
        fdt.finish().unwrap()
    }
}

fn base(name: &str) -> &str {
    name.split('@').next().unwrap()
}

/// The unit address in the form that is compared.
fn unit(name: &str) -> Option<String> {
    let (_, unit) = name.split_once('@')?;
    let parts = unit.to_ascii_lowercase();
    let parts = parts.split(',').map(|part| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        digits => digits.to_owned(),
    });
    Some(parts.collect::<Vec<_>>().join(",")).filter(|unit| !unit.is_empty())
}

/// One call, or a few that belong together. A node is one of the tree or, seldom, none.
#[derive(Debug, Clone)]
enum Step {
    Peer(Pick),
    Child(Pick),
    Parent(Pick),
    Len(Pick, String),
    Get(Pick, String, u32),
    Next(Pick, Index),
    NextOf(Pick, String),
    Set(Pick, String, Vec<u8>),
    Path(Pick, u32),
    Find(String),
    FindNode(Pick, Change),
    Canon(Pick, Change, u32),
    Open(Pick, Change),
    Instance(Index, u32),
    Close(Index),
}

/// A node of the tree, or a phandle of none.
#[derive(Debug, Clone)]
struct Pick(Option<Index>);

/// How a path differs from the one that the tree gives.
#[derive(Debug, Clone, Copy)]
struct Change {
    drop_units: bool,
    drop_names: bool,
    drop_manufacturers: bool,
    zeros: bool,
    upper: bool,
    slashes: bool,
    arguments: bool,
}

impl Change {
    fn apply(self, path: &str) -> String {
        let mut changed = String::new();
        for component in path.split('/').skip(1).filter(|component| !component.is_empty()) {
            let (mut name, unit) = component.split_once('@').unwrap_or((component, ""));
            if self.drop_manufacturers {
                name = name.split_once(',').map_or(name, |(_, rest)| rest);
            }
            if self.drop_names && !unit.is_empty() {
                name = "";
            }
            changed.push_str(if self.slashes { "//" } else { "/" });
            changed.push_str(name);
            if !unit.is_empty() && (name.is_empty() || !self.drop_units) {
                let unit = if self.upper { unit.to_ascii_uppercase() } else { unit.to_owned() };
                let zeros = if self.zeros { "00" } else { "" };
                changed.push_str(&format!("@{zeros}{unit}"));
            }
        }
        if changed.is_empty() || self.slashes {
            changed.push('/');
        }
        if self.arguments && !self.slashes {
            changed.push_str(":x,y");
        }
        changed
    }
}

struct AnyProperty;

impl PropertyPolicy for AnyProperty {
    fn may_set(&self, _: &str, _: &str, _: &[u8]) -> bool {
        true
    }
}

/// Names that no policy gives up, among those that the steps use.
const STRUCTURAL: [&str; 4] = ["phandle", "reg", "name", "#cells"];

fn run(client: &Client<'_>, model: &mut Model, step: Step) {
    let phandle = |model: &Model, pick: &Pick| match &pick.0 {
        Some(index) => model.nodes[index.index(model.nodes.len())].phandle,
        None => 0x00ab_cdef,
    };
    let one = |service: &str, arguments: &[Argument<'_>]| client.one(service, arguments);
    match step {
        Step::Peer(pick) => {
            let asked = phandle(model, &pick);
            let expected = model.phandle(model.node(asked).and_then(|node| model.peer(node)));
            assert_eq!(one("peer", &[asked.into()]), expected);
            assert_eq!(one("peer", &[0.into()]), model.nodes[0].phandle);
        }
        Step::Child(pick) => {
            let asked = phandle(model, &pick);
            let node = model.node(asked);
            let child = node.and_then(|node| model.nodes[node].children.first().copied());
            assert_eq!(one("child", &[asked.into()]), model.phandle(child));
        }
        Step::Parent(pick) => {
            let asked = phandle(model, &pick);
            let parent = model.node(asked).and_then(|node| model.nodes[node].parent);
            assert_eq!(one("parent", &[asked.into()]), model.phandle(parent));
        }
        Step::Len(pick, name) => {
            let asked = phandle(model, &pick);
            let value = model.node(asked).and_then(|node| model.value(node, &name));
            let expected = value.map_or(NONE, |value| value.len() as u32);
            assert_eq!(one("getproplen", &[asked.into(), (&*name).into()]), expected);
        }
        Step::Get(pick, name, room) => {
            let asked = phandle(model, &pick);
            let value = model.node(asked).and_then(|node| model.value(node, &name));
            let (len, written) = into_buffer(client, room, |buffer| {
                let arguments = [asked.into(), (&*name).into(), buffer.into(), room.into()];
                one("getprop", &arguments)
            });
            assert_eq!(len, value.as_ref().map_or(NONE, |value| value.len() as u32));
            let mut value = value.unwrap_or_default();
            value.truncate(room as usize);
            assert_eq!(written, value);
        }
        Step::Next(pick, at) => {
            let asked = phandle(model, &pick);
            let names = model.node(asked).map_or(vec![""], |node| model.names(node));
            let name = names[at.index(names.len())].to_owned();
            run(client, model, Step::NextOf(pick, name));
            run_first(client, model, asked);
        }
        Step::NextOf(pick, name) => {
            let asked = phandle(model, &pick);
            let (result, written) = into_buffer(client, 64, |buffer| {
                one("nextprop", &[asked.into(), (&*name).into(), buffer.into()])
            });
            let names = model.node(asked).map(|node| model.names(node)).unwrap_or_default();
            let expected = match names.iter().position(|other| *other == name) {
                _ if name.is_empty() && !names.is_empty() => (1, Some(names[0])),
                None if name == "name" && !names.is_empty() => (0, None),
                None => (NONE, None),
                Some(at) => names.get(at + 1).map_or((0, None), |next| (1, Some(*next))),
            };
            let expected_text = expected.1.map_or(vec![], |name| [name.as_bytes(), b"\0"].concat());
            assert_eq!((result, written), (expected.0, expected_text), "after {name:?}");
        }
        Step::Set(pick, name, value) => {
            let asked = phandle(model, &pick);
            let node = model.node(asked).filter(|_| !STRUCTURAL.contains(&&*name));
            let len = value.len() as u32;
            let arguments = [asked.into(), (&*name).into(), (&*value).into(), len.into()];
            assert_eq!(one("setprop", &arguments), node.map_or(NONE, |_| len));
            if let Some(node) = node {
                model.set(node, &name, &value);
            }
        }
        Step::Path(pick, room) => {
            let asked = phandle(model, &pick);
            let path = model.node(asked).map(|node| model.path(node));
            check_path(client, "package-to-path", asked.into(), room, path);
        }
        Step::Find(path) => {
            let expected = model.find(&path).map(|(node, _)| model.nodes[node].phandle);
            assert_eq!(client.finddevice(&path), expected, "{path}");
        }
        Step::FindNode(pick, change) => {
            let path = model.node(phandle(model, &pick)).map(|node| model.path(node));
            let path = change.apply(&path.unwrap_or_default());
            run(client, model, Step::Find(path));
        }
        Step::Canon(pick, change, room) => {
            let path = model.node(phandle(model, &pick)).map(|node| model.path(node));
            let path = change.apply(&path.unwrap_or_default());
            let expected = model.find(&path).map(|(node, _)| model.path(node));
            check_path(client, "canon", (&*path).into(), room, expected);
        }
        Step::Open(pick, change) => {
            let path = model.node(phandle(model, &pick)).map(|node| model.path(node));
            let path = change.apply(&path.unwrap_or_default());
            let ihandle = one("open", &[(&*path).into()]);
            let found = model.find(&path);
            assert_eq!(ihandle != 0, found.is_some(), "{path}");
            if let Some((node, arguments)) = found {
                assert!(model.instances.iter().all(|(other, ..)| *other != ihandle));
                model.instances.push((ihandle, node, arguments));
            }
        }
        Step::Instance(at, room) => {
            let Some((ihandle, node, arguments)) = pick_instance(model, &at).cloned() else {
                assert_eq!(one("instance-to-package", &[1.into()]), NONE);
                return;
            };
            let package = one("instance-to-package", &[ihandle.into()]);
            assert_eq!(package, model.nodes[node].phandle);
            let colon = if arguments.is_empty() { "" } else { ":" };
            let path = format!("{}{colon}{arguments}", model.path(node));
            check_path(client, "instance-to-path", ihandle.into(), room, Some(path));
        }
        Step::Close(at) => {
            let Some((ihandle, ..)) = pick_instance(model, &at).cloned() else { return };
            assert_eq!(client.call("close", &[ihandle.into()], 0).status, Status::SUCCESS);
            model.instances.retain(|(other, ..)| *other != ihandle);
            assert_eq!(one("instance-to-package", &[ihandle.into()]), NONE);
        }
    }
}

/// nextprop from the start, asked for by 0 instead of an empty name.
fn run_first(client: &Client<'_>, model: &Model, asked: u32) {
    let buffer = client.buffer();
    let result = client.one("nextprop", &[asked.into(), 0.into(), buffer.into()]);
    match model.node(asked) {
        Some(node) => {
            assert_eq!((result, client.text(buffer)), (1, model.names(node)[0].to_owned()));
        }
        None => assert_eq!(result, NONE),
    }
}

fn pick_instance<'a>(model: &'a Model, at: &Index) -> Option<&'a (u32, usize, String)> {
    let instances = &model.instances;
    (!instances.is_empty()).then(|| &instances[at.index(instances.len())])
}

fn check_path(
    client: &Client<'_>,
    service: &str,
    of: Argument<'_>,
    room: u32,
    expected: Option<String>,
) {
    let (len, written) =
        into_buffer(client, room, |buffer| client.one(service, &[of, buffer.into(), room.into()]));
    assert_eq!(len, expected.as_ref().map_or(NONE, |path| path.len() as u32), "{service} {of:?}");
    let mut text = expected.map_or(vec![], |path| [path.as_bytes(), b"\0"].concat());
    text.truncate(room as usize);
    assert_eq!(written, text, "{service} {of:?}");
}

/// Makes a call that writes to a buffer; gives its result and what it wrote, and sees that nothing
/// beyond `room` was written.
fn into_buffer(client: &Client<'_>, room: u32, call: impl FnOnce(u32) -> u32) -> (u32, Vec<u8>) {
    const BYTES: usize = 512;
    // No byte that is written has the top bit: values are made without.
    const UNTOUCHED: u8 = 0xaa;
    let buffer = client.buffer();
    client.poke(buffer, &[UNTOUCHED; BYTES]);
    let result = call(buffer);
    let mut bytes = client.peek(buffer, BYTES);
    let len = bytes.iter().position(|&byte| byte == UNTOUCHED).unwrap();
    assert!(len <= room as usize && bytes[len..].iter().all(|&byte| byte == UNTOUCHED));
    bytes.truncate(len);
    (result, bytes)
}

fn property_names() -> impl Strategy<Value = String> + Clone {
    let names = ["a", "b", "c", "reg", "name", "#cells", "device_type2", "ab", "abcdefgh"];
    prop::sample::select(names.to_vec()).prop_map(str::to_owned)
}

fn values() -> impl Strategy<Value = Vec<u8>> + Clone {
    prop::collection::vec(0..0x80_u8, 0..20)
}

fn models() -> impl Strategy<Value = Model> {
    let names = ["a", "b", "x,a", "y,a", "cpu", "aliases"];
    let units =
        [None, Some("0"), Some("1"), Some("01"), Some("1,0"), Some("A"), Some("a"), Some("ff")];
    let node = (
        any::<Index>(),
        prop::sample::select(names.to_vec()),
        prop::sample::select(units.to_vec()),
        prop::collection::vec((property_names(), values()), 0..8),
    );
    let aliases = prop::collection::vec(any::<Index>(), 0..3);
    (prop::collection::vec(node, 0..50), aliases, 0..3_u8).prop_map(|(rows, aliases, numbering)| {
        let mut parents = vec![(Node::default(), vec![])];
        for (parent, name, unit, properties) in rows {
            let name = unit.map_or(name.to_owned(), |unit| format!("{name}@{unit}"));
            let parent = parent.index(parents.len());
            let siblings: &Vec<usize> = &parents[parent].1;
            if siblings.iter().all(|&sibling| parents[sibling].0.name != name) {
                let child = parents.len();
                parents[parent].1.push(child);
                parents.push((Node { name, properties, ..Node::default() }, vec![]));
            }
        }
        let mut model = Model::default();
        lay_out(&mut model, &parents, 0, None);
        let count = model.nodes.len() as u32;
        for (place, node) in (1..).zip(&mut model.nodes) {
            node.phandle = [place, count + 1 - place, place << 16 | 7][usize::from(numbering)];
            let mut seen = vec!["phandle".to_owned()];
            node.properties.retain(|(name, _)| {
                let is_new = !seen.contains(name);
                seen.push(name.clone());
                is_new
            });
            let phandle = ("phandle".to_owned(), node.phandle.to_be_bytes().to_vec());
            node.properties.insert(0, phandle);
        }
        if let Some((node, _)) = model.find("/aliases") {
            for (number, target) in aliases.iter().enumerate() {
                let path = model.path(target.index(model.nodes.len()));
                let arguments = if number == 0 { ":own" } else { "" };
                model.set(node, &format!("al{number}"), format!("{path}{arguments}\0").as_bytes());
            }
        }
        model
    })
}

/// Puts nodes into depth-first order.
fn lay_out(model: &mut Model, parents: &[(Node, Vec<usize>)], at: usize, above: Option<usize>) {
    let place = model.nodes.len();
    model.nodes.push(Node { parent: above, ..parents[at].0.clone() });
    if let Some(above) = above {
        model.nodes[above].children.push(place);
    }
    for &child in &parents[at].1 {
        lay_out(model, parents, child, Some(place));
    }
}

fn picks() -> impl Strategy<Value = Pick> + Clone {
    prop::option::weighted(0.95, any::<Index>()).prop_map(Pick)
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

fn steps() -> impl Strategy<Value = Step> {
    let rooms = || prop_oneof![0..40_u32, Just(300)];
    let paths = "((/|al0|al1)(/|a|b|x,a|cpu|@1|@0A|:y|,){0,8}|al[0-3](:z|/a|/b@1)?)";
    let names = || prop_oneof![8 => property_names(), 1 => Just(String::new()), 1 => "[d-f]{1,70}"];
    prop_oneof![
        picks().prop_map(Step::Peer),
        picks().prop_map(Step::Child),
        picks().prop_map(Step::Parent),
        (picks(), names()).prop_map(|(pick, name)| Step::Len(pick, name)),
        (picks(), names(), rooms()).prop_map(|(pick, name, room)| Step::Get(pick, name, room)),
        (picks(), any::<Index>()).prop_map(|(pick, at)| Step::Next(pick, at)),
        (picks(), names()).prop_map(|(pick, name)| Step::NextOf(pick, name)),
        (picks(), property_names(), values())
            .prop_map(|(pick, name, value)| Step::Set(pick, name, value)),
        (picks(), rooms()).prop_map(|(pick, room)| Step::Path(pick, room)),
        paths.prop_map(Step::Find),
        (picks(), changes()).prop_map(|(pick, change)| Step::FindNode(pick, change)),
        (picks(), changes(), rooms())
            .prop_map(|(pick, change, room)| Step::Canon(pick, change, room)),
        (picks(), changes()).prop_map(|(pick, change)| Step::Open(pick, change)),
        (any::<Index>(), rooms()).prop_map(|(at, room)| Step::Instance(at, room)),
        any::<Index>().prop_map(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn clients_get_what_a_plain_model_says(
        mut model in models(),
        steps in prop::collection::vec(steps(), 1..120),
    ) {
        let tree = DeviceTree::from_blob(&model.blob()).unwrap();
        let machine = TestMachine::new(tree, RAM_BYTES, |builder| {
            builder.properties(Box::new(AnyProperty))
        });
        let client = machine.client();
        for step in steps {
            run(&client, &mut model, step);
        }
        // And the whole tree, as it has become.
        let tree = DeviceTree::from_blob(&machine.vof().to_blob()).unwrap();
        prop_assert_eq!(tree.nodes().len(), model.nodes.len());
        for (node, expected) in tree.nodes().zip(&model.nodes) {
            prop_assert_eq!(tree.full_name(node), &expected.name);
            let properties: Vec<_> =
                tree.properties(node).map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            prop_assert_eq!(&properties, &expected.properties);
        }
    }
}
