//! What is started, what is seen of it, and what `--stats` tells of it.

use std::collections::BTreeMap;

/// A boot, and nothing else; and one that restarts twice.
pub(super) const TASK: &str = "autotest";
pub(super) const RESTARTS: &str = "autoreboot=2";

/// What the kernel says last before it is on its own (prom_init.c), and what its first program says.
pub(super) const LAST_WORDS: &str = "Booting Linux via __start()";
pub(super) const READY: &str = "GUEST-READY";

/// Who is measured.
pub(super) const OURS: &str = "pseries-vmm";
pub(super) const PEER: &str = "QEMU, x-vof=on";
pub(super) const PEER_SLOF: &str = "QEMU, SLOF";

/// What was measured in one place.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) name: &'static str,
    /// KVM, on a host that is emulated.
    pub(super) is_emulated: bool,
    pub(super) boots: Vec<Boot>,
    /// Memory besides the guest's, in MiB, and by whom.
    pub(super) memory: Vec<(&'static str, f64)>,
    /// How often processors left the guest up to its first program, by kind, where that is known.
    pub(super) exits: BTreeMap<String, Vec<(&'static str, u64)>>,
    /// The longest of the restarts of each run, in seconds.
    pub(super) restarts: Vec<f64>,
}

impl Place {
    /// The boots of a program.
    pub(super) fn of(&self, by: &'static str) -> impl Iterator<Item = &Boot> {
        self.boots.iter().filter(move |boot| boot.by == by)
    }

    /// When our program reached a phase, in each run.
    pub(super) fn phase(&self, name: &str) -> Vec<Time> {
        self.of(OURS).filter_map(|boot| boot.told.as_ref()?.to(name)).collect()
    }
}

/// Seconds since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Time {
    /// By the clock.
    pub(super) clock: f64,
    /// That processors worked.
    pub(super) work: f64,
}

/// One boot.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Boot {
    pub(super) by: &'static str,
    /// The kernel is on its own; its first program says so; the process has ended.
    pub(super) kernel: Time,
    pub(super) ready: Time,
    pub(super) off: Time,
    /// What the VMM says of itself, if it is ours.
    pub(super) told: Option<Told>,
}

/// What is wanted of `--stats`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Told {
    /// What had been worked before the program's first instruction.
    pub(super) begun: f64,
    /// When a phase was reached, by name, since then by the clock, and processor time since the start.
    pub(super) moments: Vec<(String, Time)>,
    /// All client calls, and the longest of them, in seconds.
    pub(super) calls: f64,
    pub(super) longest_call: f64,
    /// Why processors left guest code.
    pub(super) exits: BTreeMap<String, u64>,
    /// The longest restart, if there was any.
    pub(super) restart: Option<f64>,
}

impl Told {
    pub(super) fn parse(stats: &str) -> Option<Self> {
        let mut told = Self::default();
        let mut section = "";
        for line in stats.lines().map(str::trim_end) {
            let Some(entry) = line.strip_prefix("  ") else {
                section = line;
                continue;
            };
            let (name, figures) =
                entry.split_at_checked(entry.find("   ").or_else(|| entry.rfind(' '))?)?;
            let figures: Vec<f64> =
                figures.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            let first = *figures.first()?;
            match (section, name.trim()) {
                ("exits", kind) => drop(told.exits.insert(kind.to_owned(), first as u64)),
                ("host time of client calls", "all of it") => told.calls = first,
                ("host time of client calls", "the longest") => told.longest_call = first,
                ("restarts", "longest of them") => told.restart = Some(first),
                (section, phase) if section.starts_with("moments") => {
                    let work = figures.get(1).copied();
                    if phase == "begun" {
                        told.begun = work?;
                    }
                    let work = work.unwrap_or(f64::NAN);
                    told.moments.push((phase.to_owned(), Time { clock: first, work }));
                }
                _ => {}
            }
        }
        (!told.moments.is_empty()).then_some(told)
    }

    /// From the start of the process to a phase. Before its first instruction a process has one thread,
    /// which did nothing but work.
    pub(super) fn to(&self, phase: &str) -> Option<Time> {
        let (_, time) = self.moments.iter().find(|(name, _)| name == phase)?;
        Some(Time { clock: self.begun + time.clock, work: time.work })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_vmm_says_is_read() {
        let stats = "wall time                5.430 s\nexits\n  hypercall                               6713\n\
                     hypercalls\n  H_RTAS                                    43\nclient calls\n  \
                     getprop   203\nhost time of client calls\n  all of it                           \
                     0.000721 s\n  the longest                         0.000113 s\nmoments, since the \
                     start: by the clock, and processor time\n  begun                   0.000000 s    \
                     0.001604 s\n  entered                 0.116186 s    0.037334 s\n  last client \
                     call        0.127395 s\nrestarts\n  count                                      2\n  \
                     longest of them                     0.003000 s\n";
        let told = Told::parse(stats).unwrap();
        let entered = told.to("entered").unwrap();
        assert!((entered.clock - 0.11779).abs() < 1e-9 && entered.work == 0.037334);
        let last = told.to("last client call").unwrap();
        assert!((last.clock - 0.128999).abs() < 1e-9 && last.work.is_nan());
        assert_eq!(
            (told.calls, told.longest_call, told.restart),
            (0.000721, 0.000113, Some(0.003))
        );
        assert_eq!(told.exits, BTreeMap::from([("hypercall".into(), 6713)]));
        assert_eq!(Told::parse("wall time  5 s\n"), None);
    }
}
