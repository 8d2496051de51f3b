//! The console, a package of the type `serial` (IEEE 1275 §3.7 and Annex A).

use std::sync::Arc;
use std::time::Duration;

use arch_ppc64::Console;
#[cfg(feature = "serde")]
use arch_ppc64::platform::{StateError, StateValue};

use crate::args::Failed;
use crate::limits::{EMPTY_READ_WAIT, MAX_TRANSFER_BYTES, MAX_WRITE_WAIT};
use crate::package::{Buffer, Context, Instance, Package, Progress, Stack, Throw, Transfer};

pub(super) const METHODS: [&str; 7] =
    ["read", "write", "seek", "install-abort", "remove-abort", "restore", "ring-bell"];

/// How much text passes between guest and console at once.
const CHUNK_BYTES: usize = 256;

/// How many reads in a row that find nothing are answered at once.
const EAGER_READS: u32 = 32;

/// The console of the machine. It cannot `seek`: it has no places to go to.
pub(crate) struct ConsolePackage(pub(crate) Arc<dyn Console>);

impl Package for ConsolePackage {
    fn open(&self, _arguments: &str) -> Result<Box<dyn Instance>, Failed> {
        Ok(Box::new(OpenConsole::new(self.0.clone())))
    }

    fn methods(&self) -> &[&'static str] {
        &METHODS
    }

    fn max_transfer_bytes(&self) -> usize {
        MAX_TRANSFER_BYTES
    }

    #[cfg(feature = "serde")]
    fn reopen(
        &self,
        _arguments: &str,
        state: &StateValue,
    ) -> Result<Box<dyn Instance>, StateError> {
        let written: usize = state.get()?;
        if written > MAX_TRANSFER_BYTES {
            let limit = MAX_TRANSFER_BYTES;
            return Err(StateError::Value(format!("{written} of at most {limit} bytes written")));
        }
        Ok(Box::new(OpenConsole { written, ..OpenConsole::new(self.0.clone()) }))
    }
}

struct OpenConsole {
    device: Arc<dyn Console>,
    /// How many reads in a row have found nothing.
    empty_reads: u32,
    /// How much was shown of the text of a `write` that is not at its end.
    written: usize,
    /// How long that has waited.
    waited: Duration,
}

impl OpenConsole {
    fn new(device: Arc<dyn Console>) -> Self {
        Self { device, empty_reads: 0, written: 0, waited: Duration::ZERO }
    }

    fn end_write(&mut self) -> Transfer {
        let written = self.written;
        self.abandon();
        Transfer::Done(written)
    }
}

impl Instance for OpenConsole {
    /// A client that waits for a key asks again and again: it is made to sleep a little then.
    fn read(&mut self, _: &Context<'_>, buffer: &Buffer<'_>) -> Result<Transfer, Failed> {
        let mut done = 0;
        while done < buffer.len() {
            let mut chunk = [0; CHUNK_BYTES];
            let wanted = chunk.get_mut(..CHUNK_BYTES.min(buffer.len() - done)).unwrap_or_default();
            let read = self.device.read(wanted).min(wanted.len());
            buffer.put(done, wanted.get(..read).unwrap_or_default())?;
            done += read;
            if read < wanted.len() {
                break;
            }
        }
        if done > 0 || buffer.len() == 0 {
            self.empty_reads = 0;
            return Ok(Transfer::Done(done));
        }
        if self.empty_reads < EAGER_READS {
            self.empty_reads += 1;
        } else {
            self.device.wait(EMPTY_READ_WAIT);
        }
        Ok(Transfer::Nothing)
    }

    /// Clients do not look at the result: Linux's last words would be lost in a terminal that is
    /// slow. So this waits for one, a little.
    fn write(&mut self, _: &Context<'_>, buffer: &Buffer<'_>) -> Result<Transfer, Failed> {
        while self.written < buffer.len() {
            let mut chunk = [0; CHUNK_BYTES];
            let len = CHUNK_BYTES.min(buffer.len() - self.written);
            let text = chunk.get_mut(..len).unwrap_or_default();
            buffer.get(self.written, text)?;
            // A console may take a character at a time: the text is read once all the same.
            let mut rest = &*text;
            while !rest.is_empty() {
                let taken = self.device.write(rest).min(rest.len());
                if taken == 0 && self.waited < MAX_WRITE_WAIT {
                    return Ok(Transfer::NotYet);
                }
                if taken == 0 {
                    return Ok(self.end_write());
                }
                rest = rest.get(taken..).unwrap_or_default();
                self.written += taken;
            }
        }
        Ok(self.end_write())
    }

    fn method(
        &mut self,
        _: &Context<'_>,
        name: &str,
        _: &mut Stack<'_>,
    ) -> Result<Progress, Throw> {
        match name {
            // ( -- ): there is no user interface that a key could lead to, and the console is
            // always fit for use.
            "install-abort" | "remove-abort" | "restore" => {}
            // ( -- )
            "ring-bell" => {
                self.device.write(b"\x07");
            }
            _ => return Err(Throw::UNDEFINED_WORD),
        }
        Ok(Progress::Done)
    }

    fn wait(&mut self, limit: Duration) {
        std::thread::sleep(limit);
        self.waited += limit;
    }

    fn abandon(&mut self) {
        self.written = 0;
        self.waited = Duration::ZERO;
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Result<Option<StateValue>, StateError> {
        if self.written == 0 { Ok(None) } else { StateValue::of(&self.written).map(Some) }
    }
}
