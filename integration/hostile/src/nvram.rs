//! Non-volatile memory: files of anything, and what guests and clients do to it, over starts.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arch_ppc64::config::{Boot, Cpus, MachineConfig, Memory};
use arch_ppc64::fdt::{Start, Tree};
use arch_ppc64::hypercall::token;
use arch_ppc64::nvram::{Damage, MIN_BYTES, Nvram, NvramError, NvramStore};
use arch_ppc64::platform::{Device, Platform, PlatformError, SaveState, outline_with};
use arch_ppc64::rtas::{Rtas, token_of};
use arch_ppc64::{CpuIndex, Hypercall, HypercallHandler, Machine, Next, Status};
use vm_memory::GuestAddress;

use crate::Reach;
use crate::input::Input;
use crate::ram::{WatchedRam, are_within};

/// What inputs can reach.
const GOALS: [&str; 16] = [
    "a blank file",
    "a file of another size",
    "a file with a wrong checksum",
    "a file with a wrong length",
    "a file without variables' partition",
    "a file that is one",
    "a file that cannot be put aside",
    "fetch",
    "store",
    "store that cannot be kept",
    "out of range",
    "setprop",
    "setprop without room",
    "a start with destroyed partitions",
    "a start with variables",
    "saved and taken up",
];

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.iter().map(|&goal| goal.to_owned()).collect()
}

fn reached(reach: &mut Reach, what: &str) {
    let number = GOALS.iter().position(|goal| *goal == what);
    reach.add(number.expect("it is a goal"));
}

const BYTES: usize = MIN_BYTES;
const RAM_BYTES: u64 = 1 << 20;
const BUFFER: u64 = 0x1000;
/// How many things are done at most.
const STEPS_MAX: usize = 64;

const OPTIONS: &str = "/options";

/// Properties that clients set, and what may become of them.
const NAMES: [&str; 12] = [
    "boot-device",
    "boot-file",
    "auto-boot?",
    "oem-logo",
    "a",
    "real-mode?",
    "output-device",
    "phandle",
    "name",
    "Upper",
    "#bytes",
    "a~b",
];

/// `data` is what is in the file, then one thing after the other.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    let place = Place::default();
    place.kept().content = content(&mut input);
    let Some(mut world) = World::open(place, input.byte() & 1 != 0, &mut reach) else {
        return reach;
    };
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        match input.byte() % 16 {
            0..=3 => world.copy("nvram-fetch", &mut input, &mut reach),
            4..=8 => world.copy("nvram-store", &mut input, &mut reach),
            9..=11 => world.set(&mut input, &mut reach),
            12 => {
                let is_full = input.byte() & 1 != 0;
                world.place.kept().is_full = is_full;
            }
            13 => world.start(&mut reach),
            14 => world.save(&mut reach),
            _ => {
                let Some(next) = World::open(world.place.clone(), false, &mut reach) else {
                    return reach;
                };
                world = next;
            }
        }
        assert_eq!(world.nvram.to_bytes(), world.model, "the NVRAM is not what was stored");
        assert_eq!(world.place.kept().content, world.model, "what is kept is not what is in it");
    }
    reach
}

/// A file: bytes of the input as they are, or laid over zeros or over an NVRAM.
fn content(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.byte();
    let len = usize::from(input.byte());
    let bytes = input.bytes(len);
    let mut content = match kind % 4 {
        0 => return bytes.to_vec(),
        1 => vec![0; BYTES],
        _ => fresh(),
    };
    let at = usize::from(input.u16()) % (BYTES - len);
    content[at..at + bytes.len()].copy_from_slice(bytes);
    if kind & 0x80 != 0 {
        // The header of the first partition, and of what it says that follows, in order again.
        let next = usize::from(u16::from_be_bytes([content[2], content[3]])) * 16;
        for at in [0, next] {
            if let Some(header) = content.get_mut(at..at + 16) {
                header[1] = checksum(header);
            }
        }
    }
    content
}

/// LoPAPR §8.2, in other words than those of the crate: a sum modulo 255, which is not 0.
fn checksum(header: &[u8]) -> u8 {
    let sum: u32 = header
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != 1)
        .map(|(_, &byte)| u32::from(byte))
        .sum();
    match sum {
        0 => 0,
        sum => ((sum - 1) % 255 + 1) as u8,
    }
}

fn fresh() -> Vec<u8> {
    let nvram = Nvram::open(BYTES, Box::new(Place::default()));
    nvram.expect("nothing is an NVRAM that begins").to_bytes()
}

/// Where it is kept.
#[derive(Clone, Default)]
struct Place(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    content: Vec<u8>,
    aside: Option<Vec<u8>>,
    is_full: bool,
}

impl Place {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NvramStore for Place {
    fn load(&self) -> io::Result<Vec<u8>> {
        Ok(self.kept().content.clone())
    }

    fn renew(&self, damaged: &[u8], content: &[u8]) -> io::Result<Option<String>> {
        let mut kept = self.kept();
        if kept.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        kept.aside = Some(damaged.to_vec());
        kept.content = content.to_vec();
        Ok(None)
    }

    fn store(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let mut kept = self.kept();
        if kept.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        kept.content[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

struct Config;

impl MachineConfig for Config {
    fn memory(&self) -> Memory {
        Memory::of_size(64 << 20)
    }

    fn cpus(&self) -> Cpus {
        Cpus::new(1, Default::default())
    }

    fn boot(&self) -> Boot<'_> {
        Boot::new("")
    }

    fn x_vof(&self) -> bool {
        true
    }
}

/// An NVRAM with what is around it.
struct World {
    place: Place,
    nvram: Arc<Nvram>,
    rtas: Rtas,
    ram: WatchedRam,
    /// What is in it.
    model: Vec<u8>,
}

impl World {
    /// What is in the file becomes an NVRAM, or is left as it is.
    fn open(place: Place, is_full: bool, reach: &mut Reach) -> Option<Self> {
        let before = {
            let mut kept = place.kept();
            kept.is_full = is_full;
            kept.aside = None;
            kept.content.clone()
        };
        let opened = Nvram::open(BYTES, Box::new(place.clone()));
        let (content, aside) = {
            let kept = place.kept();
            (kept.content.clone(), kept.aside.clone())
        };
        let nvram = match opened {
            Ok(nvram) => Arc::new(nvram),
            Err(NvramError::Renew { .. }) => {
                assert!(is_full && content == before, "a file is lost");
                reached(reach, "a file that cannot be put aside");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        assert_eq!(nvram.size_bytes(), BYTES);
        let partitions = nvram.partitions();
        match aside {
            None => {
                assert_eq!(content, before);
                let is_one = partitions.is_ok();
                assert!(is_one || is_full, "what is damaged is neither kept aside nor kept");
                reached(
                    reach,
                    if is_one { "a file that is one" } else { "a file that cannot be put aside" },
                );
            }
            Some(aside) => {
                partitions.expect("partitions are as they have to be");
                let is_blank = before.iter().all(|&byte| byte == 0);
                assert_eq!(aside, if is_blank { vec![] } else { before.clone() }, "it is lost");
                assert_eq!(content, fresh());
                reached(reach, kind(&before));
            }
        }
        let rtas = Rtas::new(&[nvram.clone() as Arc<dyn Device>]).expect("there is one device");
        Some(Self { place, nvram, rtas, ram: WatchedRam::new(RAM_BYTES), model: content })
    }

    /// Makes an RTAS call with any arguments.
    fn copy(&mut self, name: &str, input: &mut Input<'_>, reach: &mut Reach) {
        let offset = input.number(BYTES as u64) as u32;
        let buffer = input.number(RAM_BYTES) as u32;
        let length = input.number(BYTES as u64) as u32;
        let data = input.bytes(usize::from(input.clone().byte() % 64));
        self.ram.poke(buffer.into(), data);
        let token = token_of(name).expect("it is well known");
        self.ram.poke_cells(BUFFER, &[token, 3, 2, offset, buffer, length, !0, !0]);
        let bytes = self.ram.peek(buffer.into(), (length as usize).min(BYTES));
        let mut call = Hypercall::new(token::RTAS, &[BUFFER]);
        assert_eq!(self.rtas.handle(CpuIndex(0), &self.ram, &mut call), Next::Resume);
        assert_eq!(call.status(), Status::SUCCESS);
        let (writes, work) = self.ram.take();
        assert!(work.bytes <= 2 * BYTES as u64 + 256, "{work:?}");
        let results = BUFFER + 24..BUFFER + 32;
        let target = u64::from(buffer)..u64::from(buffer) + u64::from(length);
        let permitted = if name == "nvram-fetch" { vec![results, target] } else { vec![results] };
        assert!(are_within(&writes, &permitted), "{name} wrote {writes:x?}");

        let end = u64::from(offset) + u64::from(length);
        let is_ram = u64::from(length) <= self.ram.room_from(buffer.into()) || length == 0;
        let is_right = end <= BYTES as u64 && is_ram;
        let is_full = self.place.kept().is_full;
        // Its own results may be where the data is.
        let overlaps = is_right && touches(buffer, length);
        let [status, copied] = [24, 28].map(|at| self.ram.peek_cell(BUFFER + at));
        let expected = match (name, is_right) {
            (_, false) => (-3, 0),
            ("nvram-store", true) if is_full => (-1, 0),
            _ => (0, length),
        };
        assert_eq!((status as i32, copied), expected, "{name} {offset:#x} {buffer:#x} {length:#x}");
        let range = offset as usize..end as usize;
        match (name, expected.0) {
            (_, -3) => reached(reach, "out of range"),
            (_, -1) => reached(reach, "store that cannot be kept"),
            ("nvram-fetch", _) => {
                if !overlaps {
                    let found = self.ram.peek(buffer.into(), length as usize);
                    assert_eq!(found, self.model[range], "what is fetched is something else");
                }
                reached(reach, "fetch");
            }
            _ => {
                self.model[range].copy_from_slice(&bytes);
                reached(reach, "store");
            }
        }
    }

    /// A client sets a property.
    fn set(&mut self, input: &mut Input<'_>, reach: &mut Reach) {
        let name = input.pick(&NAMES);
        let repeat = usize::from(input.pick(&[1_u8, 1, 16, 255]));
        let len = usize::from(input.byte() % 32);
        let value = input.bytes(len).repeat(repeat);
        let before = self.nvram.to_bytes();
        let damage = self.nvram.partitions().err();
        let observer = self.nvram.properties().expect("it learns of properties");
        if !observer.may_set(OPTIONS, name, &value) {
            assert_eq!(self.nvram.to_bytes(), before, "a question changes it");
            reached(reach, "setprop without room");
            return;
        }
        observer.was_set(OPTIONS, name, &value);
        observer.was_set("/chosen", name, b"of another node");
        let after = self.nvram.to_bytes();
        if self.place.kept().is_full {
            assert_eq!(after, before, "what cannot be kept is in it");
            return;
        }
        self.model = after;
        let is_kept = NAMES.iter().position(|known| *known == name).is_some_and(|at| at < 5);
        if !is_kept {
            assert_eq!(self.model, before, "{name} is no setting");
            return;
        }
        let text = value.strip_suffix(&[0]).filter(|_| name != "oem-logo").unwrap_or(&value);
        let variables = self.nvram.variables();
        let mut of_name = variables.iter().filter(|(known, _)| known == name);
        assert_eq!(of_name.next().map(|(_, value)| value.as_slice()), Some(text), "{name}");
        assert!(of_name.next().is_none(), "{name} is there twice");
        assert_eq!(self.nvram.partitions().err(), damage, "a setting destroys a partition");
        reached(reach, "setprop");
    }

    /// The machine starts again.
    fn start(&mut self, reach: &mut Reach) {
        let damage = self.nvram.partitions().err();
        self.place.kept().aside = None;
        let tree = tree(&platform(&self.nvram));
        let kept = self.place.kept();
        if damage.is_some() && !kept.is_full {
            let is_blank = self.model.iter().all(|&byte| byte == 0);
            let lost = if is_blank { vec![] } else { self.model.clone() };
            assert_eq!(kept.aside, Some(lost), "it is lost");
            self.model = fresh();
            reached(reach, "a start with destroyed partitions");
        } else {
            assert_eq!(kept.aside, None, "a start changes it");
        }
        drop(kept);
        assert_eq!(tree.value(OPTIONS, "real-mode?"), Some(&b"true\0"[..]));
        for name in ["phandle", "name", "#bytes", "Upper"] {
            assert_eq!(tree.value(OPTIONS, name), None, "{name}");
        }
        let mut shown = 0;
        for (name, value) in self.nvram.variables().iter().take(100) {
            if let Some(property) = tree.value(OPTIONS, name).filter(|_| name.starts_with("boot-"))
            {
                let first = self.nvram.variables().into_iter().find(|(known, _)| known == name);
                let first = first.map_or_else(|| value.clone(), |(_, value)| value);
                assert_eq!(property, [first.as_slice(), &[0]].concat(), "{name}");
                shown += 1;
            }
        }
        if shown > 0 {
            reached(reach, "a start with variables");
        }
    }

    /// It goes on in another machine.
    fn save(&mut self, reach: &mut Reach) {
        let state = self.nvram.save().expect("it can be saved");
        let other = Place::default();
        let nvram = Nvram::open(BYTES, Box::new(other.clone())).expect("nothing is one");
        nvram.restore(nvram.version(), &state).expect("it can be taken up");
        assert_eq!(nvram.to_bytes(), self.model);
        assert_eq!(other.kept().content, self.model);
        reached(reach, "saved and taken up");
    }
}

/// Whether some of a buffer is where the arguments of a call are.
fn touches(buffer: u32, length: u32) -> bool {
    let (start, end) = (u64::from(buffer), u64::from(buffer) + u64::from(length));
    start < BUFFER + 32 && BUFFER < end
}

/// What is wrong with a file that was put aside.
fn kind(content: &[u8]) -> &'static str {
    if content.iter().all(|&byte| byte == 0) {
        return "a blank file";
    }
    if content.len() != BYTES {
        return "a file of another size";
    }
    match damage(content) {
        Some(Damage::Checksum { .. }) => "a file with a wrong checksum",
        Some(Damage::Length { .. }) => "a file with a wrong length",
        Some(Damage::NoCommon) => "a file without variables' partition",
        damage => panic!("it was put aside, but {damage:?}"),
    }
}

/// What is wrong with content, as an NVRAM says it that a guest has written it to.
fn damage(content: &[u8]) -> Option<Damage> {
    let ram = WatchedRam::new(RAM_BYTES);
    ram.poke(0x1_0000, content);
    let nvram = Arc::new(Nvram::open(BYTES, Box::new(Place::default())).expect("nothing is one"));
    let rtas = Rtas::new(&[nvram.clone() as Arc<dyn Device>]).expect("there is one device");
    let token = token_of("nvram-store").expect("it is well known");
    ram.poke_cells(BUFFER, &[token, 3, 2, 0, 0x1_0000, content.len() as u32, !0, !0]);
    let mut call = Hypercall::new(token::RTAS, &[BUFFER]);
    let _ = rtas.handle(CpuIndex(0), &ram, &mut call);
    nvram.partitions().err()
}

fn platform(nvram: &Arc<Nvram>) -> Platform {
    let machine = Machine::new(&Config).expect("a machine that can be");
    let platform = outline_with(&machine, |builder| {
        builder.add(nvram.clone());
        Ok::<_, PlatformError>(())
    });
    platform.expect("the devices can be in one machine")
}

fn tree(platform: &Platform) -> Tree {
    let start = Start::new(GuestAddress(4 << 20), [0; 32]);
    let tree = platform.tree(&start).expect("whatever is in the NVRAM, there is a tree");
    tree.flatten(0).expect("a tree can be written");
    tree
}
