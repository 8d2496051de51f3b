//! On KVM, in an emulated POWER host.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use super::boot::{Boot, LAST_WORDS, OURS, PEER, PEER_SLOF, Place, READY, Time, Told};
use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::guest::{self, NO_WATCHDOGS, QUICK};
use crate::packages::{self, Tool};
use crate::peer;
use crate::processor_time;
use crate::program::{cargo, ended, line, progress};

/// Boots all in turns.
pub(super) fn measure(runs: u32) -> Result<Place> {
    packages::ensure(&Tool::FOR_HOST)?;
    let guest = guest::make(false)?;
    let peer = peer::make()?;
    let script = folders::workspace().join("integration/xtask/host/start");
    let mut xtask = cargo();
    xtask.current_dir(folders::workspace()).args(["xtask", "on-power", "--disk"]).arg(&peer);
    for file in [&guest.kernel, &guest.initramfs, &script] {
        xtask.arg("--file").arg(file);
    }
    let cmdline = format!("{QUICK} {NO_WATCHDOGS}");
    xtask.args(["--", "sh", "start", &runs.to_string(), &cmdline]);
    progress!("booting each {} times on an emulated host, which takes some minutes", runs + 1);
    xtask.stdin(Stdio::null()).stderr(Stdio::inherit());
    let mut child = xtask.stdout(Stdio::piped()).spawn().attempt(|| "run cargo".into())?;
    let output = child.stdout.take().expect("asked for above");
    let process = child.id();
    let mut seen = Seen::default();
    let mut console = String::new();
    let start = Instant::now();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.attempt(|| "read what guests say".into())?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        console.push_str(line);
        console.push('\n');
        seen.hear(line, || {
            let clock = start.elapsed().as_secs_f64();
            Ok(Time { clock, work: processor_time::below(process)? })
        })?;
    }
    let status = child.wait().attempt(|| "wait for cargo".into())?;
    if !status.success() {
        let words = line(&xtask);
        return Err(Failure::new(format!("{words} {}; it said\n{console}", ended(status))));
    }
    let place = seen.into_place();
    let of = |by| place.boots.iter().filter(|boot| boot.by == by).count();
    if [OURS, PEER, PEER_SLOF].into_iter().any(|by| of(by) != runs as usize) {
        return Err(Failure::new(format!("a guest did not end as it should; it said\n{console}")));
    }
    Ok(place)
}

/// What the script and its guests have said so far.
#[derive(Debug, Default)]
struct Seen {
    place: Place,
    /// The boot that goes on, and when it began.
    going_on: Option<(Boot, Time)>,
    /// What `--stats` said of the boot before, or of one with restarts.
    stats: String,
    of_restarts: bool,
}

impl Seen {
    /// Takes a line. `now` tells the time.
    fn hear(&mut self, line: &str, now: impl Fn() -> Result<Time>) -> Result<()> {
        if let Some(name) = line.strip_prefix("begin: ") {
            self.settle();
            let Some(by) = known(name) else { return Ok(()) };
            self.going_on = Some((Boot { by, ..Boot::default() }, now()?));
        } else if let Some(status) = line.strip_prefix("end: ") {
            if let Some((mut boot, start)) = self.going_on.take() {
                boot.off = since(start, now()?);
                if status == "0" && boot.ready != Time::default() {
                    self.place.boots.push(boot);
                }
            }
            (self.stats, self.of_restarts) = (String::new(), false);
        } else if line.starts_with("restarts: ") {
            self.settle();
            self.of_restarts = true;
        } else if let Some((kib, _, by)) = line.strip_prefix("own: ").and_then(figure) {
            self.place.memory.push((by, kib as f64 / 1024.0));
        } else if let Some((count, kind, by)) = line.strip_prefix("exit: ").and_then(figure) {
            self.place.exits.entry(kind.to_owned()).or_default().push((by, count));
        } else if let Some((boot, start)) = &mut self.going_on {
            if line.contains(LAST_WORDS) && boot.kernel == Time::default() {
                boot.kernel = since(*start, now()?);
            } else if line.starts_with(READY) && boot.ready == Time::default() {
                boot.ready = since(*start, now()?);
            }
        } else {
            self.stats.push_str(line);
            self.stats.push('\n');
        }
        Ok(())
    }

    /// What was said last is all that there is of it.
    fn settle(&mut self) {
        let told = Told::parse(&std::mem::take(&mut self.stats));
        match (told, self.of_restarts) {
            (None, _) => {}
            (Some(told), true) => self.place.restarts.extend(told.restart),
            (Some(told), false) => {
                if let Some(boot) = self.place.boots.last_mut().filter(|boot| boot.by == OURS) {
                    boot.told = Some(told);
                }
            }
        }
    }

    fn into_place(mut self) -> Place {
        self.settle();
        Place { name: "KVM, in an emulated POWER9 host", is_emulated: true, ..self.place }
    }
}

/// A number, what it is of, which may be nothing, and by whom.
fn figure(line: &str) -> Option<(u64, &str, &'static str)> {
    let (count, rest) = line.split_once(' ')?;
    let by = [OURS, PEER, PEER_SLOF].into_iter().find(|by| rest.ends_with(by))?;
    Some((count.parse().ok()?, rest.strip_suffix(by)?.trim(), by))
}

fn known(name: &str) -> Option<&'static str> {
    [OURS, PEER, PEER_SLOF].into_iter().find(|by| *by == name)
}

fn since(start: Time, now: Time) -> Time {
    Time { clock: now.clock - start.clock, work: now.work - start.work }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_put_together() {
        let mut seen = Seen::default();
        let mut time = 0.0;
        for line in "own: 2048 QEMU, SLOF\nexit: 7 mmio_exits pseries-vmm\nbegin: pseries-vmm\n\
                     [0.0] x Booting Linux via __start() @ 0\nGUEST-READY\n\nend: 0\n\
                     moments, since the start: by the clock, and processor time\n  begun   0.0 s  0.5 s\n\
                     begin: QEMU, SLOF\nGUEST-READY\nend: 1\nrestarts: pseries-vmm\nmoments, since\n  \
                     begun   0.0 s   0.5 s\nrestarts\n  longest of them   0.25 s\n"
            .lines()
        {
            time += 1.0;
            seen.hear(line, || Ok(Time { clock: time, work: time / 2.0 })).unwrap();
        }
        let place = seen.into_place();
        let at = |clock: f64| Time { clock, work: clock / 2.0 };
        let [boot] = &place.boots[..] else { panic!("{:?}", place.boots) };
        assert_eq!((boot.by, boot.kernel, boot.ready, boot.off), (OURS, at(1.0), at(2.0), at(4.0)));
        assert_eq!(boot.told.as_ref().unwrap().begun, 0.5);
        assert_eq!(place.memory, [(PEER_SLOF, 2.0)]);
        assert_eq!(place.exits["mmio_exits"], [(OURS, 7)]);
        assert_eq!(place.restarts, [0.25]);
    }
}
