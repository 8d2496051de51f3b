//! Figures beside their targets.

use std::fmt::Write;

use super::boot::{Boot, OURS, PEER, PEER_SLOF, Place, Time};
use crate::boot_bench::median;

/// On this machine, to the guest's first instruction, in seconds.
const FIRST_TARGET: f64 = 0.010;
/// All calls of the client interface of a boot, in seconds.
const CALLS_TARGET: f64 = 0.001;
/// Memory besides the guest's, in MiB: of the processor in software, and on KVM.
const MEMORY_TARGET: [f64; 2] = [32.0, 8.0];
/// On KVM, from start to power-off, of the time of QEMU with x-vof=on.
const RATIO_TARGET: f64 = 0.6;
/// A restart, in seconds.
const RESTART_TARGET: f64 = 0.020;

/// What can be seen of any program, by name.
type Milestone = (&'static str, fn(&Boot) -> Time);

const SEEN: [Milestone; 3] = [
    ("kernel on its own", |boot| boot.kernel),
    ("first program", |boot| boot.ready),
    ("power-off", |boot| boot.off),
];

pub(super) fn print(place: &Place) {
    println!("{}: least, and median, of {} runs", place.name, place.of(OURS).count());
    println!("seconds that processors worked since the process began, and by the clock");
    let first = place.phase("entered");
    // The clock of a host that is emulated goes on while the emulator waits for a processor.
    if !place.is_emulated {
        row("first instruction, pseries-vmm", first.clone());
    }
    for (name, time) in SEEN {
        for by in [OURS, PEER, PEER_SLOF] {
            row(&format!("{name}, {by}"), place.of(by).map(time).collect());
        }
    }
    if !place.is_emulated {
        steps(place);
    }
    if !place.exits.is_empty() {
        println!("exits to the first program, by kind");
        for (kind, counts) in &place.exits {
            let count = |by| {
                let found = counts.iter().find(|(name, _)| *name == by);
                found.map_or_else(|| "-".to_owned(), |(_, count)| count.to_string())
            };
            let [ours, peer, slof] = [OURS, PEER, PEER_SLOF].map(count);
            println!("  {kind:<32}{ours:>10}{peer:>10}{slof:>10}");
        }
    }
    println!("beside targets");
    let told = || place.of(OURS).filter_map(|boot| boot.told.as_ref());
    let calls = least(told().map(|told| told.calls)) * 1e3;
    let restart = least(place.restarts.iter().copied()) * 1e3;
    // A host that is emulated is some fifty times as slow, and only what is beside it tells anything.
    let [calls_target, restart_target] = match place.is_emulated {
        true => [None; 2],
        false => [CALLS_TARGET, RESTART_TARGET].map(|seconds| Some(seconds * 1e3)),
    };
    if !place.is_emulated {
        let work = least(first.iter().map(|time| time.work));
        let clock = least(first.iter().map(|time| time.clock));
        figure("ms to the first instruction", clock * 1e3, Some(FIRST_TARGET * 1e3));
        figure("… that processors worked", work * 1e3, None);
    }
    figure("ms of all client calls", calls, calls_target);
    figure("ms of a restart, four CPUs", restart, restart_target);
    for (by, mib) in &place.memory {
        let target = MEMORY_TARGET[usize::from(place.is_emulated)];
        let target = (*by == OURS).then_some(target);
        figure(&format!("MiB besides the guest's memory, {by}"), *mib, target);
    }
    let off = |by| least(place.of(by).map(|boot| boot.off.work));
    for (by, target) in [(PEER, place.is_emulated.then_some(RATIO_TARGET)), (PEER_SLOF, None)] {
        figure(&format!("start to power-off, of {by}"), off(OURS) / off(by), target);
    }
}

/// What each step to the first instruction took.
fn steps(place: &Place) {
    println!("pseries-vmm to its first instruction, milliseconds that processors worked");
    if let Some(boot) = place.of(OURS).next().and_then(|boot| boot.told.as_ref()) {
        let mut before = 0.0;
        for (name, _) in &boot.moments {
            let work = least(place.phase(name).iter().map(|time| time.work));
            if work.is_finite() {
                println!("  {name:<32}{:>9.2}{:>9.2}", (work - before) * 1e3, work * 1e3);
                before = work;
            }
            if name == "entered" {
                break;
            }
        }
    }
}

/// A line for each place, program and phase: the end of the phase in milliseconds.
pub(super) fn csv(places: &[Place]) -> String {
    let mut csv = String::from("place,by,phase,worked_ms,clock_ms\n");
    for place in places {
        for by in [OURS, PEER, PEER_SLOF] {
            let mut phases = Vec::new();
            if by == OURS && !place.is_emulated {
                phases.push(("first instruction", place.phase("entered")));
            }
            phases.extend(SEEN.map(|(name, time)| (name, place.of(by).map(time).collect())));
            let is_seen = |(_, times): &(_, Vec<Time>)| !times.contains(&Time::default());
            for (name, times) in phases.into_iter().filter(is_seen) {
                let work = median(times.iter().map(|time| time.work)) * 1e3;
                let clock = median(times.iter().map(|time| time.clock)) * 1e3;
                // Neither has a quote in it.
                let _ = writeln!(csv, "\"{}\",\"{by}\",{name},{work:.2},{clock:.2}", place.name);
            }
        }
    }
    csv
}

fn row(name: &str, times: Vec<Time>) {
    // Not every firmware shows it.
    if times.contains(&Time::default()) {
        println!("  {name:<40}{:>9}", "-");
        return;
    }
    let work = || times.iter().map(|time| time.work);
    let clock = || times.iter().map(|time| time.clock);
    println!(
        "  {name:<40}{:>9.3}{:>9.3}   {:>9.3}{:>9.3}",
        least(work()),
        median(work()),
        least(clock()),
        median(clock())
    );
}

fn figure(what: &str, value: f64, target: Option<f64>) {
    let verdict = match target {
        Some(target) if value <= target => format!("   target <= {target}: met"),
        Some(target) => format!("   target <= {target}: MISSED"),
        None => String::new(),
    };
    println!("  {what:<46}{value:>9.2}{verdict}");
}

fn least(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_for_the_plot_have_a_line_for_each_phase() {
        let time = |clock| Time { clock, work: clock / 2.0 };
        let boot =
            |by| Boot { by, kernel: time(1.0), ready: time(2.0), off: time(3.0), told: None };
        let boots = vec![boot(OURS), boot(PEER), boot(PEER_SLOF)];
        let csv = csv(&[Place { name: "here", boots, ..Place::default() }]);
        assert_eq!(csv.lines().count(), 1 + 1 + 3 * 3);
        assert!(csv.contains("\"here\",\"QEMU, SLOF\",power-off,1500.00,3000.00\n"), "{csv}");
    }
}
