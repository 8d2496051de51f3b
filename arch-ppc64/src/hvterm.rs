//! The virtual terminal of the guest's console (LoPAPR §17.5, "Virtual Terminal").

#[cfg(feature = "serde")]
mod saved;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::console::Console;
use crate::fdt::{FdtError, Tree};
use crate::hypercall::{Hypercall, HypercallHandler, Next, Status, token};
use crate::platform::{Describe, Device, InterruptLine};
use crate::ram::GuestRam;
use crate::vcpu::CpuIndex;

/// The most characters of one call: two registers full.
const CHARS_MAX: usize = 16;

/// How long a terminal that goes waits for a console to take what it still has.
const LAST_WAIT: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(1);

/// What a terminal calls its interrupt, which tells of typed text.
pub const INPUT: &str = "input";

/// The [id](Device::id) of the terminal of this unit address, and the name of its node.
pub fn id_of(unit: u32) -> String {
    format!("vty@{unit:x}")
}

/// A client terminal: a node below `/vdevice`, and the handler of H_GET_TERM_CHAR/// and H_PUT_TERM_CHAR for it.
///
/// H_PUT_TERM_CHAR takes a string whole or not at all: "If the buffer cannot hold the entire
/// string, no data is enqueued and the return code is H_Busy", and the guest will send all of it
/// again. A [`Console`] may take a part. The rest, at most 15 characters, then waits here, and
/// goes before anything else at the next call of either kind; while it waits, the terminal is
/// busy. So nothing is shown twice and nothing is lost; when the terminal goes, it waits a tenth of a
/// second for the console to take the rest.
pub struct HvTerm {
    unit: u32,
    id: String,
    interrupt: Option<InterruptLine>,
    console: Arc<dyn Console>,
    rest: Mutex<Vec<u8>>,
}

impl HvTerm {
    /// A terminal of this unit address (its `reg`), connected to `console`.
    pub fn new(unit: u32, console: Arc<dyn Console>) -> Self {
        let rest = Mutex::new(Vec::with_capacity(CHARS_MAX));
        Self { unit, id: id_of(unit), interrupt: None, console, rest }
    }

    /// With the interrupt that tells of typed text, an edge: then the guest does not look by
    /// itself, and each arrival of text has to raise it.
    #[must_use]
    pub fn with_interrupt(mut self, interrupt: InterruptLine) -> Self {
        self.interrupt = Some(interrupt);
        self
    }

    /// §17.5.2.1.1: the number of characters in R4, the characters from the high-order byte of R5
    /// on.
    fn get(&self, call: &mut Hypercall) -> Status {
        drop(self.flush());
        let mut chars = [0; CHARS_MAX];
        let count = self.console.read(&mut chars).min(CHARS_MAX);
        let packed = u128::from_be_bytes(chars);
        let [len, high, low, ..] = &mut call.args;
        *len = count as u64;
        (*high, *low) = ((packed >> 64) as u64, packed as u64);
        Status::SUCCESS
    }

    /// §17.5.2.1.2: the length in R5, the characters from the high-order byte of R6 on.
    fn put(&self, call: &Hypercall) -> Status {
        let [_, len, high, low, ..] = call.args;
        let packed = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        // "Valid values are in the range of 0-16."
        let Some(text) = usize::try_from(len).ok().and_then(|len| packed.get(..len)) else {
            return Status::PARAMETER;
        };
        let mut rest = self.flush();
        if !rest.is_empty() {
            // "There is always room for a zero length string."
            return if text.is_empty() { Status::SUCCESS } else { Status::BUSY };
        }
        if text.is_empty() {
            return Status::SUCCESS;
        }
        match self.console.write(text) {
            0 => Status::BUSY,
            taken => {
                rest.extend_from_slice(text.get(taken..).unwrap_or_default());
                Status::SUCCESS
            }
        }
    }

    /// Gives the console what it did not take before; returns what it still does not.
    fn flush(&self) -> MutexGuard<'_, Vec<u8>> {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if !rest.is_empty() {
            let taken = self.console.write(&rest).min(rest.len());
            rest.drain(..taken);
        }
        rest
    }
}

impl Drop for HvTerm {
    fn drop(&mut self) {
        let mut waited = Duration::ZERO;
        while !self.flush().is_empty() && waited < LAST_WAIT {
            std::thread::sleep(PAUSE);
            waited += PAUSE;
        }
    }
}

impl fmt::Debug for HvTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HvTerm").field("unit", &self.unit).finish_non_exhaustive()
    }
}

impl HypercallHandler for HvTerm {
    fn tokens(&self) -> &[u64] {
        &[token::GET_TERM_CHAR, token::PUT_TERM_CHAR]
    }

    fn unit(&self) -> Option<u64> {
        Some(self.unit.into())
    }

    fn handle(&self, _caller: CpuIndex, _ram: &dyn GuestRam, call: &mut Hypercall) -> Next {
        let [unit, ..] = call.args;
        let status = match call.token {
            // "Checks the termno parameter for validity […], else return H_Parameter."
            _ if unit != u64::from(self.unit) => Status::PARAMETER,
            token::GET_TERM_CHAR => self.get(call),
            token::PUT_TERM_CHAR => self.put(call),
            _ => Status::FUNCTION,
        };
        call.finish(status)
    }
}

impl Device for HvTerm {
    fn id(&self) -> &str {
        &self.id
    }

    /// The first terminal is the one that the system talks to.
    fn describe(&self, tree: &mut Tree, cx: &Describe<'_>) -> Result<(), FdtError> {
        let path = format!("/vdevice/{}", self.id);
        let mut node = tree.node(&path)?;
        node.text("device_type", &["serial"])?
            .text("compatible", &["hvterm1"])?
            .cell("reg", self.unit)?;
        if let Some(interrupt) = &self.interrupt {
            node.cell("interrupt-parent", cx.interrupt_parent.cell())?
                .cells("interrupts", &interrupt.specifier())?;
        }
        if tree.value("/aliases", ALIAS).is_some() {
            return Ok(());
        }
        tree.existing("/aliases")?.text(ALIAS, &[&path])?;
        tree.existing("/options")?
            .text("input-device", &[ALIAS])?
            .text("output-device", &[ALIAS])?;
        if cx.start.flat_rtas.is_some() {
            // Else the kernel's own client code finds it by the client interface.
            tree.existing("/chosen")?
                .text("linux,stdout-path", &[&path])?
                .text("stdout-path", &[&path])?;
        }
        Ok(())
    }

    fn hypercalls(&self) -> Option<&dyn HypercallHandler> {
        Some(self)
    }

    fn function_sets(&self) -> &[&'static str] {
        &["hcall-term"]
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn crate::platform::SaveState> {
        Some(self)
    }

    fn reset(&self) {
        self.flush().clear();
    }
}

/// The alias of the first terminal.
const ALIAS: &str = "hvterm";

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    const UNIT: u32 = 0x7100_0000;

    /// A console that takes a limited number of bytes, until it is given more room.
    #[derive(Default)]
    struct Narrow {
        shown: Mutex<Vec<u8>>,
        room: Mutex<usize>,
        /// How many more writes find no room; after the last of them there is enough.
        busy: Mutex<usize>,
        typed: Mutex<Vec<u8>>,
    }

    impl Narrow {
        fn with_room(room: usize) -> Arc<Self> {
            Arc::new(Self { room: Mutex::new(room), ..Self::default() })
        }

        fn shown(&self) -> String {
            String::from_utf8(self.shown.lock().unwrap().clone()).unwrap()
        }
    }

    impl Console for Narrow {
        fn write(&self, text: &[u8]) -> usize {
            let mut room = self.room.lock().unwrap();
            let mut busy = self.busy.lock().unwrap();
            if *room == 0 && *busy > 0 {
                *busy -= 1;
                *room = if *busy == 0 { 100 } else { 0 };
                return 0;
            }
            let taken = text.len().min(*room);
            *room -= taken;
            self.shown.lock().unwrap().extend_from_slice(&text[..taken]);
            taken
        }

        fn read(&self, buf: &mut [u8]) -> usize {
            let mut typed = self.typed.lock().unwrap();
            let count = typed.len().min(buf.len());
            buf[..count].copy_from_slice(&typed[..count]);
            typed.drain(..count);
            count
        }
    }

    /// Calls as the guest does, through the handler.
    fn call(term: &HvTerm, token: u64, args: &[u64]) -> Hypercall {
        let ram: GuestMemoryMmap =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        let mut call = Hypercall::new(token, args);
        assert_eq!(term.handle(CpuIndex(0), &ram, &mut call), Next::Resume);
        call
    }

    fn put(term: &HvTerm, text: &str) -> Status {
        let mut chars = [0; CHARS_MAX];
        chars[..text.len()].copy_from_slice(text.as_bytes());
        let packed = u128::from_be_bytes(chars);
        let args = [UNIT.into(), text.len() as u64, (packed >> 64) as u64, packed as u64];
        call(term, token::PUT_TERM_CHAR, &args).status()
    }

    fn get(term: &HvTerm) -> String {
        let call = call(term, token::GET_TERM_CHAR, &[UNIT.into()]);
        assert_eq!(call.status(), Status::SUCCESS);
        let [len, high, low, ..] = call.args;
        let chars = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        String::from_utf8(chars[..len as usize].to_vec()).unwrap()
    }

    /// "The string starts in the high order byte of register R6 and proceeds toward the low order
    /// byte in register R7" (§17.5.2.1.2).
    #[test]
    fn put_begins_at_the_high_order_byte() {
        let console = Narrow::with_room(100);
        let term = HvTerm::new(UNIT, console.clone());
        let args = [UNIT.into(), 10, 0x6162_6364_6566_6768, 0x696a_ffff_ffff_ffff];
        assert_eq!(call(&term, token::PUT_TERM_CHAR, &args).status(), Status::SUCCESS);
        assert_eq!(console.shown(), "abcdefghij");
    }

    /// "H_Success in all other cases, returning maximum number of characters available […] (up to
    /// 16) -- a len value of 0 indicates that the input buffer is empty" (§17.5.2.1.1).
    #[test]
    fn get_takes_up_to_sixteen() {
        let console = Narrow::with_room(0);
        *console.typed.lock().unwrap() = b"0123456789abcdefgh".to_vec();
        let term = HvTerm::new(UNIT, console);
        assert_eq!(get(&term), "0123456789abcdef");
        assert_eq!(get(&term), "gh");
        assert_eq!(get(&term), "");
    }

    /// "If the length parameter is outside of the values 0-16 the hypervisor immediately returns
    /// H_Parameter with no other action."
    #[test]
    fn wrong_length_has_no_effect() {
        let console = Narrow::with_room(100);
        let term = HvTerm::new(UNIT, console.clone());
        for len in [17, 1 << 32, u64::MAX] {
            let args = [UNIT.into(), len, u64::MAX, u64::MAX];
            assert_eq!(call(&term, token::PUT_TERM_CHAR, &args).status(), Status::PARAMETER);
        }
        assert_eq!(console.shown(), "");
        assert_eq!(put(&term, "0123456789abcdef"), Status::SUCCESS);
        assert_eq!(console.shown(), "0123456789abcdef");
    }

    #[test]
    fn other_units_are_refused() {
        let term = HvTerm::new(UNIT, Narrow::with_room(100));
        for unit in [0, u64::from(UNIT) + 1, u64::from(UNIT) | 1 << 32] {
            let put = call(&term, token::PUT_TERM_CHAR, &[unit, 1, u64::MAX]);
            assert_eq!(put.status(), Status::PARAMETER);
            let get = call(&term, token::GET_TERM_CHAR, &[unit]);
            assert_eq!(get.status(), Status::PARAMETER);
        }
    }

    /// A guest sends a string until it gets H_Success: each one is shown once and in order,
    /// however little the console takes at a time.
    #[test]
    fn slow_console_shows_each_string_once() {
        let console = Narrow::with_room(0);
        let term = HvTerm::new(UNIT, console.clone());
        let lines = ["first line, long", "2nd", "x", "the fourth line"];
        for (number, line) in lines.iter().enumerate() {
            let mut calls = 0;
            loop {
                match put(&term, line) {
                    Status::SUCCESS => break,
                    status => assert_eq!(status, Status::BUSY),
                }
                *console.room.lock().unwrap() += 1 + number % 3;
                calls += 1;
                assert!(calls < 100);
            }
        }
        *console.room.lock().unwrap() = 100;
        get(&term);
        assert_eq!(console.shown(), lines.concat());
    }

    /// "No data is enqueued and the return code is H_Busy."
    #[test]
    fn full_console_is_busy_and_takes_nothing() {
        let console = Narrow::with_room(0);
        let term = HvTerm::new(UNIT, console.clone());
        assert_eq!(put(&term, "abc"), Status::BUSY);
        assert_eq!(put(&term, "abc"), Status::BUSY);
        // "There is always room for a zero length string."
        assert_eq!(put(&term, ""), Status::SUCCESS);
        *console.room.lock().unwrap() = 2;
        assert_eq!(put(&term, "abc"), Status::SUCCESS);
        assert_eq!(console.shown(), "ab");
        assert_eq!(put(&term, "def"), Status::BUSY);
        assert_eq!(put(&term, ""), Status::SUCCESS);
        *console.room.lock().unwrap() = 100;
        assert_eq!(put(&term, "def"), Status::SUCCESS);
        assert_eq!(console.shown(), "abcdef");
    }

    /// The guest's last words are shown, even when the console was busy as they came.
    #[test]
    fn what_is_left_is_shown_at_the_end() {
        let console = Narrow::with_room(2);
        let term = HvTerm::new(UNIT, console.clone());
        assert_eq!(put(&term, "Power down"), Status::SUCCESS);
        *console.busy.lock().unwrap() = 10;
        drop(term);
        assert_eq!(console.shown(), "Power down");
        // A console that never takes it does not hold up anybody.
        let term = HvTerm::new(UNIT, Narrow::with_room(1));
        assert_eq!(put(&term, "lost"), Status::SUCCESS);
        drop(term);
    }

    #[test]
    fn reset_forgets_what_nobody_took() {
        let console = Narrow::with_room(1);
        let term = HvTerm::new(UNIT, console.clone());
        assert_eq!(put(&term, "abc"), Status::SUCCESS);
        Device::reset(&term);
        *console.room.lock().unwrap() = 100;
        assert_eq!(put(&term, "new"), Status::SUCCESS);
        assert_eq!(console.shown(), "anew");
    }
}
