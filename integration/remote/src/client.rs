//! One request over a Unix socket, and its answer. Whoever answers may be anybody: nothing that it
//! does takes more time or memory than it may.

use std::error::Error as StdError;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::error::{Error, Refusal};
use crate::request::{PING, Request};

/// The longest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// How long to wait before another try where too many wait to be heard.
const AGAIN: Duration = Duration::from_millis(50);

/// Where the VMM is, and how long it may take.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    socket: &'a Path,
    timeout: Duration,
}

impl<'a> Client<'a> {
    pub(crate) const fn new(socket: &'a Path, timeout: Duration) -> Self {
        Self { socket, timeout }
    }

    /// Sends a request and waits for the body of its answer.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] where the VMM answers that it has not done it.
    pub(crate) fn exchange(&self, request: &Request) -> Result<Vec<u8>, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| Error::Runtime { source })?;
        runtime.block_on(async {
            match request.is_long {
                true => self.long(request).await,
                false => self.quick(request).await,
            }
        })
    }

    async fn quick(&self, request: &Request) -> Result<Vec<u8>, Error> {
        let slow = |_| self.slow();
        timeout(self.timeout, self.once(request)).await.map_err(slow)?
    }

    /// As long as the VMM answers others.
    async fn long(&self, request: &Request) -> Result<Vec<u8>, Error> {
        let mut exchange = pin!(self.once(request));
        loop {
            if let Ok(answer) = timeout(self.timeout, &mut exchange).await {
                return answer;
            }
            if let Err(error) = self.quick(&PING).await {
                // The answer may be why nobody is there any more.
                let last = timeout(Duration::ZERO, &mut exchange).await;
                return last.unwrap_or(Err(error));
            }
        }
    }

    async fn once(&self, request: &Request) -> Result<Vec<u8>, Error> {
        let stream = TokioIo::new(self.connect().await?);
        let lost = |source| self.lost(source);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(lost)?;
        tokio::spawn(async move {
            // What is wrong with it is told to whoever waits for the answer.
            let _ = connection.await;
        });
        let mut sent = hyper::Request::builder().method(request.method).uri(request.path);
        sent = sent.header(HOST, "localhost").header(ACCEPT, "*/*");
        if request.body.is_some() {
            sent = sent.header(CONTENT_TYPE, "application/json");
        }
        let body = Bytes::from(request.body.clone().unwrap_or_default());
        // The parts are texts of this program.
        let sent = sent.body(Full::new(body)).map_err(|_| self.closed())?;
        let answer = sender.send_request(sent).await.map_err(lost)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| self.lost_in_body(error))?.to_bytes();
        if status.is_success() {
            return Ok(body.to_vec());
        }
        Err(Error::Refused { what: request.path, status, refusal: Refusal::of(&body) })
    }

    async fn connect(&self) -> Result<UnixStream, Error> {
        loop {
            match UnixStream::connect(self.socket).await {
                Ok(stream) => return Ok(stream),
                // The time is the caller's to limit.
                Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(AGAIN).await,
                Err(source) => {
                    let socket = self.socket.to_owned();
                    // To connect to a file or a folder is refused, as where nobody listens.
                    let is_socket = socket.metadata().map(|there| there.file_type().is_socket());
                    return Err(match is_socket {
                        Ok(false) => Error::NoSocket { socket },
                        _ => Error::Connect { socket, source },
                    });
                }
            }
        }
    }

    fn lost(&self, error: hyper::Error) -> Error {
        let is_garbage = error.is_parse() || error.is_parse_status();
        if is_garbage {
            return Error::NoHttp { socket: self.socket.to_owned(), why: error.to_string() };
        }
        self.closed()
    }

    fn lost_in_body(&self, error: Box<dyn StdError + Send + Sync>) -> Error {
        match error.downcast::<hyper::Error>() {
            Ok(error) => self.lost(*error),
            Err(error) if error.is::<LengthLimitError>() => {
                Error::TooLong { socket: self.socket.to_owned(), limit: MAX_ANSWER_BYTES }
            }
            Err(_) => self.closed(),
        }
    }

    fn closed(&self) -> Error {
        Error::Closed { socket: self.socket.to_owned() }
    }

    fn slow(&self) -> Error {
        Error::Slow { socket: self.socket.to_owned(), limit: self.timeout }
    }
}
