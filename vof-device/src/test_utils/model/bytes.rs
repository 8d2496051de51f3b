//! Trees and steps out of bytes, for fuzzers. Where the bytes end, zeros follow.

use super::{Change, Pick, Row, Space, Step, Tree};
use crate::test_utils::{WORKSPACE, WORKSPACE_BYTES};

const NODE_NAMES: [&str; 8] =
    ["a", "b@1", "x,a@0", "y,a@ff", "cpu@01", "aliases", "cpu@1,0", "a@A"];

const PROPERTIES: [&str; 16] = [
    "name",
    "a",
    "b",
    "reg",
    "phandle",
    "#cells",
    "available",
    "stdin",
    "stdout",
    "bootargs",
    "linux,x",
    "al0",
    "hvterm",
    "",
    "device_type",
    "boot-command",
];

const PATHS: [&str; 16] = [
    "/",
    "",
    "/chosen",
    "hvterm",
    "hvterm:x",
    "disk/",
    "al0",
    "al1/b@1",
    "/@0",
    "//a",
    "/x,a:y",
    "/cpus/PowerPC,POWER9@1",
    "/cpus/@01",
    "/memory",
    "a/b",
    ":",
];

const SERVICES: [&str; 6] = ["test", "getprop", "no-such-service", "", "call-method", "finddevic"];

/// Takes bytes from the start.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn place(&mut self) -> usize {
        self.byte().into()
    }

    fn pick(&mut self) -> Pick {
        let place = self.place();
        Pick((place != 0xff).then_some(place))
    }

    fn word(&mut self, of: &[&str]) -> String {
        match self.byte() {
            0xff => {
                let len = self.place();
                self.text(len)
            }
            number => of[usize::from(number) % of.len()].to_owned(),
        }
    }

    /// Visible characters, which ends where others follow.
    fn text(&mut self, len: usize) -> String {
        let text: String = (0..len).map(|_| char::from(self.byte() & 0x7f)).collect();
        text.chars().take_while(char::is_ascii_graphic).collect()
    }

    fn value(&mut self) -> Vec<u8> {
        let len = self.place() % 40;
        (0..len).map(|_| self.byte()).collect()
    }

    fn room(&mut self) -> u32 {
        match self.byte() {
            0xff => 300,
            room => u32::from(room) % 64,
        }
    }

    fn change(&mut self) -> Change {
        let bits = self.byte();
        let has = |bit: u8| bits & 1 << bit != 0;
        Change {
            drop_units: has(0),
            drop_names: has(1),
            drop_manufacturers: has(2),
            zeros: has(3),
            upper: has(4),
            slashes: has(5),
            arguments: has(6),
        }
    }

    fn space(&mut self) -> Space {
        if self.byte() & 1 == 0 { Space::Real } else { Space::Virtual }
    }

    /// An address, a size or an alignment, mostly around what is in use.
    fn number(&mut self) -> u32 {
        let (kind, byte) = (self.byte(), u32::from(self.byte()));
        match kind % 16 {
            0..=3 => byte,
            4..=6 => byte << 8,
            7..=9 => byte << 12,
            10..=11 => byte << 16,
            12 => WORKSPACE + WORKSPACE_BYTES - 0x80 + byte,
            13 => (16 << 20) - 0x80 + byte,
            14 => 1_u32.wrapping_shl(byte),
            _ => u32::MAX - byte,
        }
    }
}

impl Tree {
    /// A tree of bytes, and how many of them it took.
    pub fn from_bytes(bytes: &[u8]) -> (Self, usize) {
        let mut input = Bytes(bytes);
        let (count, numbering) = (input.byte() % 32, input.byte());
        let mut rows = Vec::new();
        for _ in 0..count {
            let (parent, name) = (input.place(), input.word(&NODE_NAMES));
            let name = name.replace('/', "");
            let mut properties = Vec::new();
            for _ in 0..input.byte() % 4 {
                let name = PROPERTIES[input.place() % PROPERTIES.len()];
                let value = input.value();
                if !name.is_empty() {
                    properties.push((name.to_owned(), value));
                }
            }
            if is_node_name(&name) {
                rows.push(Row { parent, name, properties });
            }
        }
        let aliases = [input.place(), input.place()];
        (Self::of_rows(&rows, &aliases, numbering), bytes.len() - input.0.len())
    }
}

/// Names that can be written, and named in paths: with at most one `@`, and something before and
/// behind it.
fn is_node_name(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || ",._+-".contains(c))
    };
    let (base, unit) = name.split_once('@').unwrap_or((name, "0"));
    let starts_well = base.starts_with(|c: char| c.is_ascii_alphabetic());
    name.len() <= 31 && starts_well && plain(base) && plain(unit)
}

impl Step {
    /// A step of bytes, and how many of them it took: at least one, unless there is none.
    pub fn from_bytes(bytes: &[u8]) -> (Self, usize) {
        let mut input = Bytes(bytes);
        let step = match input.byte() % 32 {
            0 => Self::Peer(input.pick()),
            1 => Self::Child(input.pick()),
            2 => Self::Parent(input.pick()),
            3 => Self::Len(input.pick(), input.word(&PROPERTIES)),
            4 => Self::Get(input.pick(), input.word(&PROPERTIES), input.room()),
            5 => Self::GetAt(input.pick(), input.place()),
            6 => Self::Next(input.pick(), input.place()),
            7 => Self::NextOf(input.pick(), input.word(&PROPERTIES)),
            8 => Self::Set(input.pick(), input.word(&PROPERTIES), input.value()),
            9 => Self::Path(input.pick(), input.room()),
            10 => Self::Find(input.word(&PATHS)),
            11 => Self::FindNode(input.pick(), input.change()),
            12 => Self::Canon(input.pick(), input.change(), input.room()),
            13 => Self::Open(input.pick(), input.change()),
            14 => Self::Instance(input.place(), input.room()),
            15 => Self::Close(input.place()),
            16 => Self::ClaimAt(input.number(), input.number()),
            17 => Self::ClaimAligned(input.number(), input.number().max(1)),
            18 => Self::Release(input.number(), input.number()),
            19 => Self::ReleaseClaimed(input.place(), input.number()),
            20 => Self::Write(input.place(), input.value()),
            21 => {
                let (instance, len) = (input.place(), input.place() % 16);
                Self::Read(instance, input.text(len), input.room())
            }
            22 => Self::Test(input.word(&SERVICES)),
            23 => {
                let (at, size) = (input.number(), input.number());
                Self::MethodClaim(input.space(), at, size, input.number())
            }
            24 => Self::MethodClaim(input.space(), input.number(), input.number(), 0),
            25 => Self::MethodRelease(input.space(), input.number(), input.number()),
            26 => Self::Translate(input.number(), input.number()),
            27 => Self::SetCallback(input.number()),
            28 => Self::MoveOn,
            _ => Self::Nothing,
        };
        (step, bytes.len() - input.0.len())
    }
}
