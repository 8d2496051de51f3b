//! The source: a machine that runs here is sent to another process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::Call;
use super::error::MigrationError;
use super::handover::Source;
use super::link::Stop;
use super::offer::Offer;
use super::pace::{Next, Pace};
use super::protocol::{Message, WireError};
use super::ram::RamSender;
use super::standstill::Standstill;
use super::url::MigrationUrl;
use crate::config::{Size, VmConfig};
use crate::dirty_log::{DirtyRange, LOG_PAGE_BYTES};
use crate::pause::PauseError;
use crate::resize::Control;
use crate::saved::{Live, SaveError, used_ram};
use crate::vcpu::Vm;

/// How long a machine may take to come to rest.
const PAUSE_LIMIT: Duration = Duration::from_secs(10);

/// How a machine is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SendOptions {
    /// How long it may stand still.
    pub(crate) downtime: Duration,
    /// How long all of it may take.
    pub(crate) timeout: Duration,
    /// Whether it stands still for as long as it takes when the time is over, or it writes to memory
    /// faster than that is sent; otherwise it stays where it is.
    pub(crate) insists: bool,
}

impl Default for SendOptions {
    fn default() -> Self {
        let (downtime, timeout) = (Duration::from_millis(100), Duration::from_secs(3600));
        Self { downtime, timeout, insists: false }
    }
}

/// How a machine has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    /// How often its memory was gone through while it ran.
    pub(crate) rounds: u32,
    /// How many bytes were sent.
    pub(crate) sent_bytes: u64,
    /// How long it stood still: from its last instruction here to the word that it runs there. It may
    /// have begun there a moment before.
    pub(crate) downtime: Duration,
    /// How long all of it took.
    pub(crate) time: Duration,
}

/// Somebody who is told how far it is: the number of the round that begins, and how many bytes were
/// written to since the one before.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(u32, Option<u64>);

impl Control {
    /// Sends the machine to whoever waits for it there, where it goes on. Here it stands still for good
    /// then, and only its end is left. Nothing is plugged meanwhile, and the machine is neither paused
    /// nor resumed by others.
    ///
    /// # Errors
    /// [`MigrationError`]; where that does not say otherwise, the machine is as it was.
    pub(crate) fn send_migration(
        &self,
        config: &VmConfig,
        to: &MigrationUrl,
        options: &SendOptions,
        stop: &Stop,
        progress: Progress<'_>,
    ) -> Result<Moved, MigrationError> {
        let turn = self.turn();
        let live = self.live()?;
        if let Some(device) = live.devices.writes_unseen() {
            return Err(MigrationError::Unseen { device: device.to_owned() });
        }
        let vm = live.vm.clone().ok_or(SaveError::NoState(live.backend))?;
        let was_paused = self.is_paused();
        let offer = Offer {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            config: config.clone(),
            outline: live.outline(),
            paused: was_paused,
        };
        let call = Call::make(to, &offer, stop);
        let call = call.map_err(|error| self.why_ended(error, &live, stop))?;
        let mut sending = Sending {
            control: self,
            live: &live,
            vm: &*vm,
            options,
            stop,
            was_paused,
            began: Instant::now(),
            sent: 0,
            stood_still: None,
            has_let_go: false,
        };
        let moved = sending.send(call, progress);
        // Nobody is told anything by a machine that stands still.
        drop(turn);
        moved
    }

    /// Whether a machine is still to be sent, and the same one, with all of its memory.
    fn check_sent(&self, sent: &Arc<Live>, stop: &Stop) -> Result<(), MigrationError> {
        // What was sent is zero in its place.
        if sent.ram.has_lost() {
            return Err(MigrationError::LostMemory);
        }
        match self.live() {
            Ok(live) if !Arc::ptr_eq(&live, sent) => return Err(MigrationError::Restarted),
            Ok(_) => {}
            Err(_) => return Err(MigrationError::Over),
        }
        if stop() { Err(MigrationError::Cancelled) } else { Ok(()) }
    }

    /// A connection that ends because somebody wants it to is not broken.
    fn why_ended(&self, error: MigrationError, sent: &Arc<Live>, stop: &Stop) -> MigrationError {
        match error {
            MigrationError::Wire(_) if stop() => {
                self.check_sent(sent, stop).err().unwrap_or(MigrationError::Cancelled)
            }
            error => error,
        }
    }
}

/// A machine on its way.
struct Sending<'a> {
    control: &'a Control,
    live: &'a Arc<Live>,
    vm: &'a dyn Vm,
    options: &'a SendOptions,
    stop: &'a Stop,
    /// Somebody had it stand still before.
    was_paused: bool,
    began: Instant,
    sent: u64,
    /// Since when it stands still.
    stood_still: Option<Instant>,
    /// Its files are free for the destination.
    has_let_go: bool,
}

impl Sending<'_> {
    fn send(
        &mut self,
        mut call: Call<'_>,
        progress: Progress<'_>,
    ) -> Result<Moved, MigrationError> {
        let sent = self.all(&mut call, progress);
        let sent = sent.map_err(|error| self.control.why_ended(error, self.live, self.stop));
        let reason = match &sent {
            Ok(_) => call.hand_over(),
            Err(error) => {
                call.give_up(&error.told());
                call.source.cut();
                None
            }
        };
        match (call.source, sent) {
            (Source::There, Ok(rounds)) => {
                let downtime = self.stood_still.map_or(Duration::ZERO, |since| since.elapsed());
                let _ = Message::Known.write(&mut call.link);
                let time = self.began.elapsed();
                Ok(Moved { rounds, sent_bytes: self.sent, downtime, time })
            }
            (Source::Here, sent) => {
                if sent.is_ok() {
                    let _ = Message::Known.write(&mut call.link);
                }
                self.go_on()?;
                let reason = reason.unwrap_or_default();
                Err(sent.err().unwrap_or(MigrationError::Refused { reason }))
            }
            _ => {
                self.control.let_go(self.live);
                Err(MigrationError::Undecided)
            }
        }
    }

    /// The machine is here, and as before.
    fn go_on(&mut self) -> Result<(), MigrationError> {
        // One that cannot be switched off costs time, and no more.
        let _ = self.vm.set_dirty_log(false);
        if self.has_let_go {
            if let Err(error) = self.live.devices.lock_files() {
                self.control.let_go(self.live);
                return Err(error.into());
            }
        }
        if self.stood_still.is_none() || self.was_paused {
            return Ok(());
        }
        match self.control.resume_in_turn() {
            // It has ended meanwhile.
            Ok(()) | Err(PauseError::NotRunning) => Ok(()),
            Err(error) => Err(MigrationError::Resume(error)),
        }
    }

    /// Sends all of the machine, up to the moment in which it is handed over. Gives the number of
    /// rounds.
    fn all(&mut self, call: &mut Call<'_>, progress: Progress<'_>) -> Result<u32, MigrationError> {
        self.vm.set_dirty_log(true).map_err(MigrationError::Log)?;
        let mut standstill = Standstill::new(self.live.mailboxes.clone());
        let mut pace = Pace::new(self.options.downtime);
        let mut dirty: Option<Vec<DirtyRange>> = None;
        loop {
            let number = pace.rounds() + 1;
            progress(number, dirty.as_deref().map(dirty_bytes));
            let start = Instant::now();
            let sent = self.round(call, number, dirty.as_deref())?;
            let took = start.elapsed();
            let mut now = self.vm.take_dirty().map_err(MigrationError::Log)?;
            let left = dirty_bytes(&now);
            log::debug!("round {number}: {sent} bytes in {took:?}, {left} bytes were written");
            self.check()?;
            let insists = match self.next(&mut pace, sent, took, left)? {
                Next::Round { standstill_percent } => {
                    if !self.was_paused {
                        standstill.set(standstill_percent);
                    }
                    dirty = Some(now);
                    continue;
                }
                next => next == Next::TooMuch,
            };
            // From here on it stands still, or is told to go on.
            self.stood_still = Some(Instant::now());
            standstill.end();
            if !self.was_paused {
                self.control.pause_in_turn(PAUSE_LIMIT).map_err(MigrationError::Pause)?;
            }
            merge(&mut now, self.vm.take_dirty().map_err(MigrationError::Log)?);
            let left = dirty_bytes(&now);
            if insists || self.was_paused || pace.fits(left) {
                self.last(call, number + 1, now)?;
                return Ok(pace.rounds());
            }
            // It has written much in its last moments.
            log::debug!("it stood still, and {left} bytes are too much");
            pace.was_too_much(left);
            self.control.resume_in_turn().map_err(MigrationError::Resume)?;
            self.stood_still = None;
            standstill = Standstill::new(self.live.mailboxes.clone());
            standstill.set(pace.standstill_percent());
            dirty = Some(now);
        }
    }

    /// What follows a round; [`Next::TooMuch`] where it is to stand still whatever is left.
    fn next(
        &self,
        pace: &mut Pace,
        sent: u64,
        took: Duration,
        left: u64,
    ) -> Result<Next, MigrationError> {
        let next = pace.round(sent, took, left);
        let is_late = self.began.elapsed() >= self.options.timeout;
        match next {
            Next::Round { .. } if is_late && self.options.insists => Ok(Next::TooMuch),
            Next::Round { .. } if is_late => Err(MigrationError::TimedOut(self.options.timeout)),
            Next::TooMuch if !self.options.insists => Err(MigrationError::TooBusy {
                dirty_bytes: left,
                bytes_per_second: pace.bytes_per_second(),
                downtime: self.options.downtime,
            }),
            next => Ok(next),
        }
    }

    /// Whether it is still to be sent.
    fn check(&self) -> Result<(), MigrationError> {
        self.control.check_sent(self.live, self.stop)
    }

    /// Sends what was written, or all of RAM. Gives the number of bytes that were sent when they have
    /// come.
    fn round(
        &mut self,
        call: &mut Call<'_>,
        number: u32,
        dirty: Option<&[DirtyRange]>,
    ) -> Result<u64, MigrationError> {
        let sent = self.ram(call, dirty)?;
        call.say(&Message::RoundEnd { number })?;
        match call.hear()? {
            Message::RoundTaken { number: taken } if taken == number => Ok(sent),
            _ => Err(MigrationError::Sequence("it does not say that a round has come")),
        }
    }

    fn ram(
        &mut self,
        call: &mut Call<'_>,
        dirty: Option<&[DirtyRange]>,
    ) -> Result<u64, MigrationError> {
        let ram = self.live.ram.clone();
        let mut sender = RamSender::new(&*ram, &mut call.link);
        match dirty {
            Some(dirty) => {
                for (at, bytes) in dirty.iter().flat_map(|range| range.stretches(1 << 20)) {
                    sender.send(at, bytes)?;
                }
            }
            // Where nobody has been is zero, at the destination as well.
            None => {
                for (at, bytes) in used_ram(&ram) {
                    sender.send(at, bytes)?;
                }
            }
        }
        sender.flush()?;
        let sent = sender.sent_bytes();
        self.sent += sent;
        Ok(sent)
    }

    /// The machine stands still, and all that is left goes.
    fn last(
        &mut self,
        call: &mut Call<'_>,
        number: u32,
        mut dirty: Vec<DirtyRange>,
    ) -> Result<(), MigrationError> {
        let paused = Instant::now();
        self.check()?;
        let state = self.control.save_in_turn()?;
        let content = serde_json::to_vec(&state).map_err(MigrationError::content)?;
        let saved = Instant::now();
        merge(&mut dirty, self.vm.take_dirty().map_err(MigrationError::Log)?);
        let sent = self.ram(call, Some(&dirty))?;
        call.say(&Message::RoundEnd { number })?;
        match Message::State(content).write(&mut call.link) {
            Err(WireError::Nonsense(_)) => return Err(MigrationError::TooLong("state")),
            written => written?,
        }
        match call.hear()? {
            Message::RoundTaken { number: taken } if taken == number => {}
            _ => return Err(MigrationError::Sequence("it does not say that a round has come")),
        }
        let copied = Instant::now();
        match call.hear()? {
            Message::Ready => {}
            _ => return Err(MigrationError::Sequence("it does not say that all has come")),
        }
        let ready = Instant::now();
        if call.link.is_network() {
            self.live.devices.flush_files().map_err(MigrationError::Flush)?;
        }
        // It is the last moment in which that can be said.
        self.check()?;
        self.has_let_go = true;
        self.live.devices.unlock_files();
        log::info!(
            "the machine stands still: {:?} to come to rest, {:?} to be saved, {:?} for {} of memory, \
             {:?} to be taken up",
            paused - self.stood_still.unwrap_or(paused),
            saved - paused,
            copied - saved,
            Size(sent),
            ready - copied
        );
        Ok(())
    }
}

fn dirty_bytes(dirty: &[DirtyRange]) -> u64 {
    dirty.iter().map(DirtyRange::bytes).sum()
}

/// What was written before, with what was written since, of the same RAM.
fn merge(before: &mut Vec<DirtyRange>, since: Vec<DirtyRange>) {
    for range in since {
        match before.iter_mut().find(|one| one.start == range.start) {
            Some(one) => {
                debug_assert_eq!(one.pages.page_bytes, LOG_PAGE_BYTES);
                for (word, more) in one.pages.bitmap.iter_mut().zip(&range.pages.bitmap) {
                    *word |= more;
                }
            }
            None => before.push(range),
        }
    }
}
