//! From nothing to a file, without ever waiting.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dhcp;
use super::error::NetbootError;
use super::link::Link;
use super::reply::Reply;
use super::request::{Limits, Request, is_name};
use super::tftp::{self, Station};
use super::transfer::Transfer;
use super::{Event, Loaded};
use crate::args::Failed;
use crate::network::{NetworkDevice, NetworkError};

/// A file that is fetched from the network, step by step: for those who cannot
/// [wait](super::fetch) for it.
pub struct Netboot {
    link: Link,
    request: Request,
    limits: Limits,
    began: Instant,
    time: Time,
    random: u64,
    stage: Stage,
}

/// The time in which somebody asks: a machine that is paused is not short of answers.
struct Time {
    asked_at: Instant,
    now: Instant,
}

impl Time {
    /// What passes at most between two times that somebody asks, who does so all the time.
    const LONGEST: Duration = Duration::from_secs(1);

    /// What it is at a moment of the host.
    fn at(&mut self, host: Instant) -> Instant {
        let passed = host.saturating_duration_since(self.asked_at).min(Self::LONGEST);
        self.asked_at = host;
        self.now += passed;
        self.now
    }
}

enum Stage {
    Asking(dhcp::Client),
    Loading(Box<Loading>),
}

struct Loading {
    client: tftp::Client,
    station: Station,
    reply: Vec<u8>,
}

impl Netboot {
    /// Begins to fetch what is asked for.
    pub fn new(device: Arc<dyn NetworkDevice>, request: &Request, limits: &Limits) -> Self {
        let now = Instant::now();
        // Each of these is made with randomness of its own.
        let random = RandomState::new().build_hasher().finish();
        Self {
            link: Link::new(device),
            request: request.clone(),
            limits: limits.clone(),
            began: now,
            time: Time { asked_at: now, now },
            random,
            stage: Stage::Asking(dhcp::Client::new((random >> 32) as u32, now)),
        }
    }

    /// Does what there is to do, which is not much, and waits for nothing. What comes of the file is
    /// `put`, one piece behind the other; once all of it has come, it is told where it came from.
    /// After that, and after an error, it is over.
    ///
    /// # Errors
    /// [`NetbootError`].
    pub fn poll(
        &mut self,
        put: &mut dyn FnMut(&[u8]) -> Result<(), Failed>,
    ) -> Result<Option<Loaded>, NetbootError> {
        let now = self.time.at(Instant::now());
        if now.duration_since(self.began) > self.limits.total {
            return Err(NetbootError::TooLong(self.limits.total));
        }
        let Self { link, request, limits, random, stage, .. } = self;
        link.begin_turn();
        if link.state() == Err(NetworkError::Taken) {
            return Err(NetbootError::Network(NetworkError::Taken));
        }
        match stage {
            Stage::Asking(client) => {
                if let Some(reply) = client.poll(link, limits.silence, now)? {
                    let loading = Loading::new(link, request, limits, *random, reply, now)?;
                    *stage = Stage::Loading(Box::new(loading));
                }
                Ok(None)
            }
            Stage::Loading(loading) => {
                let is_done = loading.client.poll(link, put, limits.silence, now);
                let is_done = is_done.map_err(|error| match (&error, link.state()) {
                    (NetbootError::NoAnswer { .. }, Err(state)) => NetbootError::Network(state),
                    _ => error,
                })?;
                Ok(is_done.then(|| loading.loaded()))
            }
        }
    }

    /// What is going on.
    pub fn event(&self) -> Event {
        match &self.stage {
            Stage::Asking(client) => Event::Asking(client.tries()),
            Stage::Loading(loading) => {
                let transfer = loading.client.transfer();
                match transfer.bytes {
                    0 => Event::Loading {
                        client: loading.station.address,
                        server: transfer.server,
                        file: transfer.file.clone(),
                    },
                    bytes => Event::Progress { bytes, of: transfer.of },
                }
            }
        }
    }
}

impl Loading {
    /// Who was given an address asks for the file.
    fn new(
        link: &mut Link,
        request: &Request,
        limits: &Limits,
        random: u64,
        reply: Reply,
        now: Instant,
    ) -> Result<Self, NetbootError> {
        let Reply { address, netmask, gateway, server, next_server, file, message, .. } = reply;
        let file = request.file.clone().or(file).filter(|name| is_name(name));
        let file = file.ok_or(NetbootError::NoFile { server })?;
        let server = request.server.or(next_server).unwrap_or(server);
        let station = Station { address, netmask, gateway };
        let transfer = |block| Transfer::new(server, file, limits.image_bytes, block);
        let client = tftp::Client::new(link, &station, transfer, random, now);
        Ok(Self { client, station, reply: message })
    }

    fn loaded(&self) -> Loaded {
        let transfer = self.client.transfer();
        let Station { address, netmask, gateway } = self.station;
        Loaded {
            client: address,
            netmask,
            gateway,
            server: transfer.server,
            file: transfer.file.clone(),
            reply: self.reply.clone(),
        }
    }
}

impl fmt::Debug for Netboot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Netboot")
            .field("request", &self.request)
            .field("limits", &self.limits)
            .field("event", &self.event())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_nobody_asks_does_not_count() {
        let start = Instant::now();
        let mut time = Time { asked_at: start, now: start };
        let mut at = |ms| time.at(start + Duration::from_millis(ms)) - start;
        assert_eq!(at(900).as_millis(), 900);
        // A pause of an hour.
        assert_eq!(at(3_600_900).as_millis(), 1900);
        assert_eq!(at(3_601_000).as_millis(), 2000);
    }
}
