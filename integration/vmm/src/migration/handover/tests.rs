//! Both sides by their rules, on a line that is cut wherever it can be.

use std::collections::BTreeSet;

use super::super::protocol::{Message, Purpose, Token, WireError};
use super::*;

const TOKEN: Token = Token([7; 16]);

/// What happens to what one side writes.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    /// How many of them were read.
    read: usize,
    /// How many get through; the connection ends behind them.
    budget: usize,
}

impl Line {
    fn write(&mut self, message: &Message) {
        message.write(&mut self.bytes).unwrap();
        if let Message::Pages { bytes, .. } = message {
            self.bytes.resize(self.bytes.len() + *bytes as usize, 0x5a);
        }
    }

    fn is_cut(&self) -> bool {
        self.bytes.len() > self.budget
    }

    /// The next message that has come whole.
    fn next(&mut self) -> Option<Message> {
        let there = &self.bytes[self.read..self.bytes.len().min(self.budget)];
        let mut rest = there;
        match Message::read(&mut rest) {
            Ok(message) => {
                if let Message::Pages { bytes, .. } = message {
                    rest = rest.get(bytes as usize..)?;
                }
                self.read += there.len() - rest.len();
                Some(message)
            }
            Err(WireError::Ended | WireError::Broken(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Both sides, and two lines between them. Each step of a side is one of what the code that runs
/// machines does, in its order.
struct Both {
    source: Source,
    destination: Destination,
    to_destination: Line,
    to_source: Line,
    /// Whether all of the machine has come.
    is_whole: bool,
    /// Whether the destination can have what only one may have.
    can_take: bool,
    /// Whether the two sides have noticed that the connection is cut.
    noticed: (bool, bool),
    goes_sent: u32,
}

impl Both {
    fn new(budgets: (usize, usize), can_take: bool) -> Self {
        let mut both = Self {
            source: Source::Sending,
            destination: Destination::Waiting,
            to_destination: Line { budget: budgets.0, ..Line::default() },
            to_source: Line { budget: budgets.1, ..Line::default() },
            is_whole: false,
            can_take,
            noticed: (false, false),
            goes_sent: 0,
        };
        let to = &mut both.to_destination;
        to.write(&Message::Hello { purpose: Purpose::Migrate, token: TOKEN });
        to.write(&Message::Offer(b"{}".to_vec()));
        to.write(&Message::Pages { at: 0, bytes: 32 });
        to.write(&Message::RoundEnd { number: 1 });
        to.write(&Message::State(b"{}".to_vec()));
        both
    }

    fn check(&self, when: &str) {
        let both = self.source.may_run() && self.destination.may_run();
        assert!(!both, "{when}: both run: {:?} {:?}", self.source, self.destination);
    }

    fn destination_steps(&mut self) {
        while !self.noticed.1 {
            let Some(message) = self.to_destination.next() else { break };
            match message {
                Message::State(_) => {
                    self.is_whole = true;
                    self.to_source.write(&Message::Ready);
                }
                Message::Go => {
                    assert!(self.is_whole);
                    if self.destination.go() {
                        self.check("taking");
                        if self.can_take {
                            self.destination.taken();
                            self.to_source.write(&Message::Running);
                        } else {
                            self.destination.failed();
                            self.to_source.write(&Message::NotRunning("in use".to_owned()));
                        }
                    }
                }
                _ => {}
            }
            self.check("the destination goes on");
        }
    }

    fn source_steps(&mut self) {
        while !self.noticed.0 {
            let Some(message) = self.to_source.next() else { break };
            match message {
                Message::Ready => {
                    if self.source.go() {
                        self.goes_sent += 1;
                        self.to_destination.write(&Message::Go);
                    }
                }
                Message::Running => self.source.heard(Answer::Running),
                Message::NotRunning(_) => self.source.heard(Answer::NotRunning),
                other => panic!("{other:?}"),
            }
            self.check("the source goes on");
        }
    }

    /// As far as the connection carries them.
    fn talk(&mut self) {
        for _ in 0..4 {
            self.destination_steps();
            self.source_steps();
        }
    }

    fn is_cut(&self) -> bool {
        self.to_destination.is_cut() || self.to_source.is_cut()
    }

    fn source_notices(&mut self) {
        self.noticed.0 = true;
        self.source.cut();
        self.check("the source has noticed");
    }

    fn destination_notices(&mut self) {
        // What came before is read before.
        self.destination_steps();
        self.noticed.1 = true;
        self.destination.cut();
        self.check("the destination has noticed");
    }

    /// The source asks by a new connection, which may get lost as well.
    fn ask(&mut self) {
        if self.source == Source::Asking {
            let answer = self.destination.asked();
            self.check("asked");
            if let Some(answer) = answer {
                self.source.heard(answer);
            }
            self.check("answered");
        }
    }

    fn one_side_runs(&self, when: &str) {
        let run = [self.source.may_run(), self.destination.may_run()];
        assert!(run[0] != run[1], "{when}: {:?} {:?}", self.source, self.destination);
        assert!(self.source.is_decided() && self.destination.is_decided(), "{when}");
    }
}

fn lengths() -> (usize, usize) {
    let mut both = Both::new((usize::MAX, usize::MAX), true);
    both.talk();
    (both.to_destination.bytes.len(), both.to_source.bytes.len())
}

#[test]
fn without_a_cut_the_destination_runs() {
    let mut both = Both::new((usize::MAX, usize::MAX), true);
    both.talk();
    both.one_side_runs("the end");
    assert_eq!((both.source, both.destination), (Source::There, Destination::Running));
    // Nothing that is late changes that.
    both.source.cut();
    both.source.refused();
    both.destination.cut();
    both.destination.failed();
    assert_eq!(both.destination.asked(), Some(Answer::Running));
    both.one_side_runs("later");
}

#[test]
fn a_destination_that_cannot_have_its_files_leaves_the_machine() {
    let mut both = Both::new((usize::MAX, usize::MAX), false);
    both.talk();
    both.one_side_runs("the end");
    assert_eq!((both.source, both.destination), (Source::Here, Destination::NotRunning));
}

/// The connection is cut behind every byte of each direction, and noticed in either order: then the
/// source asks.
#[test]
fn wherever_it_is_cut_one_side_runs() {
    let (there, back) = lengths();
    let mut ends = BTreeSet::new();
    let budgets = (0..=there).map(|bytes| (bytes, usize::MAX));
    let budgets = budgets.chain((0..=back).map(|bytes| (usize::MAX, bytes)));
    let both_ways = (0..=there).flat_map(|a| (0..=back).map(move |b| (a, b)));
    for budgets in budgets.chain(both_ways) {
        for can_take in [true, false] {
            for order in 0..4 {
                let when = format!("{budgets:?} {can_take} {order}");
                let mut both = Both::new(budgets, can_take);
                both.talk();
                if !both.is_cut() {
                    both.one_side_runs(&when);
                    continue;
                }
                match order {
                    0 => both.source_notices(),
                    1 => {
                        both.destination_notices();
                        both.source_notices();
                    }
                    2 => {
                        both.source_notices();
                        both.destination_notices();
                    }
                    // The source asks before its first connection is known to be cut there.
                    _ => {
                        both.source_notices();
                        both.ask();
                        both.destination_notices();
                    }
                }
                if order == 0 {
                    // It does not run as long as the destination may.
                    let undecided = both.source == Source::Asking;
                    assert!(!undecided || !both.source.may_run(), "{when}");
                }
                both.ask();
                if order == 0 {
                    both.destination_notices();
                }
                both.one_side_runs(&when);
                assert!(both.goes_sent <= 1);
                ends.insert((format!("{:?}", both.source), can_take));
            }
        }
    }
    // Both ends are among them.
    assert!(
        ends.contains(&("There".to_owned(), true)) && ends.contains(&("Here".to_owned(), true))
    );
    assert!(!ends.contains(&("There".to_owned(), false)));
}

/// Either process dies behind any byte.
#[test]
fn when_one_side_dies_the_other_one_knows_or_does_not_run() {
    let (there, back) = lengths();
    for budgets in (0..=there).flat_map(|a| (0..=back).map(move |b| (a, b))) {
        // The destination dies: its door is closed.
        let mut both = Both::new(budgets, true);
        both.talk();
        if both.is_cut() {
            both.source_notices();
            if both.source == Source::Asking {
                assert!(!both.source.may_run(), "{budgets:?}");
            }
            both.source.refused();
            assert!(both.source.may_run(), "{budgets:?}");
        }
        // The source dies: the destination runs what it has been given, and nothing else.
        let mut both = Both::new(budgets, true);
        both.talk();
        both.destination_notices();
        assert!(both.destination.is_decided());
        assert_eq!(
            both.destination.may_run(),
            both.goes_sent == 1 && {
                // Go came through.
                both.to_destination.budget >= both.to_destination.bytes.len()
            }
        );
    }
}

/// Nobody decides where nobody can be asked.
#[test]
fn a_source_that_cannot_ask_does_not_run() {
    let mut source = Source::Sending;
    assert!(source.go() && !source.go());
    source.heard(Answer::Other);
    source.cut();
    for _ in 0..3 {
        source.heard(Answer::Other);
        assert!(!source.may_run() && !source.is_decided());
    }
}

/// A destination that says it runs before it was told to has nothing to say.
#[test]
fn before_go_the_machine_is_the_sources_whatever_the_other_side_says() {
    for answer in [Answer::Running, Answer::NotRunning, Answer::Other] {
        let mut source = Source::Sending;
        source.heard(answer);
        assert_eq!(source, Source::Here);
        assert!(!source.go());
    }
    // Nor is a connection that is refused anything before it was cut.
    let mut source = Source::Sending;
    assert!(source.go());
    source.refused();
    assert_eq!(source, Source::Going);
}

/// A go that comes late is not obeyed.
#[test]
fn who_said_that_it_does_not_run_never_does() {
    let mut destination = Destination::Waiting;
    assert_eq!(destination.asked(), Some(Answer::NotRunning));
    assert!(!destination.go());
    destination.taken();
    assert_eq!(destination, Destination::NotRunning);
    let mut destination = Destination::Waiting;
    assert!(destination.go());
    // While it takes what it needs, nobody is told anything yet.
    assert_eq!(destination.asked(), None);
    destination.cut();
    destination.taken();
    assert_eq!(destination.asked(), Some(Answer::Running));
}
