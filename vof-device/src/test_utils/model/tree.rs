//! A tree as one would write it down.

use vm_fdt::FdtWriter;

use crate::DeviceTree;

/// Nodes in depth-first order.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The nodes, the root first.
    pub nodes: Vec<Node>,
}

/// A node, its relatives by their places.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Its name, with its unit address.
    pub name: String,
    /// None for the root.
    pub parent: Option<usize>,
    /// In order.
    pub children: Vec<usize>,
    /// Its handle.
    pub phandle: u32,
    /// In order.
    pub properties: Vec<(String, Vec<u8>)>,
}

/// A node to be, below the node of a row before it: `parent` modulo their count.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which of the nodes before is the parent.
    pub parent: usize,
    /// Its name, with its unit address.
    pub name: String,
    /// Of two with the same name, the first counts.
    pub properties: Vec<(String, Vec<u8>)>,
}

impl Tree {
    /// A root with a node for each row, unless its parent has one of that name. `numbering`
    /// chooses among ways to number them. Where there is `/aliases`, it gets the aliases `al0`, …
    /// of nodes by their places modulo their count, the first with arguments.
    pub fn of_rows(rows: &[Row], aliases: &[usize], numbering: u8) -> Self {
        let mut parents = vec![(Node::default(), vec![])];
        for Row { parent, name, properties } in rows {
            let parent = parent % parents.len();
            let siblings: &Vec<usize> = &parents[parent].1;
            if siblings.iter().all(|&sibling| parents[sibling].0.name != *name) {
                let child = parents.len();
                parents[parent].1.push(child);
                let (name, properties) = (name.clone(), properties.clone());
                parents.push((Node { name, properties, ..Node::default() }, vec![]));
            }
        }
        let mut tree = Self::default();
        tree.lay_out(&parents, 0, None);
        tree.number(numbering);
        if let Some((node, _)) = tree.find("/aliases") {
            for (number, target) in aliases.iter().enumerate() {
                let path = tree.path(target % tree.nodes.len());
                let arguments = if number == 0 { ":own" } else { "" };
                tree.set(node, &format!("al{number}"), format!("{path}{arguments}\0").as_bytes());
            }
        }
        tree
    }

    /// What a tree of the interface says.
    pub fn of_tree(tree: &DeviceTree) -> Self {
        let nodes: Vec<_> = tree.nodes().collect();
        let place = |node| nodes.iter().position(|&other| other == node).unwrap_or_default();
        let node = |&node: &_| Node {
            name: tree.full_name(node).to_owned(),
            parent: tree.parent(node).map(place),
            children: tree.children(node).map(place).collect(),
            phandle: tree.phandle(node),
            properties: tree
                .properties(node)
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
                .collect(),
        };
        Self { nodes: nodes.iter().map(node).collect() }
    }

    /// The place of the node with this phandle.
    pub fn node(&self, phandle: u32) -> Option<usize> {
        self.nodes.iter().position(|node| node.phandle == phandle)
    }

    /// 0 where there is no node.
    pub fn phandle(&self, node: Option<usize>) -> u32 {
        node.map_or(0, |node| self.nodes[node].phandle)
    }

    /// The next sibling.
    pub fn peer(&self, node: usize) -> Option<usize> {
        let siblings = &self.nodes[self.nodes[node].parent?].children;
        let at = siblings.iter().position(|&sibling| sibling == node)?;
        siblings.get(at + 1).copied()
    }

    /// A property's value. "name" is always there.
    pub fn value(&self, node: usize, name: &str) -> Option<Vec<u8>> {
        let node = &self.nodes[node];
        let stored = node.properties.iter().find(|(other, _)| other == name);
        match stored {
            Some((_, value)) => Some(value.clone()),
            None if name == "name" => Some([base(&node.name).as_bytes(), b"\0"].concat()),
            None => None,
        }
    }

    /// The names of a node's properties.
    pub fn names(&self, node: usize) -> Vec<&str> {
        let properties = &self.nodes[node].properties;
        let mut names: Vec<&str> = properties.iter().map(|(name, _)| name.as_str()).collect();
        if !names.contains(&"name") {
            names.push("name");
        }
        names
    }

    /// Gives a property a value.
    pub fn set(&mut self, node: usize, name: &str, value: &[u8]) {
        let properties = &mut self.nodes[node].properties;
        match properties.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => *old = value.to_vec(),
            None => properties.push((name.to_owned(), value.to_vec())),
        }
    }

    /// The full path.
    pub fn path(&self, node: usize) -> String {
        match self.nodes[node].parent {
            None => "/".to_owned(),
            Some(parent) => {
                let above = self.path(parent);
                format!("{}/{}", above.trim_end_matches('/'), self.nodes[node].name)
            }
        }
    }

    /// The node that a device specifier names, and its arguments.
    pub fn find(&self, specifier: &str) -> Option<(usize, String)> {
        if specifier.starts_with('/') {
            return self.walk(0, specifier);
        }
        let head_len = specifier.find(['/', ':']).unwrap_or(specifier.len());
        let (alias, tail) = specifier.split_at(head_len);
        let (aliases, _) = self.walk(0, "/aliases").filter(|_| alias != "name")?;
        let value = self.value(aliases, alias)?;
        let path = value.split(|&byte| byte == 0).next()?;
        let path = std::str::from_utf8(path).ok().filter(|path| path.starts_with('/'))?;
        let (node, own) = self.walk(0, path)?;
        let rest = tail.strip_prefix(':').unwrap_or(tail);
        let arguments = if rest == tail { "" } else { rest.split('/').next()? };
        let rest = &rest[arguments.len()..];
        match rest.trim_matches('/') {
            "" if arguments.is_empty() => Some((node, own)),
            "" => Some((node, arguments.to_owned())),
            _ => self.walk(node, rest),
        }
    }

    fn walk(&self, mut node: usize, path: &str) -> Option<(usize, String)> {
        let mut arguments = "";
        for component in path.split('/').filter(|component| !component.is_empty()) {
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

    /// The tree, flattened.
    ///
    /// # Panics
    /// If a name or value is none that a tree can have.
    pub fn blob(&self) -> Vec<u8> {
        fn write(fdt: &mut FdtWriter, tree: &Tree, node: usize) -> Result<(), vm_fdt::Error> {
            let entry = &tree.nodes[node];
            let node = fdt.begin_node(&entry.name)?;
            for (name, value) in &entry.properties {
                fdt.property(name, value)?;
            }
            for &child in &entry.children {
                write(fdt, tree, child)?;
            }
            fdt.end_node(node)
        }
        let mut fdt = FdtWriter::new().expect("nothing is reserved");
        write(&mut fdt, self, 0).expect("the names are names");
        fdt.finish().expect("all nodes are at their end")
    }

    /// Puts nodes into depth-first order.
    fn lay_out(&mut self, parents: &[(Node, Vec<usize>)], at: usize, above: Option<usize>) {
        let place = self.nodes.len();
        self.nodes.push(Node { parent: above, ..parents[at].0.clone() });
        if let Some(above) = above {
            self.nodes[above].children.push(place);
        }
        for &child in &parents[at].1 {
            self.lay_out(parents, child, Some(place));
        }
    }

    /// Gives all nodes phandles, and leaves each property once.
    fn number(&mut self, numbering: u8) {
        let count = self.nodes.len() as u32;
        for (place, node) in (1..).zip(&mut self.nodes) {
            node.phandle = [place, count + 1 - place, place << 16 | 7][usize::from(numbering % 3)];
            let mut seen = vec!["phandle".to_owned()];
            node.properties.retain(|(name, _)| {
                let is_new = !seen.contains(name);
                seen.push(name.clone());
                is_new
            });
            let phandle = ("phandle".to_owned(), node.phandle.to_be_bytes().to_vec());
            node.properties.insert(0, phandle);
        }
    }
}

/// A node's name without its unit address.
fn base(name: &str) -> &str {
    name.split('@').next().unwrap_or_default()
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
