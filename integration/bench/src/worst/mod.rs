//! The longest that one call can take: each service where a guest has made it as slow as it can.
//!
//! A scenario is a sequence of calls that ends, or goes on, in a bad state. It is run several times
//! from the start; of each call of the sequence, the shortest of all runs counts, and of those, the
//! longest is the figure. So a call that other work of the host interrupted in one run is not
//! counted, and one that is slow in every run is, be it the only one of a hundred thousand: where a
//! table grows, for instance.
//!
//! A call may take as long as so many accesses to guest memory, which are measured in turns with the
//! scenarios: a millisecond on the machine of docs/performance.md.
//!
//! Not in the figures is what others do: the console and the policies do next to nothing here, and
//! the memory that a guest is written to was touched before.

mod scenarios;
mod trees;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arch_ppc64::hypercall::token;
use arch_ppc64::{CpuIndex, Hypercall, Next};
use vof_device::block::BlockPackage;
use vof_device::test_utils::{Argument, Client, TestDisk, TestMachine, WORKSPACE, WORKSPACE_BYTES};
use vof_device::{PropertyPolicy, limits};

use crate::report::{Bound, Figure};
use crate::unit::{MILLISECOND, Unit};
use scenarios::{SCENARIOS, Scenario};

/// How often a scenario is run.
const RUNS: usize = 7;

const RAM_BYTES: u64 = 1 << 30;
/// Memory that claims get at; what is above is for buffers.
const CLAIMS_END: u32 = 0x3000_0000;
const BUFFER: u32 = CLAIMS_END;
/// So much that a transfer of all of it takes several calls.
const DISK_SECTORS: u64 = 3 << 11;
/// What is written of the buffer at once: the list of free memory, in entries of 16 bytes.
const TOUCHED_BYTES: usize = limits::MAX_FREE_RANGES * 16;
const NONE: u32 = u32::MAX;

/// The longest call of a service.
#[derive(Debug, Clone)]
struct Worst {
    /// The scenario.
    state: &'static str,
    /// The service, and the method if it is `call-method`.
    service: String,
    /// What the call took.
    time: Duration,
}

/// Makes calls and takes their time.
struct Recorder<'a> {
    machine: &'a TestMachine,
    client: Client<'a>,
    /// Service and shortest time of each call of the sequence.
    calls: &'a mut Vec<(String, Duration)>,
    at: usize,
}

impl Recorder<'_> {
    /// Makes one call, and gives its first result.
    fn call(&mut self, service: &str, arguments: &[Argument<'_>]) -> u32 {
        let (call, time) = self.time(service, arguments);
        let name = match (service, arguments) {
            ("call-method", [Argument::Text(method), ..]) => format!("{service} {method}"),
            _ => service.to_owned(),
        };
        match self.calls.get_mut(self.at) {
            Some((before, shortest)) => {
                assert_eq!(*before, name, "a scenario is the same each time");
                *shortest = time.min(*shortest);
            }
            None => self.calls.push((name, time)),
        }
        self.at += 1;
        call
    }

    /// Makes one call that is not part of the scenario: one that prepares it.
    fn prepare(&mut self, service: &str, arguments: &[Argument<'_>]) -> u32 {
        self.time(service, arguments).0
    }

    fn time(&mut self, service: &str, arguments: &[Argument<'_>]) -> (u32, Duration) {
        const RESULTS: usize = 2;
        let mut data_at = WORKSPACE + (3 + arguments.len() + RESULTS) as u32 * 4;
        let mut place = |bytes: &[u8], end: &[u8]| {
            let at = data_at;
            self.client.poke(at, bytes);
            self.client.poke(at + bytes.len() as u32, end);
            data_at += (bytes.len() + end.len()) as u32;
            assert!(data_at < WORKSPACE + WORKSPACE_BYTES, "a call does not fit");
            at
        };
        let mut cells =
            vec![place(service.as_bytes(), &[0]), arguments.len() as u32, RESULTS as u32];
        for argument in arguments {
            cells.push(match *argument {
                Argument::Cell(cell) => cell,
                Argument::Text(text) => place(text.as_bytes(), &[0]),
                Argument::Bytes(bytes) => place(bytes, &[]),
            });
        }
        let first = WORKSPACE + cells.len() as u32 * 4;
        self.client.poke_cells(WORKSPACE, &cells);
        self.client.poke_cells(first, &[0; RESULTS]);
        let mut call = Hypercall::new(token::VOF_CLIENT, &[WORKSPACE.into()]);
        let start = Instant::now();
        let next = self.machine.bus.dispatch(CpuIndex(0), &self.machine.ram, &mut call);
        let time = start.elapsed();
        assert!(matches!(next, Next::Resume | Next::Stop(_)), "{service}");
        let result = self.client.peek(first, 4);
        (u32::from_be_bytes(result.try_into().expect("four bytes")), time)
    }

    fn setprop(&mut self, node: u32, name: &str, len: usize) -> u32 {
        let arguments = [node.into(), name.into(), BUFFER.into(), (len as u32).into()];
        self.call("setprop", &arguments)
    }

    fn claim(&mut self, at: u32, size: u32, align: u32) -> u32 {
        self.call("claim", &[at.into(), size.into(), align.into()])
    }

    fn release(&mut self, at: u32, size: u32) {
        self.call("release", &[at.into(), size.into()]);
    }
}

/// A machine that lets its clients set everything that is no part of the machine.
struct Anything;

impl PropertyPolicy for Anything {
    fn may_set(&self, _: &str, _: &str, _: &[u8]) -> bool {
        true
    }
}

/// Measures everything: the longest call of each service, the longest first.
pub fn figures() -> Vec<Figure> {
    let mut worst: Vec<Worst> = Vec::new();
    let mut unit = Unit::accesses();
    for found in SCENARIOS.iter().flat_map(|scenario| longest_calls(scenario, &mut unit)) {
        match worst.iter_mut().find(|other| other.service == found.service) {
            Some(other) if other.time < found.time => *other = found,
            Some(_) => {}
            None => worst.push(found),
        }
    }
    worst.sort_by_key(|worst| std::cmp::Reverse(worst.time));
    let most_us = MILLISECOND * unit.take_ns() / 1000.0;
    let figure = |Worst { state, service, time }| Figure {
        what: format!("{service}: {state}"),
        value: Some(time.as_secs_f64() * 1e6),
        unit: "µs",
        bound: Bound::AtMost(most_us),
    };
    worst.into_iter().map(figure).collect()
}

/// Every call of a scenario.
fn longest_calls(scenario: &Scenario, unit: &mut Unit) -> Vec<Worst> {
    let mut calls = Vec::new();
    let tree = (scenario.tree)();
    // Where the tree has a disk.
    let disk = tree.find("disk").map(|_| Arc::new(TestDisk::numbered(DISK_SECTORS)));
    for _ in 0..RUNS {
        unit.turn();
        let machine = TestMachine::new(tree.clone(), RAM_BYTES, |builder| {
            let builder = builder.properties(Box::new(Anything)).cas((scenario.cas)());
            match &disk {
                Some(disk) => builder.package("disk", Arc::new(BlockPackage::new(disk.clone()))),
                None => builder,
            }
        });
        // The host gives a guest its memory when it is touched, which is not the interface's time.
        machine.client().poke(BUFFER, &vec![0; TOUCHED_BYTES]);
        let mut recorder =
            Recorder { machine: &machine, client: machine.client(), calls: &mut calls, at: 0 };
        (scenario.run)(&mut recorder);
        let made = recorder.at;
        assert_eq!(made, calls.len(), "a scenario is the same each time");
    }
    let state = scenario.state;
    calls.into_iter().map(|(service, time)| Worst { state, service, time }).collect()
}
