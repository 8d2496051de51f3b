//! The source's connection to a destination: what is said before a machine goes, and whose it is after.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::error::MigrationError;
use super::handover::{Answer, Source};
use super::link::{self, Link, Stop};
use super::offer::Offer;
use super::protocol::{Message, Purpose, Token, WireError};
use super::url::MigrationUrl;
use crate::host_file;
use crate::reasons::in_one_line;

/// How long the other side may say nothing. A destination that is slow may take that to have RAM, or to
/// take up a state.
const SILENCE: Duration = Duration::from_secs(60);

/// How long somebody who is told that nothing comes of it may take to hear it.
const PARTING: Duration = Duration::from_secs(1);

/// How long a destination is asked which side has the machine, and how often.
const ASK_LIMIT: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(200);
const ASK_SILENCE: Duration = Duration::from_secs(10);

/// A connection to a destination that takes a machine.
pub(super) struct Call<'a> {
    url: &'a MigrationUrl,
    pub(super) link: Link,
    token: Token,
    /// How the destination sees the connection.
    seen: Option<String>,
    pub(super) source: Source,
}

impl<'a> Call<'a> {
    /// Connects, and has the destination make a machine for the one that is offered.
    pub(super) fn make(
        url: &'a MigrationUrl,
        offer: &Offer,
        stop: &Stop,
    ) -> Result<Self, MigrationError> {
        let content = serde_json::to_vec(offer).map_err(MigrationError::content)?;
        let failed = |source| MigrationError::Connect { url: url.clone(), source };
        let token = Token(host_file::random().map_err(failed)?);
        let link = Link::connect(url, SILENCE, stop.clone()).map_err(failed)?;
        let mut call = Self { url, link, token, seen: None, source: Source::Sending };
        call.say(&Message::Hello { purpose: Purpose::Migrate, token })?;
        let Message::Welcome { seen } = call.hear()? else {
            return Err(MigrationError::Sequence("it does not say who it is"));
        };
        call.seen = call.link.is_direct(url, &seen).then_some(seen);
        match Message::Offer(content).write(&mut call.link) {
            Err(WireError::Nonsense(_)) => return Err(MigrationError::TooLong("configuration")),
            written => written?,
        }
        match call.hear()? {
            Message::Accepted => Ok(call),
            _ => Err(MigrationError::Sequence("it neither takes the machine nor refuses it")),
        }
    }

    pub(super) fn say(&mut self, message: &Message) -> Result<(), MigrationError> {
        match message.write(&mut self.link) {
            Ok(()) => Ok(()),
            // It may have said why it is not there any more.
            Err(error) => match Message::read(&mut self.link) {
                Ok(Message::NotRunning(reason)) => Err(MigrationError::Refused { reason }),
                _ => Err(error.into()),
            },
        }
    }

    /// What the destination says, unless that is that nothing comes of it.
    pub(super) fn hear(&mut self) -> Result<Message, MigrationError> {
        match Message::read(&mut self.link)? {
            Message::NotRunning(reason) => Err(MigrationError::Refused { reason }),
            message => Ok(message),
        }
    }

    /// Nothing comes of it, and the machine is here.
    pub(super) fn give_up(&mut self, reason: &str) {
        let parting = self.link.again(PARTING, Arc::new(|| false));
        if let Ok(mut parting) = parting {
            parting.set_silence(PARTING);
            let _ = Message::Abandon(reason.to_owned()).write(&mut parting);
        }
        self.link.close();
    }

    /// Says that the machine is the destination's, and hears which side has it, or asks until that is
    /// known. Gives what the destination says against it.
    pub(super) fn hand_over(&mut self) -> Option<String> {
        if !self.source.go() {
            return None;
        }
        // From here on nobody hurries this side: it has to know.
        let patient = self.link.again(SILENCE, Arc::new(|| false));
        let heard = patient.map_err(WireError::Broken).and_then(|mut link| {
            Message::Go.write(&mut link)?;
            Message::read(&mut link)
        });
        let mut reason = None;
        match heard {
            Ok(message) => reason = self.take(message),
            Err(error) => {
                log::warn!("the machine is handed over, and then: {}", in_one_line(&error));
            }
        }
        if self.source.is_decided() {
            return reason;
        }
        self.link.close();
        self.source.cut();
        let start = Instant::now();
        while !self.source.is_decided() && start.elapsed() < ASK_LIMIT {
            match self.ask() {
                Ok(heard) => reason = heard,
                Err(error) if self.is_dead(&error) => {
                    self.source.refused();
                    reason = Some("it is not there any more".to_owned());
                }
                Err(error) => {
                    log::info!("the destination cannot be asked: {}", in_one_line(&error));
                }
            }
            if !self.source.is_decided() {
                thread::sleep(ASK_EVERY);
            }
        }
        reason
    }

    /// Something was said of who has the machine. Gives a reason.
    fn take(&mut self, message: Message) -> Option<String> {
        let (answer, reason) = match message {
            Message::Running => (Answer::Running, None),
            Message::NotRunning(reason) => (Answer::NotRunning, Some(reason)),
            _ => (Answer::Other, None),
        };
        self.source.heard(answer);
        reason
    }

    /// Asks by another connection.
    fn ask(&mut self) -> Result<Option<String>, MigrationError> {
        let failed = |source| MigrationError::Connect { url: self.url.clone(), source };
        let link = Link::connect(self.url, ASK_SILENCE, Arc::new(|| false));
        self.link = link.map_err(failed)?;
        let hello = Message::Hello { purpose: Purpose::Ask, token: self.token };
        hello.write(&mut self.link)?;
        let message = Message::read(&mut self.link)?;
        Ok(self.take(message))
    }

    /// Whether the destination is known to be dead.
    fn is_dead(&self, error: &MigrationError) -> bool {
        let (MigrationError::Connect { source, .. }, Some(seen)) = (error, &self.seen) else {
            return false;
        };
        link::is_dead(self.url, seen, source)
    }
}
