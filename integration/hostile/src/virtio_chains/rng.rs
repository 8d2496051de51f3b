//! The entropy device, with a source that has always some, or one that is waited for.

use pseries_devices::rng::{Rng, Source};

use crate::device_ram::{DeviceRam, address};
use crate::input::Input;

use super::kind::{Buffer, Host, Made, Request};
use super::length;

pub(super) const GOALS: &[&str] = &[];

pub(super) fn make(flags: u8) -> Made {
    let source = match flags & 1 {
        0 => Source::fixed(flags.into()),
        _ => Source::open("/dev/zero".as_ref()).expect("a device of all hosts"),
    };
    Made { device: Box::new(Rng::new(source)), host: Box::new(Nobody) }
}

struct Nobody;

impl Host for Nobody {
    fn request(&self, _: &DeviceRam, _: u64, _: usize, input: &mut Input<'_>) -> Request {
        let count = input.byte() % 4 + 1;
        let buffers = (0..count).map(|_| Buffer::writable(address(input), length(input))).collect();
        Request { buffers, ..Request::default() }
    }
}
