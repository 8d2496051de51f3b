//! What a client does.

/// One call, or a few that belong together. Places are taken modulo how many there are.
#[derive(Debug, Clone)]
pub enum Step {
    /// `peer`, of a node and of none.
    Peer(Pick),
    /// `child`.
    Child(Pick),
    /// `parent`.
    Parent(Pick),
    /// `getproplen`.
    Len(Pick, String),
    /// `getprop`, with room for so many bytes.
    Get(Pick, String, u32),
    /// `getprop` of the property at a place, with much room.
    GetAt(Pick, usize),
    /// `nextprop`, of the property at a place.
    Next(Pick, usize),
    /// `nextprop`, of this one.
    NextOf(Pick, String),
    /// `setprop`.
    Set(Pick, String, Vec<u8>),
    /// `package-to-path`, with room for so many bytes.
    Path(Pick, u32),
    /// `finddevice`, of any text.
    Find(String),
    /// `finddevice`, of the changed path of a node.
    FindNode(Pick, Change),
    /// `canon` of such a path, with room for so many bytes.
    Canon(Pick, Change, u32),
    /// `open` of such a path.
    Open(Pick, Change),
    /// `instance-to-package`, `instance-to-path` and `instance-to-interposed-path`.
    Instance(usize, u32),
    /// `close`.
    Close(usize),
    /// `claim` of so many bytes at an address.
    ClaimAt(u32, u32),
    /// `claim` of so many bytes at a multiple, not 0.
    ClaimAligned(u32, u32),
    /// `release`.
    Release(u32, u32),
    /// `release` of what was claimed before, from an offset on.
    ReleaseClaimed(usize, u32),
    /// `write` to an instance.
    Write(usize, Vec<u8>),
    /// Somebody types, and `read` of an instance with room for so many bytes.
    Read(usize, String, u32),
    /// `test`.
    Test(String),
    /// The method `claim` of `/chosen`'s `memory` or `mmu`: address, size, alignment.
    MethodClaim(Space, u32, u32, u32),
    /// The method `release` of it: address, size.
    MethodRelease(Space, u32, u32),
    /// The methods of the `mmu` that change nothing, with this address and size.
    Translate(u32, u32),
    /// `set-callback`.
    SetCallback(u32),
    /// All is saved and taken up in another machine, which takes the place of this one.
    MoveOn,
    /// `milliseconds`, `quiesce` and `seek`, which change nothing.
    Nothing,
}

/// What the methods `claim` and `release` are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Memory, by real addresses of two cells.
    Real,
    /// Virtual addresses.
    Virtual,
}

/// The node at a place, or, where there is no place, a phandle of no node.
#[derive(Debug, Clone, Copy)]
pub struct Pick(pub Option<usize>);

/// How a path differs from the one that the tree gives.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change {
    /// Units are left out, where the name is not.
    pub drop_units: bool,
    /// Names are left out before units.
    pub drop_names: bool,
    /// What stands before a comma is left out.
    pub drop_manufacturers: bool,
    /// Units have leading zeros.
    pub zeros: bool,
    /// Units are in upper case.
    pub upper: bool,
    /// Each slash is there twice, and one is at the end.
    pub slashes: bool,
    /// Arguments follow.
    pub arguments: bool,
}

impl Change {
    /// The path, changed.
    pub fn apply(self, path: &str) -> String {
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
