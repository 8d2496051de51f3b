//! What the two sides of a migration say to each other: messages on a stream of bytes.
//!
//! Each connection begins with the source's [`Message::Hello`], whose first bytes are the same in every
//! version. A message has a header of eight bytes, little-endian: what it is (2 bytes), nothing (2),
//! and how many bytes follow (4). A message that may not have so many is refused by its header, before
//! anything is made for them. Contents of RAM are the one thing that is not a part of its message:
//! they follow [`Message::Pages`], and go straight to where they belong.
//!
//! Nobody trusts the other side: what is read here is one of the messages, of the lengths that they
//! may have, and no more. Whether it makes sense at that moment is for its reader to say.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};

use crate::quoted;

/// What a connection begins with, in every version.
const MAGIC: [u8; 8] = *b"pseries\x01";

/// The version that is spoken here. Others are refused by name.
pub(crate) const VERSION: u32 = 1;

const HEADER_BYTES: usize = 8;

/// The most that the source says of its machine before it is accepted.
const OFFER_BYTES_MAX: u32 = 1 << 20;

/// The most that the state of a machine has: a thousand CPUs and a large hashed page table fit.
const STATE_BYTES_MAX: u32 = 512 << 20;

/// The longest reason.
const REASON_BYTES_MAX: u32 = 4096;

/// How much RAM a message has at most.
pub(crate) const PAGES_BYTES_MAX: u32 = 4 << 20;

/// What is read at once of what may be long: room is made for what is there, not for what is said.
const PIECE_BYTES: usize = 64 << 10;

/// What tells one migration from all others: chosen by its source, at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) [u8; 16]);

/// What the source makes a connection for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To send a machine.
    Migrate,
    /// To ask which side has the machine, where an earlier connection ended too early.
    Ask,
}

/// What is said. Each has one side that says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// Source: who it is, and what for.
    Hello { purpose: Purpose, token: Token },
    /// Source: the machine that is to move, in JSON: see [`super::offer::Offer`].
    Offer(Vec<u8>),
    /// Source: so many bytes of RAM from there on, which follow.
    Pages { at: u64, bytes: u32 },
    /// Source: so many bytes of RAM from there on are zero.
    Zeros { at: u64, bytes: u64 },
    /// Source: that was all of this round.
    RoundEnd { number: u32 },
    /// Source: it stands still, and this is its state, in JSON.
    State(Vec<u8>),
    /// Source: the machine is the destination's now.
    Go,
    /// Source: nothing comes of it. It has the machine.
    Abandon(String),
    /// Source: it knows that the destination runs, and asks no more.
    Known,

    /// Destination: there is one, which the source reaches in this way.
    Welcome { seen: String },
    /// Destination: a machine of this kind is there for what comes.
    Accepted,
    /// Destination: all of this round is in its place.
    RoundTaken { number: u32 },
    /// Destination: all is taken up, and stands still.
    Ready,
    /// Destination: the machine runs here.
    Running,
    /// Destination: it does not run here, and never will.
    NotRunning(String),
    /// Destination: this is none of the migrations that it knows.
    Unknown,
}

/// Why a message cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The connection ended where a message begins.
    #[error("the connection has ended")]
    Ended,
    /// The connection broke in the middle of one.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// Nothing came for too long.
    #[error("the other side says nothing")]
    Silent,
    /// The other side is no VMM of this kind.
    #[error("the other side does not speak this protocol")]
    Foreign,
    /// It is of another version.
    #[error(
        "the other side speaks version {theirs} of the protocol, and this one version {VERSION}"
    )]
    Version {
        /// Which one.
        theirs: u32,
    },
    /// What it says is no message.
    #[error("the other side says what makes no sense: {0}")]
    Nonsense(&'static str),
}

/// What each message is on the wire, and how many bytes it has at most.
macro_rules! kinds {
    ($($name:ident = $number:literal, $limit:expr;)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Kind { $($name = $number,)+ }

        impl Kind {
            fn of(number: u16) -> Option<(Self, u32)> {
                match number {
                    $($number => Some((Self::$name, $limit)),)+
                    _ => None,
                }
            }

            #[cfg(test)]
            const ALL: &[(Self, u32)] = &[$((Self::$name, $limit),)+];
        }
    };
}

kinds! {
    Hello = 1, 40;
    Offer = 2, OFFER_BYTES_MAX;
    Pages = 3, 16 + PAGES_BYTES_MAX;
    Zeros = 4, 16;
    RoundEnd = 5, 4;
    State = 6, STATE_BYTES_MAX;
    Go = 7, 0;
    Abandon = 8, REASON_BYTES_MAX;
    Known = 9, 0;
    Welcome = 32, REASON_BYTES_MAX;
    Accepted = 33, 0;
    RoundTaken = 34, 4;
    Ready = 35, 0;
    Running = 36, 0;
    NotRunning = 37, REASON_BYTES_MAX;
    Unknown = 38, 0;
}

impl Message {
    /// Writes it, in one piece.
    ///
    /// # Errors
    /// [`WireError::Broken`], or [`WireError::Nonsense`] for one that is too long to be read.
    pub(crate) fn write(&self, to: &mut impl Write) -> Result<(), WireError> {
        let (kind, body, follows) = self.encoded();
        let bytes = body.len() as u64 + u64::from(follows);
        let limit = Kind::of(kind as u16).map_or(0, |(_, limit)| limit);
        let bytes = match u32::try_from(bytes) {
            Ok(bytes) if bytes <= limit => bytes,
            _ => return Err(WireError::Nonsense("a message is too long")),
        };
        let mut header = [0; HEADER_BYTES];
        header[..2].copy_from_slice(&(kind as u16).to_le_bytes());
        header[4..].copy_from_slice(&bytes.to_le_bytes());
        if body.len() <= PIECE_BYTES {
            let mut all = Vec::with_capacity(HEADER_BYTES + body.len());
            all.extend_from_slice(&header);
            all.extend_from_slice(&body);
            return to.write_all(&all).map_err(broken);
        }
        to.write_all(&header).and_then(|()| to.write_all(&body)).map_err(broken)
    }

    /// Which it is, its bytes, and how many others follow it.
    fn encoded(&self) -> (Kind, std::borrow::Cow<'_, [u8]>, u32) {
        let text = |reason: &str| {
            let mut end = reason.len().min(REASON_BYTES_MAX as usize);
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            reason.as_bytes()[..end].to_vec().into()
        };
        let none = || Vec::new().into();
        let range = |at: u64, bytes: u64| [at.to_le_bytes(), bytes.to_le_bytes()].concat().into();
        let (kind, body) = match self {
            Self::Hello { purpose, token } => {
                let mut body = MAGIC.to_vec();
                body.extend_from_slice(&VERSION.to_le_bytes());
                body.extend_from_slice(&(*purpose as u32).to_le_bytes());
                body.extend_from_slice(&token.0);
                (Kind::Hello, body.into())
            }
            Self::Offer(offer) => (Kind::Offer, offer.as_slice().into()),
            Self::Pages { at, bytes } => {
                return (Kind::Pages, range(*at, u64::from(*bytes)), *bytes);
            }
            Self::Zeros { at, bytes } => (Kind::Zeros, range(*at, *bytes)),
            Self::RoundEnd { number } => (Kind::RoundEnd, number.to_le_bytes().to_vec().into()),
            Self::State(state) => (Kind::State, state.as_slice().into()),
            Self::Go => (Kind::Go, none()),
            Self::Abandon(reason) => (Kind::Abandon, text(reason)),
            Self::Known => (Kind::Known, none()),
            Self::Welcome { seen } => (Kind::Welcome, text(seen)),
            Self::Accepted => (Kind::Accepted, none()),
            Self::RoundTaken { number } => (Kind::RoundTaken, number.to_le_bytes().to_vec().into()),
            Self::Ready => (Kind::Ready, none()),
            Self::Running => (Kind::Running, none()),
            Self::NotRunning(reason) => (Kind::NotRunning, text(reason)),
            Self::Unknown => (Kind::Unknown, none()),
        };
        (kind, body, 0)
    }

    /// Reads the next one; of [`Message::Pages`], all but what follows it.
    ///
    /// # Errors
    /// [`WireError`].
    pub(crate) fn read(from: &mut impl Read) -> Result<Self, WireError> {
        let mut header = [0; HEADER_BYTES];
        read_first(from, &mut header)?;
        let [kind_0, kind_1, 0, 0, length @ ..] = header else {
            return Err(WireError::Nonsense("no message begins so"));
        };
        let bytes = u32::from_le_bytes(length);
        let Some((kind, limit)) = Kind::of(u16::from_le_bytes([kind_0, kind_1])) else {
            return Err(WireError::Nonsense("there is no such message"));
        };
        if bytes > limit {
            return Err(WireError::Nonsense("a message is longer than it may be"));
        }
        if kind == Kind::Pages {
            return pages(from, bytes);
        }
        let body = read_body(from, bytes as usize)?;
        Self::decoded(kind, body)
    }

    fn decoded(kind: Kind, body: Vec<u8>) -> Result<Self, WireError> {
        let empty = |message| match body.is_empty() {
            true => Ok(message),
            false => Err(WireError::Nonsense("a message has bytes that it may not have")),
        };
        Ok(match kind {
            Kind::Go => empty(Self::Go)?,
            Kind::Known => empty(Self::Known)?,
            Kind::Accepted => empty(Self::Accepted)?,
            Kind::Ready => empty(Self::Ready)?,
            Kind::Running => empty(Self::Running)?,
            Kind::Unknown => empty(Self::Unknown)?,
            Kind::Hello => hello(&body)?,
            Kind::Offer => Self::Offer(body),
            Kind::State => Self::State(body),
            Kind::Abandon => Self::Abandon(shown(&body)),
            Kind::NotRunning => Self::NotRunning(shown(&body)),
            Kind::Welcome => Self::Welcome { seen: shown(&body) },
            Kind::RoundEnd => Self::RoundEnd { number: u32::from_le_bytes(exactly(&body)?) },
            Kind::RoundTaken => Self::RoundTaken { number: u32::from_le_bytes(exactly(&body)?) },
            Kind::Zeros | Kind::Pages => {
                let (at, bytes) = range(&exactly(&body)?);
                Self::Zeros { at, bytes }
            }
        })
    }
}

/// The other side's reasons and names: any text, so that a terminal can show it.
fn shown(text: &[u8]) -> String {
    quoted::message(&String::from_utf8_lossy(text))
}

fn hello(body: &[u8]) -> Result<Message, WireError> {
    let Some((magic, rest)) = body.split_first_chunk() else { return Err(WireError::Foreign) };
    let Some((version, rest)) = rest.split_first_chunk() else { return Err(WireError::Foreign) };
    if *magic != MAGIC {
        return Err(WireError::Foreign);
    }
    // What follows is that version's affair.
    match u32::from_le_bytes(*version) {
        VERSION => {}
        theirs => return Err(WireError::Version { theirs }),
    }
    let no_hello = WireError::Nonsense("it says neither what for nor who it is");
    let Some((purpose, token)) = rest.split_first_chunk() else { return Err(no_hello) };
    let purpose = match u32::from_le_bytes(*purpose) {
        0 => Purpose::Migrate,
        1 => Purpose::Ask,
        _ => return Err(no_hello),
    };
    Ok(Message::Hello { purpose, token: Token(exactly(token)?) })
}

/// The part of a message of RAM that is not RAM.
fn pages(from: &mut impl Read, bytes: u32) -> Result<Message, WireError> {
    let mut body = [0; 16];
    if (bytes as usize) < body.len() {
        return Err(WireError::Nonsense("a message is shorter than it has to be"));
    }
    from.read_exact(&mut body).map_err(broken)?;
    let (at, length) = range(&body);
    match length + body.len() as u64 == u64::from(bytes) {
        true => Ok(Message::Pages { at, bytes: bytes - body.len() as u32 }),
        false => Err(WireError::Nonsense("the length of RAM is not that of its message")),
    }
}

fn range(body: &[u8; 16]) -> (u64, u64) {
    let number = |from: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&body[from..from + 8]);
        u64::from_le_bytes(bytes)
    };
    // A length that no message has: nothing is added to it where it is near the end.
    (number(0), number(8).min(u64::MAX >> 1))
}

fn exactly<const N: usize>(body: &[u8]) -> Result<[u8; N], WireError> {
    body.try_into()
        .map_err(|_| WireError::Nonsense("a message has another length than it has to have"))
}

/// Reads the beginning of a message, before which the stream may end.
fn read_first(from: &mut impl Read, header: &mut [u8; HEADER_BYTES]) -> Result<(), WireError> {
    let mut done = 0;
    while done < header.len() {
        match from.read(&mut header[done..]) {
            Ok(0) if done == 0 => return Err(WireError::Ended),
            Ok(0) => return Err(WireError::Broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(error)),
        }
    }
    Ok(())
}

fn read_body(from: &mut impl Read, bytes: usize) -> Result<Vec<u8>, WireError> {
    let mut body = Vec::new();
    while body.len() < bytes {
        let start = body.len();
        body.resize(bytes.min(start + PIECE_BYTES), 0);
        from.read_exact(&mut body[start..]).map_err(broken)?;
    }
    Ok(body)
}

/// What a socket says when it waited for as long as it was told to is that it would have to wait.
pub(crate) fn broken(error: io::Error) -> WireError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => WireError::Silent,
        _ => WireError::Broken(error),
    }
}

#[cfg(test)]
mod tests;
