//! A process of the VMM, and what its guest shows.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::api::Api;
use crate::failure::{Attempt, Failure, Result};
use crate::patience::HANG;

/// How often it is looked for something that is waited for.
const TICK: Duration = Duration::from_millis(2);

/// As much of what a process said as a failure shows.
const TAIL_LINES: usize = 30;

/// A process. Whoever drops it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    console: PathBuf,
    said: PathBuf,
    pub(crate) api: Api,
    pub(crate) began: Instant,
}

impl Process {
    /// Starts one with its API at a socket. What its guest shows, and what it says itself, go to files
    /// of a folder.
    pub(crate) fn start(
        vmm: &Path,
        folder: &Path,
        name: &str,
        arguments: &[String],
    ) -> Result<Self> {
        let [socket, console, said] =
            ["api", "console", "said"].map(|what| folder.join(format!("{name}.{what}")));
        let open = |path: &Path| File::create(path).attempt(|| format!("write {}", path.display()));
        let mut command = Command::new(vmm);
        command.arg("--api-socket").arg(format!("path={}", socket.display())).args(arguments);
        command.stdin(Stdio::null()).stdout(open(&console)?).stderr(open(&said)?);
        // SAFETY: prctl(2) with these arguments may be called between fork and exec; it touches no
        // memory.
        unsafe {
            command.pre_exec(|| {
                // Even when this process is killed, the machine does not stay behind.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let began = Instant::now();
        let child = command.spawn().attempt(|| format!("run {}", vmm.display()))?;
        let api = Api::new(&socket);
        Ok(Self { name: name.to_owned(), child, console, said, api, began })
    }

    /// Waits until its API is there.
    pub(crate) fn listens(&mut self) -> Result<()> {
        self.until("listen at its API", |process| Ok(process.api.is_there()))
    }

    /// Waits until its guest has shown something.
    pub(crate) fn shows(&mut self, text: &str) -> Result<()> {
        let what = format!("show {text:?}");
        self.until(&what, |process| Ok(process.console()?.contains(text)))
    }

    /// Waits for something, while it runs.
    pub(crate) fn until(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let mut last_sign = Instant::now();
        let mut shown = 0;
        loop {
            let ended = self.child.try_wait().attempt(|| "wait for a process".into())?;
            if is_so(self)? {
                return Ok(());
            }
            if let Some(status) = ended {
                return Err(self.failed(&format!("{} did not {what}: it {}", self.name, status)));
            }
            let bytes = fs::metadata(&self.console).map_or(0, |file| file.len());
            if std::mem::replace(&mut shown, bytes) != bytes {
                last_sign = Instant::now();
            }
            if last_sign.elapsed() > HANG {
                return Err(self.failed(&format!("{} does not {what}", self.name)));
            }
            thread::sleep(TICK);
        }
    }

    /// Waits for something, or for its end.
    pub(crate) fn until_or_end(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&Self) -> bool,
    ) -> Result<()> {
        self.until(what, |process| Ok(is_so(process) || !process.is_there()))
    }

    /// Waits until it ends, by itself. Its guest has to have switched itself off.
    pub(crate) fn ends_well(&mut self) -> Result<()> {
        let mut ended: Option<ExitStatus> = None;
        self.until("end", |process| {
            ended = process.child.try_wait().attempt(|| "wait for a process".into())?;
            Ok(ended.is_some())
        })?;
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.failed(&format!("{} ended with {status}", self.name))),
            None => Err(self.failed(&format!("{} did not end", self.name))),
        }
    }

    /// Whether it has not ended.
    pub(crate) fn is_there(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it, if it is still there; it has no time to do anything.
    pub(crate) fn kill(&mut self) -> Result<()> {
        // It may have ended by itself.
        let _ = self.child.kill();
        let status = self.child.wait().attempt(|| "wait for a process".into())?;
        match (status.signal(), status.code()) {
            (Some(libc::SIGKILL), _) | (_, Some(0)) => Ok(()),
            _ => Err(self.failed(&format!("{} had ended by itself: {status}", self.name))),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What its guest has shown.
    pub(crate) fn console(&self) -> Result<String> {
        let bytes = fs::read(&self.console).attempt(|| "read a console".into())?;
        Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
    }

    /// A failure with what it said last.
    pub(crate) fn failed(&self, why: &str) -> Failure {
        let tail = |path: &Path| {
            let text = fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).replace('\r', "");
            let lines: Vec<&str> = text.trim_end().lines().collect();
            lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
        };
        let (console, said) = (tail(&self.console), tail(&self.said));
        Failure::new(why)
            .with(format!("On the console of {0}:\n{console}\nBy {0} itself:\n{said}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
