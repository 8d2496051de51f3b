//! Virtio devices: descriptors, rings and requests of anything, for each device that is in this
//! process.
//!
//! What works on the queues is called here, without threads.

mod bench;
mod blk;
mod console;
mod kind;
mod net;
mod queue;
mod rng;
mod vsock;

use pseries_devices::virtio::VirtioDevice;

use crate::Reach;
use crate::device_ram::{Memory, address};
use crate::input::Input;

use self::bench::Bench;
use self::kind::Kind;

/// How many things an input does at most.
const ACTIONS_MAX: usize = 64;

/// What inputs reach of every device.
const GOALS: [&str; 4] = ["is used", "is used by a table", "makes no sense", "is reset"];
const USED: usize = 0;
const INDIRECT: usize = 1;
const NONSENSE: usize = 2;
const RESET: usize = 3;

/// All devices. New ones go to the end, so that inputs mean what they did.
const KINDS: [Kind; 5] = [
    Kind { name: "rng", goals: rng::GOALS, make: rng::make },
    Kind { name: "blk", goals: blk::GOALS, make: blk::make },
    Kind { name: "vsock", goals: vsock::GOALS, make: vsock::make },
    Kind { name: "net", goals: net::GOALS, make: net::make },
    Kind { name: "console", goals: console::GOALS, make: console::make },
];

/// What a device works with, for as long as it is there.
pub(crate) struct Others(#[expect(dead_code, reason = "it is only kept")] Box<dyn kind::Host>);

/// One of each device, by its name.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, Box<dyn VirtioDevice<Memory>>, Others)> {
    KINDS.iter().map(|kind| {
        let kind::Made { device, host } = (kind.make)(0);
        (kind.name, device, Others(host))
    })
}

/// See [`Target::goals`](crate::Target::goals): the same of each device, and what it does.
pub fn goals() -> Vec<String> {
    let of_one = |kind: &Kind| {
        let name = kind.name;
        GOALS.iter().chain(kind.goals).map(move |goal| format!("{name}: {goal}")).collect()
    };
    KINDS.iter().flat_map(|kind: &Kind| -> Vec<String> { of_one(kind) }).collect()
}

/// `data` is a byte that chooses the device, a byte of flags, and one action after the other.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let number = usize::from(input.byte() % 8) % KINDS.len();
    let before = KINDS[..number].iter().map(|kind| GOALS.len() + kind.goals.len()).sum();
    let mut goals = Goals { reach: Reach::NONE, first: before };
    let mut bench = Bench::new(&KINDS[number], input.byte());
    for _ in 0..ACTIONS_MAX {
        if input.is_empty() {
            break;
        }
        act(&mut bench, &mut input, &mut goals);
    }
    goals.reach
}

/// The goals of one device.
struct Goals {
    reach: Reach,
    first: usize,
}

impl Goals {
    fn common(&mut self, number: usize) {
        self.reach.add(self.first + number);
    }

    fn own(&mut self, number: usize) {
        self.reach.add(self.first + GOALS.len() + number);
    }
}

fn act(bench: &mut Bench, input: &mut Input<'_>, goals: &mut Goals) {
    let kind = input.byte();
    let queue = usize::from(kind >> 6);
    match kind % 16 {
        0..=4 => {
            let request = bench.request(queue, input);
            let by_table = kind & 0x10 != 0;
            bench.add(request.queue, &request.buffers, by_table);
            if kind & 0x20 == 0 {
                let used = bench.notify(request.queue, goals);
                if used && by_table {
                    goals.common(INDIRECT);
                }
            }
            if bench.is_clear() {
                bench.judge(&request, goals);
            }
        }
        5 => {
            let index = input.byte();
            let (at, bytes) = (address(input), length(input));
            let (flags, next) = (input.byte() % 8, input.byte());
            bench.set_descriptor(queue, index.into(), at, bytes, flags.into(), next.into());
        }
        6 => {
            let head = input.byte();
            bench.make_available(queue, head.into());
        }
        7 => {
            let index = match input.byte() {
                few @ 0..=0x7f => few.into(),
                _ => input.u16(),
            };
            bench.set_available(queue, index);
        }
        8 => {
            let at = address(input);
            let bytes = usize::from(input.byte() % 64);
            bench.poke(at, input.bytes(bytes));
        }
        9 => {
            let (flags, event) = (input.byte(), input.u16());
            bench.set_wishes(queue, u16::from(flags & 1), event);
        }
        10 => {
            let mut data = [0; 16];
            let bytes = usize::from(input.byte() % 16) + 1;
            let offset = input.number(64);
            let given = input.bytes(bytes);
            data[..given.len()].copy_from_slice(given);
            bench.configure(offset, &data[..bytes]);
        }
        11 | 12 => bench.host(input, goals),
        13 => {
            goals.common(RESET);
            bench.reset(input.byte());
        }
        _ => {
            bench.notify(queue, goals);
        }
    }
}

/// The length of a buffer.
fn length(input: &mut Input<'_>) -> u32 {
    match input.byte() {
        few @ 0..=0x5f => few.into(),
        few @ 0x60..=0x9f => u32::from(few & 31) << 9,
        0xa0..=0xdf => input.u16().into(),
        _ => input.u32(),
    }
}
