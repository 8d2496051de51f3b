//! Reads a flattened tree back, and insists on every rule of its format (Devicetree specification
//! v0.4, chapter 5). It shares no code with the writer.

use std::collections::HashSet;

/// A tree that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) total_bytes: usize,
    /// Bytes up to the end of the last block.
    pub(super) used_bytes: usize,
    pub(super) boot_cpu: u32,
    /// Address and size in bytes.
    pub(super) reserved: Vec<(u64, u64)>,
    pub(super) root: Node,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) properties: Vec<(String, Vec<u8>)>,
    pub(super) children: Vec<Node>,
}

impl Tree {
    pub(super) fn parse(blob: &[u8]) -> Self {
        Self::read(blob, true)
    }

    /// As [`Self::parse`], of a blob that libfdt has changed: it leaves what was there before in
    /// the padding.
    pub(super) fn parse_changed(blob: &[u8]) -> Self {
        Self::read(blob, false)
    }

    fn read(blob: &[u8], zero_padding: bool) -> Self {
        let header: Vec<usize> = (0..10).map(|index| cell(blob, index * 4) as usize).collect();
        let [magic, total, off_struct, off_strings, off_reserved, version, last_comp, boot_cpu] =
            header[..8]
        else {
            unreachable!()
        };
        let (size_strings, size_struct) = (header[8], header[9]);
        assert_eq!(magic, 0xd00d_feed);
        assert_eq!((version, last_comp), (17, 16));
        assert_eq!(total, blob.len());
        assert!(off_reserved >= 40 && off_reserved % 8 == 0, "§5.6: 8-byte aligned");
        assert_eq!(off_struct % 4, 0, "§5.6: 4-byte aligned");
        assert!(off_struct + size_struct <= off_strings, "struct, then strings");
        let used_bytes = off_strings + size_strings;
        assert!(used_bytes <= total);
        assert!(blob[used_bytes..].iter().all(|&byte| byte == 0), "slack is zero");

        let mut reserved = Vec::new();
        let mut at = off_reserved;
        loop {
            match (doubleword(blob, at), doubleword(blob, at + 8)) {
                (0, 0) => break,
                entry => reserved.push(entry),
            }
            at += 16;
        }
        assert!(at + 16 <= off_struct);

        let strings = &blob[off_strings..used_bytes];
        assert_eq!(strings.last(), Some(&0));
        let structure = &blob[off_struct..off_struct + size_struct];
        let mut reader = Reader { structure, strings, zero_padding, at: 0 };
        assert_eq!(reader.token(), 1, "the root begins");
        let root = reader.node("/");
        assert_eq!(root.name, "");
        assert_eq!(reader.token(), 9, "the end");
        assert_eq!(reader.at, size_struct, "nothing behind the end");
        Self { total_bytes: total, used_bytes, boot_cpu: boot_cpu as u32, reserved, root }
    }

    /// The node of a full path.
    pub(super) fn node(&self, path: &str) -> Option<&Node> {
        let mut names = path.split('/').filter(|name| !name.is_empty());
        names.try_fold(&self.root, |node, name| {
            node.children.iter().find(|child| child.name == name)
        })
    }

    /// Every node with its path.
    pub(super) fn nodes(&self) -> Vec<(String, &Node)> {
        let mut all = vec![(String::new(), &self.root)];
        let mut next = 0;
        while let Some((path, node)) = all.get(next).cloned() {
            all.extend(node.children.iter().map(|child| (format!("{path}/{}", child.name), child)));
            next += 1;
        }
        all
    }

    /// The value of a property.
    pub(super) fn value(&self, path: &str, name: &str) -> Option<&[u8]> {
        self.node(path)?.value(name)
    }

    /// The value of a property of cells.
    pub(super) fn cells(&self, path: &str, name: &str) -> Vec<u32> {
        let value = self.value(path, name).unwrap_or_else(|| panic!("{path} has no {name}"));
        assert_eq!(value.len() % 4, 0);
        (0..value.len() / 4).map(|index| cell(value, index * 4)).collect()
    }

    /// The value of a property of strings.
    pub(super) fn strings(&self, path: &str, name: &str) -> Vec<String> {
        let value = self.value(path, name).unwrap_or_else(|| panic!("{path} has no {name}"));
        let text = String::from_utf8(value.to_vec()).unwrap();
        let text = text.strip_suffix('\0').expect("the last string has its NUL");
        text.split('\0').map(str::to_owned).collect()
    }
}

impl Node {
    pub(super) fn value(&self, name: &str) -> Option<&[u8]> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    pub(super) fn phandle(&self) -> u32 {
        cell(self.value("phandle").expect("every node has a phandle"), 0)
    }
}

struct Reader<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    zero_padding: bool,
    at: usize,
}

impl Reader<'_> {
    fn token(&mut self) -> u32 {
        self.at += 4;
        cell(self.structure, self.at - 4)
    }

    fn align(&mut self) {
        while self.at % 4 != 0 {
            assert!(!self.zero_padding || self.structure[self.at] == 0, "padding is zero");
            self.at += 1;
        }
    }

    /// A node whose begin token was read.
    fn node(&mut self, path: &str) -> Node {
        let name = c_string(self.structure, self.at);
        self.at += name.len() + 1;
        self.align();
        let mut node = Node { name, properties: Vec::new(), children: Vec::new() };
        let (mut properties, mut children) = (HashSet::new(), HashSet::new());
        loop {
            match self.token() {
                1 => {
                    let child = self.node(&format!("{path}{}/", node.name));
                    assert!(children.insert(child.name.clone()), "{path} has {} twice", child.name);
                    node.children.push(child);
                }
                2 => return node,
                3 => {
                    assert!(node.children.is_empty(), "§5.4.2: properties before nodes");
                    let (len, name_at) = (self.token() as usize, self.token() as usize);
                    let name = c_string(self.strings, name_at);
                    assert!(name_at == 0 || self.strings[name_at - 1] == 0, "a whole name");
                    let value = self.structure[self.at..self.at + len].to_vec();
                    self.at += len;
                    self.align();
                    assert!(properties.insert(name.clone()), "{path} has {name} twice");
                    node.properties.push((name, value));
                }
                4 => {}
                other => panic!("token {other:#x} at {:#x}", self.at - 4),
            }
        }
    }
}

fn cell(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn doubleword(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn c_string(bytes: &[u8], at: usize) -> String {
    let len = bytes[at..].iter().position(|&byte| byte == 0).expect("a NUL");
    String::from_utf8(bytes[at..at + len].to_vec()).unwrap()
}
