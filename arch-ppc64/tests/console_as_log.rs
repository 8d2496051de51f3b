//! A VMM whose log goes to its guest's console.

use std::io::{self, Write};
use std::sync::LazyLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use arch_ppc64::Console;
use arch_ppc64::console::QueuedConsole;
use log::{LevelFilter, Log, Metadata, Record};

struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

static CONSOLE: LazyLock<QueuedConsole<Broken>> = LazyLock::new(|| QueuedConsole::new(Broken));

struct ToConsole;

impl Log for ToConsole {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        CONSOLE.write(record.args().to_string().as_bytes());
    }

    fn flush(&self) {}
}

/// What the console has to say of itself comes back to it.
#[test]
fn a_console_that_breaks_can_be_the_log() {
    /// Only what hangs takes so long.
    const LONG: Duration = Duration::from_secs(600);
    log::set_logger(&ToConsole).unwrap();
    log::set_max_level(LevelFilter::Warn);
    let (done, told) = mpsc::channel();
    thread::spawn(move || done.send(CONSOLE.write(b"text")));
    assert_eq!(told.recv_timeout(LONG), Ok(4));
    assert_eq!(CONSOLE.output_errors(), 2);
}
