//! The destination: a machine that another process sends goes on here.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vm_memory::GuestAddressSpace;

use super::error::MigrationError;
use super::handover::{Answer, Destination};
use super::link::{Door, Link, Stop};
use super::offer::Offer;
use super::protocol::{Message, Purpose, Token, WireError};
use super::ram::{BringRam, receive_pages, receive_zeros};
use super::url::MigrationUrl;
use crate::boot::{MachineRam, Stopping};
use crate::config::{Size, VmConfig};
use crate::confine::{self, Role};
use crate::devices::Devices;
use crate::locks::lock;
use crate::quoted;
use crate::reasons::in_one_line;
use crate::saved::{MachineState, Outline, RestoreError, Resumption, Source};

/// How long the source may say nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// How long who connects may take to say who it is. Others wait for it.
const HELLO_SILENCE: Duration = Duration::from_secs(2);

/// How long it may take in all until it is said which machine is offered.
const OFFER_LIMIT: Duration = Duration::from_secs(10);

/// How long nobody is answered after that failed.
const CLERK_REST: Duration = Duration::from_millis(100);

/// How long somebody who is told that nothing comes of it may take to hear it.
const PARTING: Duration = Duration::from_secs(1);

/// How long a process that ends answers a source which does not know yet that the machine ran here.
const LINGER: Duration = Duration::from_secs(10);

/// A machine that is offered here. Until it runs here, the source has it, and is told so when this is
/// dropped.
pub(crate) struct Incoming {
    /// What it is, as its user has said it.
    pub(crate) config: VmConfig,
    /// What it is, as its guest sees it.
    pub(crate) outline: Outline,
    arrival: Arc<Arrival>,
    paused: bool,
    /// The connection, until somebody takes the machine from it.
    link: Option<Link>,
    /// Who answers those that ask, until the source knows.
    clerk: Option<JoinHandle<()>>,
}

/// Waits until a source offers a machine there, or somebody wants that to end.
///
/// # Errors
/// [`MigrationError`].
pub(crate) fn receive(url: &MigrationUrl, stop: &Stop) -> Result<Incoming, MigrationError> {
    let failed = |source| MigrationError::Listen { url: url.clone(), source };
    let door = Door::open(url).map_err(failed)?;
    log::info!("waiting for a machine at {}", door.url().map_err(failed)?);
    if url.is_open() {
        log::warn!(
            "whoever reaches {url} says which files of this host the machine has, and the stream is \
             not encrypted: unix:, or a tunnel to an address of this host, leaves that to nobody else"
        );
    }
    loop {
        let mut link = match door.next(HELLO_SILENCE, stop) {
            Err(_) if stop() => return Err(MigrationError::Ended),
            link => link.map_err(failed)?,
        };
        link.set_limit(Some(OFFER_LIMIT));
        let seen = door.seen(&link);
        match offered(link, seen) {
            Ok(Some((link, token, offer))) => return Incoming::new(door, link, token, offer),
            Ok(None) => {}
            Err(_) if stop() => return Err(MigrationError::Ended),
            Err(error) => log::warn!("somebody came who sends no machine: {}", in_one_line(&error)),
        }
    }
}

/// Hears who has connected, and for a source, what it offers.
fn offered<L: Read + Write>(
    mut link: L,
    seen: String,
) -> Result<Option<(L, Token, Offer)>, MigrationError> {
    let refuse = |link: &mut L, error: MigrationError| {
        let _ = Message::NotRunning(error.told()).write(link);
        Err(error)
    };
    let token = match Message::read(&mut link) {
        Ok(Message::Hello { purpose: Purpose::Migrate, token }) => token,
        Ok(Message::Hello { purpose: Purpose::Ask, .. }) => {
            // Whoever that was about is none of this process's.
            Message::Unknown.write(&mut link)?;
            return Ok(None);
        }
        Ok(_) => return refuse(&mut link, MigrationError::Sequence("it does not say who it is")),
        Err(WireError::Ended) => return Ok(None),
        Err(error) => return refuse(&mut link, error.into()),
    };
    Message::Welcome { seen }.write(&mut link)?;
    match Message::read(&mut link) {
        Ok(Message::Offer(content)) => match serde_json::from_slice(&content) {
            Ok(offer) => Ok(Some((link, token, offer))),
            Err(error) => refuse(&mut link, MigrationError::content(error)),
        },
        Ok(_) => refuse(&mut link, MigrationError::Sequence("it does not say what it sends")),
        Err(error) => refuse(&mut link, error.into()),
    }
}

impl Incoming {
    fn new(door: Door, mut link: Link, token: Token, offer: Offer) -> Result<Self, MigrationError> {
        let Offer { release, config, outline, paused } = offer;
        log::info!("a machine comes, from release {}", quoted::text(&release));
        link.set_silence(SILENCE);
        link.set_limit(None);
        let failed = |source| MigrationError::Wire(WireError::Broken(source));
        let parting = link.again(PARTING, Arc::new(|| false)).map_err(failed)?;
        let arrival = Arc::new(Arrival {
            token,
            state: Mutex::new(Destination::Waiting),
            changed: Condvar::new(),
            parting: Mutex::new(Some(parting)),
            clerk: Mutex::default(),
        });
        let clerk = arrival.clone();
        let thread = thread::Builder::new().name("migration".to_owned());
        let answer = move || {
            confine::begin(Role::Migration);
            clerk.answer(&door);
        };
        let clerk = thread.spawn(answer).map_err(failed)?;
        let (link, clerk) = (Some(link), Some(clerk));
        Ok(Self { config, outline, arrival, paused, link, clerk })
    }

    /// What has the machine go on that is made for it, with these devices.
    pub(crate) fn resumption(&mut self, devices: Arc<Devices>) -> Option<Resumption> {
        let link = self.link.take()?;
        let (config, outline) = (self.config.clone(), self.outline.clone());
        let source = Arriving { arrival: self.arrival.clone(), config, outline, link, devices };
        Some(Resumption { source: Box::new(source), paused: self.paused })
    }

    /// It cannot be had here: the source is told why.
    pub(crate) fn refuse(&self, why: &(dyn std::error::Error + 'static)) {
        let mut reason = in_one_line(why);
        if let Some(hint) = confine::hint(why) {
            reason = format!("{reason}; {hint}");
        }
        self.arrival.fail(&reason);
    }

    /// Whether it has come, and runs or ran here.
    pub(crate) fn has_come(&self) -> bool {
        self.arrival.lock().may_run()
    }
}

/// Who sent the machine may not know yet which side has it, and asks.
impl Drop for Incoming {
    fn drop(&mut self) {
        self.arrival.fail("the destination has ended");
        let Some(clerk) = self.clerk.take() else { return };
        if !self.has_come() {
            // It does so only if it was told that all is here. That goes on behind this.
            if !self.arrival.linger() {
                // The door closes now, before this process can end: its file is in nobody's way.
                let _ = clerk.join();
            }
            return;
        }
        let start = Instant::now();
        while !clerk.is_finished() && start.elapsed() < LINGER {
            thread::sleep(Duration::from_millis(10));
        }
        // The door closes now, before this process ends: one that is left behind, where nobody listens,
        // says that the machine never ran here.
        self.arrival.close();
        let _ = clerk.join();
    }
}

/// Whose the machine is that comes, for all who have to know.
struct Arrival {
    token: Token,
    state: Mutex<Destination>,
    changed: Condvar,
    /// The connection by which it comes, for a last word; none any more when that was said.
    parting: Mutex<Option<Link>>,
    clerk: Mutex<Clerk>,
}

/// Whether somebody may ask still.
#[derive(Debug, Default)]
struct Clerk {
    /// The source was told that all is here: from then on it may have handed the machine over.
    is_ready: bool,
    /// The source knows.
    is_known: bool,
    /// When nobody is answered any more.
    until: Option<Instant>,
}

impl Clerk {
    fn is_done(&self) -> bool {
        self.is_known || self.until.is_some_and(|until| Instant::now() >= until)
    }
}

impl Arrival {
    fn lock(&self) -> MutexGuard<'_, Destination> {
        lock(&self.state)
    }

    /// Changes what is the case.
    fn change<T>(&self, change: impl FnOnce(&mut Destination) -> T) -> T {
        let mut state = self.lock();
        let changed = change(&mut state);
        drop(state);
        self.changed.notify_all();
        changed
    }

    /// The machine does not run here, if that is not decided yet.
    fn fail(&self, reason: &str) {
        let was_decided = self.change(|state| {
            let was_decided = state.is_decided();
            state.failed();
            was_decided
        });
        if !was_decided {
            if let Some(mut parting) = lock(&self.parting).take() {
                let _ = Message::NotRunning(reason.to_owned()).write(&mut parting);
            }
        }
    }

    /// The source knows.
    fn known(&self) {
        lock(&self.clerk).is_known = true;
    }

    /// It is answered for some time still, if it may ask. Gives whether it may.
    fn linger(&self) -> bool {
        let mut clerk = lock(&self.clerk);
        let time = if clerk.is_ready { LINGER } else { Duration::ZERO };
        clerk.until = Some(Instant::now() + time);
        clerk.is_ready
    }

    /// Nobody is answered any more.
    fn close(&self) {
        lock(&self.clerk).until = Some(Instant::now());
    }

    /// Answers those that connect while the machine comes, and until the source knows where it is.
    fn answer(self: &Arc<Self>, door: &Door) {
        let arrival = self.clone();
        let stop: Stop = Arc::new(move || lock(&arrival.clerk).is_done());
        // The source takes a closed door for an end of this process: it stays open whatever happens.
        while !stop() {
            match door.next(HELLO_SILENCE, &stop) {
                Ok(link) => match catch_unwind(AssertUnwindSafe(|| self.answer_one(link))) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        log::debug!("somebody came who does not ask: {}", in_one_line(&error));
                    }
                    Err(_) => log::error!("whoever asked for the machine was not answered"),
                },
                Err(_) if stop() => return,
                Err(error) => {
                    log::warn!("nobody can ask for the machine right now: {error}");
                    thread::sleep(CLERK_REST);
                }
            }
        }
    }

    fn answer_one(&self, mut link: Link) -> Result<(), WireError> {
        // Others wait meanwhile.
        link.set_limit(Some(HELLO_SILENCE));
        let asked = match Message::read(&mut link)? {
            Message::Hello { purpose: Purpose::Ask, token } if token == self.token => self.asked(),
            Message::Hello { purpose: Purpose::Ask, .. } => {
                return Message::Unknown.write(&mut link);
            }
            _ => {
                let reason = "another machine comes here already".to_owned();
                return Message::NotRunning(reason).write(&mut link);
            }
        };
        // Once more: it may have taken long to be decided.
        link.set_limit(Some(HELLO_SILENCE));
        match asked {
            Answer::Running => Message::Running.write(&mut link)?,
            _ => {
                let reason = "the connection broke before all of it was there".to_owned();
                Message::NotRunning(reason).write(&mut link)?;
            }
        }
        // Who was answered says so, or asks again.
        if Message::read(&mut link)? == Message::Known {
            self.known();
        }
        Ok(())
    }

    /// The source asks, once it is decided where the machine is.
    fn asked(&self) -> Answer {
        let mut state = self.lock();
        loop {
            if let Some(answer) = state.asked() {
                drop(state);
                self.changed.notify_all();
                return answer;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A machine that comes by a connection.
struct Arriving {
    arrival: Arc<Arrival>,
    config: VmConfig,
    outline: Outline,
    link: Link,
    devices: Arc<Devices>,
}

impl Source for Arriving {
    /// Receives RAM, straight into its place, round for round, and then the state.
    fn take(
        &mut self,
        ram: &MachineRam,
        stopping: &Stopping,
    ) -> Result<MachineState, RestoreError> {
        self.outline.plug_memory(ram)?;
        let stopping = stopping.clone();
        let link = self.link.again(SILENCE, Arc::new(move || stopping.is_wanted()));
        let taken = link.map_err(|error| WireError::Broken(error).into());
        let taken = taken.and_then(|link| content(&self.config, &self.outline, ram, link));
        taken.map_err(|error| self.failed(error))
    }

    /// Says that all is here, and has the machine when the source says so.
    fn commit(&mut self) -> Result<(), RestoreError> {
        self.handed_over().map_err(|error| self.failed(error))
    }
}

impl Arriving {
    fn failed(&self, error: MigrationError) -> RestoreError {
        self.arrival.fail(&error.told());
        RestoreError::Source(Box::new(error))
    }

    fn handed_over(&mut self) -> Result<(), MigrationError> {
        lock(&self.arrival.clerk).is_ready = true;
        Message::Ready.write(&mut self.link)?;
        match Message::read(&mut self.link) {
            Ok(Message::Go) => {}
            Ok(Message::Abandon(reason)) => return Err(MigrationError::Abandoned { reason }),
            Ok(_) => return Err(MigrationError::Sequence("it does not hand the machine over")),
            Err(error) => return Err(error.into()),
        }
        if !self.arrival.change(Destination::go) {
            // Somebody has asked meanwhile, and was told that it does not run here.
            return Err(MigrationError::Ended);
        }
        if let Err(error) = self.devices.lock_files() {
            self.arrival.fail(&in_one_line(&error));
            self.parted();
            return Err(error.into());
        }
        self.arrival.change(Destination::taken);
        drop(lock(&self.arrival.parting).take());
        // One that cannot be told asks.
        if let Err(error) = Message::Running.write(&mut self.link) {
            log::warn!(
                "the machine runs here, and its source cannot be told: {}",
                in_one_line(&error)
            );
        }
        self.parted();
        Ok(())
    }

    /// Hears whether the source knows, without being waited for.
    fn parted(&self) {
        let Ok(mut link) = self.link.again(HELLO_SILENCE, Arc::new(|| false)) else { return };
        let arrival = self.arrival.clone();
        let thread = thread::Builder::new().name("migration".to_owned());
        let heard = thread.spawn(move || {
            confine::begin(Role::Migration);
            if matches!(Message::read(&mut link), Ok(Message::Known)) {
                arrival.known();
            }
        });
        // Without a thread for it, the source may ask, or not.
        drop(heard);
    }
}

/// Receives all of a machine, up to its state.
fn content(
    config: &VmConfig,
    outline: &Outline,
    ram: &MachineRam,
    link: impl BringRam + Write,
) -> Result<MachineState, MigrationError> {
    // Small messages come many at a time; what is long does not go this way.
    let mut from = io::BufReader::with_capacity(64 << 10, link);
    let memory = ram.memory().memory();
    Message::Accepted.write(from.get_mut())?;
    let (mut bytes, start) = (0, Instant::now());
    let state = loop {
        match Message::read(&mut from)? {
            Message::Pages { at, bytes: count } => {
                bytes += u64::from(count);
                receive_pages(&memory, &mut from, at, count)?;
            }
            Message::Zeros { at, bytes } => receive_zeros(&*memory, at, bytes)?,
            Message::RoundEnd { number } => {
                log::debug!("round {number} is here, {bytes} bytes of memory in all");
                Message::RoundTaken { number }.write(from.get_mut())?;
            }
            Message::State(content) => break content,
            Message::Abandon(reason) => return Err(MigrationError::Abandoned { reason }),
            _ => {
                return Err(MigrationError::Sequence("this is nothing that a machine is sent by"));
            }
        }
    };
    log::info!("{} of memory have come in {:?}", Size(bytes), start.elapsed());
    // What comes behind it is an answer, and there is none yet.
    if !from.buffer().is_empty() {
        return Err(MigrationError::Sequence("there is more behind the state"));
    }
    let state = MachineState::parse(&state, config).map_err(MigrationError::content)?;
    match state.outline() == outline {
        true => Ok(state),
        false => Err(MigrationError::Sequence("the state is another machine's than was offered")),
    }
}
