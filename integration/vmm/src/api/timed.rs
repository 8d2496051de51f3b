//! A client's connection that takes no longer than it may.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::locks::lock;

/// How long a request may take to arrive, from its first byte to its last.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// How long a client may ask for nothing where others want to come: from the first on, and after an
/// answer. Who comes asks at once, most likely before it is let in, and thousands may wait behind it.
const NEW_LIMIT: Duration = Duration::from_millis(100);
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of what is sent to it.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What a client is at. Shared by its connection and those who look after all of them.
#[derive(Debug, Clone)]
pub(super) struct Activity {
    at: Arc<Mutex<At>>,
    /// Told when a client asks for nothing any more.
    rests: Arc<Notify>,
}

#[derive(Debug, Clone, Copy)]
enum At {
    /// Nothing, since it came.
    New(Instant),
    /// Nothing, since its last answer was known.
    Idle(Instant),
    /// It sends a request, and began so long ago.
    Sending(Instant),
    /// Its request is being worked on.
    Waiting,
}

impl Activity {
    /// Of a new client; `rests` is told when it asks for nothing any more.
    pub(super) fn new(rests: Arc<Notify>) -> Self {
        Self { at: Arc::new(Mutex::new(At::New(Instant::now()))), rests }
    }

    /// All of a request has come.
    pub(super) fn work(&self) {
        *lock(&self.at) = At::Waiting;
    }

    /// Its answer is known.
    pub(super) fn rest(&self) {
        *lock(&self.at) = At::Idle(Instant::now());
        self.rests.notify_one();
    }

    /// When it may be asked to make room for another one, if it goes on to ask for nothing.
    pub(super) fn makes_room_at(&self) -> Option<Instant> {
        match *lock(&self.at) {
            At::New(since) => Some(since + NEW_LIMIT),
            At::Idle(since) => Some(since + IDLE_LIMIT),
            At::Sending(_) | At::Waiting => None,
        }
    }

    /// Bytes have come.
    fn hear(&self) {
        let mut at = lock(&self.at);
        if let At::New(_) | At::Idle(_) = *at {
            *at = At::Sending(Instant::now());
        }
    }

    /// When what is being sent has to be there.
    fn deadline(&self) -> Option<Instant> {
        match *lock(&self.at) {
            At::Sending(since) => Some(since + REQUEST_LIMIT),
            At::New(_) | At::Idle(_) | At::Waiting => None,
        }
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Timed {
    stream: UnixStream,
    activity: Activity,
    request: Timer,
    answer: Timer,
}

impl Timed {
    pub(super) fn new(stream: UnixStream, activity: Activity) -> Self {
        Self { stream, activity, request: Timer::default(), answer: Timer::default() }
    }
}

/// Something that is waited for until some time.
#[derive(Debug, Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Whether it is too late. If not, the task is woken when it is.
    fn is_over(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        let Some(deadline) = deadline else {
            self.0 = None;
            return false;
        };
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx).is_ready()
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() > before {
                    this.activity.hear();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending if this.request.is_over(cx, this.activity.deadline()) => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Timed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match Pin::new(&mut this.stream).poll_write(cx, bytes) {
            Poll::Pending => {
                let begun = this.answer.0.as_ref().map(|sleep| sleep.deadline());
                let deadline = begun.unwrap_or_else(|| Instant::now() + ANSWER_LIMIT);
                match this.answer.is_over(cx, Some(deadline)) {
                    true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    false => Poll::Pending,
                }
            }
            written => {
                this.answer.0 = None;
                written
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
