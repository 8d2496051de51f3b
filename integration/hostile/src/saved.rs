//! Saved machines that were changed on their way: taken up, or refused by name.

use std::error::Error as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use pseries_vmm::Failure;
use serde_json::Value;

use crate::Reach;
use crate::changes::change;
use crate::input::Input;
use crate::process::{LIMIT, Machine, chain, endless, folder};

/// How many changes an input makes at most.
const CHANGES_MAX: usize = 12;

/// What inputs reach.
const GOALS: [&str; 10] = [
    "an unchanged machine is taken up",
    "a changed machine is taken up",
    "what was taken up is saved again",
    "what was taken up ends by itself",
    "a configuration is refused",
    "a state is refused",
    "files are refused",
    "the devices refuse their state",
    "the CPUs refuse their state",
    "other memory is taken up",
];
const SAME: usize = 0;
const TAKEN: usize = 1;
const SAVED: usize = 2;
const ENDS: usize = 3;
const CONFIG: usize = 4;
const STATE: usize = 5;
const FILES: usize = 6;
const DEVICES: usize = 7;
const CPUS: usize = 8;
const MEMORY: usize = 9;

/// The files of a saved machine.
const CONFIG_FILE: &str = "config.json";
const STATE_FILE: &str = "state.json";
const MEMORY_FILE: &str = "memory-ranges";

const RAM_BYTES: u64 = 64 << 20;

/// For how long a machine runs before it is saved, and when it was taken up.
const BEFORE: Duration = Duration::from_millis(300);
const AFTER: Duration = Duration::from_millis(2);

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    GOALS.map(str::to_owned).into()
}

/// `data` is one change of a machine's files after the other.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let mut reach = Reach::NONE;
    // One at a time has the folder.
    static FOLDER: Mutex<()> = Mutex::new(());
    let _folder = FOLDER.lock().unwrap_or_else(PoisonError::into_inner);
    let whole = whole();
    let files = whole.changed(&mut input);
    let is_same = files == *whole;
    let other_memory = files.memory != whole.memory;
    files.write(&folder("saved/changed"));
    let url = format!("source_url=file://{},resume=on", folder("saved/changed").display());
    let machine = Machine::start(&["--restore", &url]);
    match machine.runs() {
        Err(failure) => {
            assert!(!is_same, "its own files: {}", chain(&failure));
            reach.add(refused(&failure));
        }
        Ok(machine) => {
            reach.add(if is_same { SAME } else { TAKEN });
            if other_memory {
                reach.add(MEMORY);
            }
            thread::sleep(AFTER);
            // A guest of any content may have ended by itself meanwhile.
            if machine.control.pause(LIMIT).is_ok() && machine.control.save().is_ok() {
                reach.add(SAVED);
            }
            if machine.end() {
                reach.add(ENDS);
            }
        }
    }
    reach
}

/// Which goal a refusal is: it has a reason.
fn refused(failure: &Failure) -> usize {
    let said = chain(failure);
    assert!(failure.source().is_some(), "{said:?} has no reason");
    match &said {
        said if said.contains(CONFIG_FILE) => CONFIG,
        said if said.contains(STATE_FILE) => STATE,
        said if said.contains("devices cannot take up") => DEVICES,
        said if said.contains("cannot take up its state") => CPUS,
        _ => FILES,
    }
}

/// The files of a saved machine.
#[derive(Debug, Clone, PartialEq)]
struct Files {
    config: Vec<u8>,
    state: Vec<u8>,
    memory: Memory,
}

/// What is in a large file that is mostly holes.
#[derive(Debug, Clone, PartialEq)]
struct Memory {
    bytes: u64,
    /// Where it is not zero.
    blocks: Vec<(u64, Vec<u8>)>,
}

/// A machine that was saved, in the middle of calls of its client and with requests under way.
fn whole() -> &'static Files {
    static WHOLE: OnceLock<Files> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let (disk, saved) = (folder("saved/disk"), folder("saved/whole"));
        fs::create_dir_all(&saved).expect("a folder");
        fs::write(&disk, vec![0; 1 << 20]).expect("a disk");
        let machine = Machine::start(endless(&disk.display().to_string()).as_flattened());
        let machine = machine.runs().unwrap_or_else(|failure| panic!("{}", chain(&failure)));
        thread::sleep(BEFORE);
        machine.control.pause(LIMIT).expect("it comes to rest");
        let config = machine.cli.vm_config().expect("what it was started with");
        machine.control.snapshot(&config, &saved).expect("it can be saved");
        assert!(!machine.end(), "it runs on");
        let read = |name: &str| fs::read(saved.join(name)).expect("a file of a saved machine");
        let memory = Memory::of(&read(MEMORY_FILE));
        Files { config: read(CONFIG_FILE), state: read(STATE_FILE), memory }
    })
}

impl Files {
    fn write(&self, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        let write = |name: &str, bytes: &[u8]| {
            fs::write(to.join(name), bytes).expect("a file of a saved machine");
        };
        write(CONFIG_FILE, &self.config);
        write(STATE_FILE, &self.state);
        self.memory.write(&to.join(MEMORY_FILE));
    }

    /// The same with changes: of what the JSON says, of its text, of the memory.
    fn changed(&self, input: &mut Input<'_>) -> Self {
        let mut files = self.clone();
        for _ in 0..CHANGES_MAX {
            if input.is_empty() {
                break;
            }
            match input.byte() {
                0..=0x1f => change_json(&mut files.config, input),
                0x20..=0x3f => change_json(&mut files.state, input),
                0x40..=0xcf => change_machine(&mut files.state, input),
                0xd0..=0xd7 => change_bytes(&mut files.config, input),
                0xd8..=0xdf => change_bytes(&mut files.state, input),
                _ => files.memory.change(input),
            }
        }
        files
    }
}

impl Memory {
    const BLOCK_BYTES: usize = 4096;

    fn of(bytes: &[u8]) -> Self {
        let blocks = (0..).step_by(Self::BLOCK_BYTES).zip(bytes.chunks(Self::BLOCK_BYTES));
        let blocks = blocks.filter(|(_, block)| block.iter().any(|byte| *byte != 0));
        let blocks = blocks.map(|(at, block)| (at, block.to_vec())).collect();
        Self { bytes: bytes.len() as u64, blocks }
    }

    fn write(&self, to: &Path) {
        // What another machine has for its memory still is not written over.
        let _ = fs::remove_file(to);
        let file = File::create(to).expect("a file");
        file.set_len(self.bytes).expect("room for a file");
        for (at, block) in &self.blocks {
            let left = self.bytes.saturating_sub(*at).min(block.len() as u64) as usize;
            file.write_all_at(&block[..left], *at).expect("room for a file");
        }
    }

    fn change(&mut self, input: &mut Input<'_>) {
        match input.byte() % 8 {
            0 => self.bytes = u64::from(input.u32()) % (2 * self.bytes).max(1),
            1 => self.bytes += u64::from(input.byte()),
            2 => self.bytes = self.bytes.saturating_sub(input.byte().into()),
            _ => {
                let number = usize::from(input.u16()) % self.blocks.len().max(1);
                if let Some((_, block)) = self.blocks.get_mut(number) {
                    let at = usize::from(input.u16()) % Self::BLOCK_BYTES;
                    let new = input.bytes(16);
                    block.iter_mut().skip(at).zip(new).for_each(|(byte, new)| *byte = *new);
                }
            }
        }
    }
}

fn change_json(text: &mut Vec<u8>, input: &mut Input<'_>) {
    // What is no JSON any more stays as it is.
    if let Ok(mut value) = serde_json::from_slice::<Value>(text) {
        change(&mut value, input, RAM_BYTES);
        *text = value.to_string().into_bytes();
    }
}

/// The same of the state of the machine, with the checksum that it has then.
fn change_machine(text: &mut Vec<u8>, input: &mut Input<'_>) {
    if let Ok(mut value) = serde_json::from_slice::<Value>(text) {
        let Some(machine) = value.get_mut("machine") else { return };
        change(machine, input, RAM_BYTES);
        let sum = crc32fast::hash(machine.to_string().as_bytes());
        value["checksum"] = format!("{sum:08x}").into();
        *text = value.to_string().into_bytes();
    }
}

fn change_bytes(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    let at = input.u32() as usize % bytes.len().max(1);
    match input.byte() % 4 {
        0 => bytes.truncate(at),
        1 => bytes.extend_from_slice(input.bytes(8)),
        _ => {
            let new = input.bytes(8);
            for (byte, new) in bytes.iter_mut().skip(at).zip(new) {
                *byte = *new;
            }
        }
    }
}
