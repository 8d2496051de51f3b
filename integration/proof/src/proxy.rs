//! A line between two processes that is cut somewhere, once: what connects later goes through.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::failure::{Attempt, Result};

/// Where it is cut: behind so many bytes from the one who connects, or from the one who listens; or in
/// front of what the one who connects has to say to so many bytes from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Never,
    Forward(u64),
    Backward(u64),
    Answer(u64),
}

/// The line. It ends with this process.
#[derive(Debug)]
pub(crate) struct Proxy {
    line: Arc<Mutex<Line>>,
}

#[derive(Debug)]
struct Line {
    cut: Cut,
    bytes: Passed,
    /// What is shut down when it is cut.
    ends: Vec<UnixStream>,
    was_cut: bool,
}

/// How much went through, each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) forward: u64,
    pub(crate) backward: u64,
}

impl Proxy {
    /// Listens at a socket that is made, and connects to another one for whoever connects.
    pub(crate) fn start(at: &Path, to: &Path, cut: Cut) -> Result<Self> {
        let listener = UnixListener::bind(at).attempt(|| format!("listen at {}", at.display()))?;
        let line = Line { cut, bytes: Passed::default(), ends: Vec::new(), was_cut: false };
        let line = Arc::new(Mutex::new(line));
        let (to, shared) = (to.to_path_buf(), line.clone());
        thread::spawn(move || {
            for one in listener.incoming().flatten() {
                // Who cannot be reached is not there: the one who asked is told by a hang-up.
                if let Ok(other) = UnixStream::connect(&to) {
                    let _ = connect(one, other, &shared);
                }
            }
        });
        Ok(Self { line })
    }

    pub(crate) fn passed(&self) -> Passed {
        lock(&self.line).bytes
    }

    pub(crate) fn was_cut(&self) -> bool {
        lock(&self.line).was_cut
    }
}

fn lock(line: &Mutex<Line>) -> std::sync::MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(one: UnixStream, other: UnixStream, line: &Arc<Mutex<Line>>) -> io::Result<()> {
    lock(line).ends.extend([one.try_clone()?, other.try_clone()?]);
    for (from, to, is_forward) in
        [(one.try_clone()?, other.try_clone()?, true), (other, one, false)]
    {
        let line = line.clone();
        thread::spawn(move || {
            // Whoever has gone is told of as without a proxy: who sends to it is hung up on.
            if pass(&from, &to, is_forward, &line).is_err() {
                let _ = from.shutdown(Shutdown::Both);
            }
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}

fn pass(
    mut from: &UnixStream,
    mut to: &UnixStream,
    is_forward: bool,
    line: &Mutex<Line>,
) -> io::Result<()> {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let count = from.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        let mut line = lock(line);
        let Line { cut, bytes: Passed { forward, backward }, .. } = &mut *line;
        let (passed, limit) = match (is_forward, *cut) {
            (true, Cut::Forward(limit)) => (forward, limit),
            (true, Cut::Answer(heard)) if *backward >= heard => (forward, 0),
            (false, Cut::Backward(limit)) => (backward, limit),
            (true, _) => (forward, u64::MAX),
            (false, _) => (backward, u64::MAX),
        };
        let left = usize::try_from(limit.saturating_sub(*passed)).unwrap_or(usize::MAX);
        let allowed = count.min(left);
        *passed += allowed as u64;
        if allowed == count {
            drop(line);
            to.write_all(&bytes[..count])?;
            continue;
        }
        line.cut = Cut::Never;
        line.was_cut = true;
        let ends = std::mem::take(&mut line.ends);
        drop(line);
        // What was let through arrives.
        let written = to.write_all(&bytes[..allowed]);
        for end in ends {
            let _ = end.shutdown(Shutdown::Both);
        }
        return written;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(cut: Cut) -> (usize, usize, Proxy) {
        let folder = std::env::temp_dir().join(format!("proof-{}-{cut:?}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let [at, to] = ["at", "to"].map(|name| folder.join(name));
        let listener = UnixListener::bind(&to).unwrap();
        let proxy = Proxy::start(&at, &to, cut).unwrap();
        let mut one = UnixStream::connect(&at).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        let mut came = Vec::new();
        one.write_all(&[1; 1000]).unwrap();
        if cut == Cut::Never {
            one.shutdown(Shutdown::Write).unwrap();
        }
        // Who was cut off may be told so while it writes.
        let _ = other.write_all(&[2; 10]);
        if cut == Cut::Never {
            other.shutdown(Shutdown::Write).unwrap();
        }
        let _ = other.read_to_end(&mut came);
        let forward = came.len();
        came.clear();
        let _ = one.read_to_end(&mut came);
        std::fs::remove_dir_all(&folder).unwrap();
        (forward, came.len(), proxy)
    }

    #[test]
    fn a_line_is_cut_where_it_was_said() {
        let (forward, backward, proxy) = through(Cut::Never);
        assert_eq!((forward, backward, proxy.was_cut()), (1000, 10, false));
        assert_eq!(proxy.passed(), Passed { forward: 1000, backward: 10 });
        let (forward, _, proxy) = through(Cut::Forward(300));
        assert_eq!((forward, proxy.was_cut()), (300, true));
        let (forward, _, proxy) = through(Cut::Answer(0));
        assert_eq!((forward, proxy.was_cut()), (0, true));
        let (_, backward, proxy) = through(Cut::Backward(3));
        assert_eq!((backward, proxy.was_cut()), (3, true));
    }
}
