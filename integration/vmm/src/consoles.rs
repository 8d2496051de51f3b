//! Where the machine's consoles are on the host.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use arch_ppc64::Console;
use arch_ppc64::console::QueuedConsole;
use arch_ppc64::platform::InterruptLine;
use pseries_devices::host_console::{
    self, ConsoleInput, EndWriter, FileEnd, HostEnd, HostEndError, NullEnd, PtyEnd, SocketEnd,
};

use crate::config::{ConsoleConfig, VmConfig};
use crate::console::HostConsole;
use crate::host_file;
use crate::logger;
use crate::outlet;
use crate::terminal_end::TerminalEnd;

/// The other ends of the machine's consoles, open. They outlive restarts of the machine.
pub struct Consoles {
    pub(crate) serial: Serial,
    /// What listens at its other end, where that is not the terminal.
    pub(crate) input: Option<ConsoleInput>,
    /// The other end of the second console.
    pub(crate) second: Option<Box<dyn HostEnd>>,
    /// The console that is on standard input and output, if one is.
    pub(crate) terminal: Option<Arc<HostConsole>>,
    ptys: Ptys,
}

/// The names of the pseudo-terminals that consoles are at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ptys {
    pub(crate) serial: Option<PathBuf>,
    pub(crate) console: Option<PathBuf>,
}

/// The machine's first console.
pub(crate) enum Serial {
    /// On standard input and output; what is typed comes from the event loop.
    Terminal(Arc<HostConsole>),
    /// Elsewhere.
    Elsewhere(Arc<QueuedConsole<EndWriter>>),
}

/// A console whose other end cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsoleError {
    /// It is not what the user says.
    #[error("{console}")]
    End {
        /// Which console, as on the command line.
        console: String,
        /// The reason.
        #[source]
        source: HostEndError,
    },
    /// The host has not got what it takes.
    #[error("cannot create the console")]
    Create(#[from] io::Error),
}

impl ConsoleError {
    /// Whether it is for the user to put right, rather than for the host.
    pub fn is_the_users(&self) -> bool {
        match self {
            Self::End { source: HostEndError::Pty { .. }, .. } | Self::Create(_) => false,
            Self::End { source: HostEndError::Open { source, .. }, .. } => {
                !host_file::is_the_hosts(source)
            }
            Self::End { .. } => true,
        }
    }
}

impl Consoles {
    /// Opens the other ends. In a run that is to be the same each time (`repeatable`), the guest
    /// waits for a terminal that does not take its text.
    ///
    /// # Errors
    /// [`ConsoleError`] names the console, the file and the reason.
    pub fn open(config: &VmConfig, repeatable: bool) -> Result<Self, ConsoleError> {
        let ends = [&config.serial, &config.console];
        let terminal = match ends.contains(&&ConsoleConfig::Tty) {
            true => Some(Arc::new(on_terminal(repeatable)?)),
            false => None,
        };
        let mut ptys = Ptys::default();
        let (serial, input) = match (&config.serial, &terminal) {
            (ConsoleConfig::Tty, Some(terminal)) => (Serial::Terminal(terminal.clone()), None),
            (end, _) => {
                let (console, input) =
                    host_console::connect(open(end, "--serial", &mut ptys.serial)?)?;
                (Serial::Elsewhere(console), Some(input))
            }
        };
        let second: Option<Box<dyn HostEnd>> = match (&config.console, &terminal) {
            (ConsoleConfig::Off, _) => None,
            (ConsoleConfig::Tty, Some(terminal)) => {
                Some(Box::new(TerminalEnd::new(terminal.clone())?))
            }
            (end, _) => Some(open(end, "--console", &mut ptys.console)?),
        };
        Ok(Self { serial, input, second, terminal, ptys })
    }
}

impl Consoles {
    pub(crate) fn ptys(&self) -> &Ptys {
        &self.ptys
    }
}

impl Serial {
    /// As the machine has it.
    pub(crate) fn console(&self) -> Arc<dyn Console> {
        match self {
            Self::Terminal(console) => console.clone(),
            Self::Elsewhere(console) => console.clone(),
        }
    }

    /// From here on what is typed elsewhere raises this interrupt; none where there is no machine.
    pub(crate) fn connect(&self, interrupt: Option<InterruptLine>) {
        match (self, interrupt) {
            (Self::Terminal(_), _) => {}
            (Self::Elsewhere(console), Some(interrupt)) => console.connect(interrupt),
            (Self::Elsewhere(console), None) => console.disconnect(),
        }
    }

    /// Forgets what the guest did not take: it is gone.
    pub(crate) fn reset(&self) {
        match self {
            Self::Terminal(console) => console.reset(),
            Self::Elsewhere(console) => console.clear_input(),
        }
    }
}

fn on_terminal(repeatable: bool) -> io::Result<HostConsole> {
    let console = HostConsole::new(outlet::duplicate(io::stdout().as_fd())?)?;
    Ok(if repeatable { console.patient() } else { console })
}

/// An end that is not the terminal; one that is a pseudo-terminal has its name in `name`.
fn open(
    config: &ConsoleConfig,
    option: &str,
    name: &mut Option<PathBuf>,
) -> Result<Box<dyn HostEnd>, ConsoleError> {
    let failed = |source| ConsoleError::End { console: config.label(option), source };
    Ok(match config {
        ConsoleConfig::Off | ConsoleConfig::Null | ConsoleConfig::Tty => Box::new(NullEnd::new()),
        ConsoleConfig::File(path) => Box::new(FileEnd::open(path.as_path()).map_err(failed)?),
        ConsoleConfig::Socket(path) => Box::new(SocketEnd::listen(path.as_path()).map_err(failed)?),
        ConsoleConfig::Pty => {
            let pty = PtyEnd::new().map_err(failed)?;
            logger::tell(&format!("{option} is at {}", pty.path().display()));
            *name = Some(pty.path().to_owned());
            Box::new(pty)
        }
    })
}

impl fmt::Debug for Consoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consoles").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}
