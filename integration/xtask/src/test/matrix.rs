//! Everything that a host offers its guests, in all combinations: what it has boots, what it has not
//! is refused.
//!
//! What is expected is said here once, in [`PLACES`]; docs/testing.md has it as a table.

use std::fmt;
use std::path::PathBuf;

use crate::failure::{Failure, Result};
use crate::guest::{self, NO_WATCHDOGS, QUICK};

use super::boots::{VOF_LINES, shows, shows_times};
use super::interrupts;
use super::log::Log;
use super::on_host::OneHost;
use super::patched;

/// Where guests run, and what there is.
#[derive(Clone, Copy)]
struct Place {
    name: &'static str,
    /// The POWER host; none where the processor is in software.
    host: Option<&'static str>,
    /// The generation of its processor.
    processor: u32,
    has_hash: bool,
    has_xive: bool,
}

const PLACES: [Place; 5] = [
    Place { name: "software", host: None, processor: 9, has_hash: true, has_xive: true },
    bare_metal("powernv9", 9),
    bare_metal("powernv10", 10),
    partition("pseries9", 9),
    partition("pseries10", 10),
];

const fn bare_metal(name: &'static str, processor: u32) -> Place {
    Place { name, host: Some(name), processor, has_hash: true, has_xive: true }
}

/// Nested KVM-HV has neither hashed page tables nor XIVE.
const fn partition(name: &'static str, processor: u32) -> Place {
    Place { has_hash: false, has_xive: false, ..bare_metal(name, processor) }
}

const PROCESSORS: [u32; 4] = [8, 9, 10, 11];

/// A machine, of all that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    processor: u32,
    mmu: Mmu,
    controller: Controller,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mmu {
    Radix,
    Hash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    Xics,
    Xive,
}

impl Cell {
    fn all() -> impl Iterator<Item = Self> {
        let mmus = [Mmu::Radix, Mmu::Hash];
        let controllers = [Controller::Xics, Controller::Xive];
        PROCESSORS.into_iter().flat_map(move |processor| {
            mmus.into_iter().flat_map(move |mmu| {
                let cell = move |controller| Self { processor, mmu, controller };
                controllers.into_iter().map(cell)
            })
        })
    }

    /// What comes of it: nothing where it boots, else what has to be said.
    fn refusal(self, place: Place) -> Option<&'static str> {
        let Self { processor, mmu, controller } = self;
        match (mmu, controller) {
            // No place makes a POWER8 what it is not.
            (_, Controller::Xive) if processor == 8 => {
                Some("interrupts=auto and interrupts=xics are possible")
            }
            (Mmu::Radix, _) if processor == 8 => Some("mmu=auto and mmu=hash are possible"),
            _ if processor > place.processor => Some("or a later processor; this one is a POWER"),
            (_, Controller::Xive) if !place.has_xive => {
                Some("interrupts=auto and interrupts=xics are possible")
            }
            (Mmu::Hash, _) if !place.has_hash && processor == 8 => {
                Some("a POWER8 guest needs a hashed page table; guests of cpu=POWER9 do not")
            }
            (Mmu::Hash, _) if !place.has_hash => Some("mmu=auto and mmu=radix are possible"),
            _ => None,
        }
    }

    /// The lines of `/proc/cpuinfo`.
    fn shown(self, place: Place) -> [String; 2] {
        let kind = if self.processor == place.processor { "raw" } else { "architected" };
        [format!("cpu\t\t: POWER{} ({kind})", self.processor), format!("MMU\t\t: {:?}", self.mmu)]
    }
}

impl fmt::Display for Cell {
    /// As `--machine` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, mmu, controller } = self;
        let words = format!("cpu=POWER{processor},mmu={mmu:?},interrupts={controller:?}");
        f.write_str(&words.to_lowercase())
    }
}

/// A kernel that is made of the guest's own.
const OLDER_KERNEL: &str = "vmlinux-of-power8";

/// What a kernel's list of processors has of POWER9 and POWER10 (prom_init.c,
/// `ibm_architecture_vec`): masks and values of their PVRs and of their levels, one behind the other;
/// and what takes their place where it is to know POWER8 at most.
const NEWER_KNOWN: [u32; 8] = [
    0xffff_0000,
    0x004e_0000,
    0xffff_0000,
    0x0080_0000,
    0xffff_ffff,
    0x0f00_0006,
    0xffff_ffff,
    0x0f00_0005,
];
const POWER8: [u32; 2] = [0xffff_ffff, 0x0f00_0004];

/// A guest, and what it has to show.
struct Guest {
    cell: Cell,
    starts_by_vof: bool,
    /// Its kernel knows POWER8 at most, and the machine is a newer one, of which it has the choice.
    is_older: bool,
}

/// All places, one behind the other.
pub(super) fn all(log: &mut Log) -> Result<()> {
    let guest = guest::make(false)?;
    let initramfs = interrupts::diskless(&guest)?;
    let [known, power8] = [NEWER_KNOWN, POWER8.repeat(4).try_into().expect("eight")]
        .map(|pairs: [u32; 8]| pairs.map(u32::to_be_bytes).concat());
    let older = patched::kernel(&guest.kernel, OLDER_KERNEL, &known, &power8)?;
    for place in PLACES {
        look(log, place, [&guest.kernel, &older, &initramfs])?;
    }
    Ok(())
}

fn look(log: &mut Log, place: Place, files: [&PathBuf; 3]) -> Result<()> {
    let [kernel, older, initramfs] = files;
    let mut host = match place.host {
        Some(name) => OneHost::new(name, files),
        None => OneHost::here()?,
    };
    let (refused, offered): (Vec<Cell>, Vec<Cell>) =
        Cell::all().partition(|cell| cell.refusal(place).is_some());
    for cell in &refused {
        host.add_refused(kernel, &["--machine", &cell.to_string()])?;
    }
    let mut guests = Vec::new();
    for cell in offered {
        for starts_by_vof in [true, false] {
            guests.push(Guest { cell, starts_by_vof, is_older: false });
        }
        if cell.processor == 8 {
            guests.push(Guest { cell, starts_by_vof: true, is_older: true });
        }
    }
    for Guest { cell, starts_by_vof, is_older } in &guests {
        let vof = if *starts_by_vof { "on" } else { "off" };
        let (machine, more) = match is_older {
            // It would take radix trees and XIVE, which no POWER8 has.
            true => (format!("cpu=power{}", place.processor), "disable_radix xive=off "),
            false => (cell.to_string(), ""),
        };
        let machine = format!("{machine},x-vof={vof}");
        let cmdline = format!("{QUICK} {NO_WATCHDOGS} {more}{}", interrupts::TASK);
        let kernel = if *is_older { older } else { kernel };
        let arguments = ["--memory", "size=512M", "--cpus", "boot=2", "--machine", &machine];
        host.add([kernel, initramfs], &cmdline, &arguments)?;
    }
    let consoles = host.run(log)?;
    let (refusals, consoles) = consoles.split_at(refused.len());
    for (console, cell) in refusals.iter().zip(refused) {
        let words = cell.refusal(place).unwrap_or_default();
        shows(console, &[words]).map_err(|failure| told(place, cell, &failure))?;
    }
    for (console, guest) in consoles.iter().zip(guests) {
        guest.shown(place, console).map_err(|failure| told(place, guest.cell, &failure))?;
    }
    Ok(())
}

impl Guest {
    fn shown(&self, place: Place, console: &str) -> Result<()> {
        shows(console, &["GUEST-READY"])?;
        shows_times(console, VOF_LINES[1], usize::from(self.starts_by_vof))?;
        for line in self.cell.shown(place) {
            shows(console, &[&line])?;
        }
        let seen = match self.cell.controller {
            Controller::Xics => interrupts::XICS,
            Controller::Xive => interrupts::XIVE,
        };
        interrupts::check(console, seen, None).map_err(Failure::new)
    }
}

fn told(place: Place, cell: Cell, failure: &Failure) -> Failure {
    Failure::new(format!("{}, {cell}: {failure}", place.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folders;

    /// What the table of the document has of a place, by processor: which of the four ways boot.
    fn row(place: Place, processor: u32) -> String {
        let boots = |mmu: Mmu| {
            let cell = |controller| Cell { processor, mmu, controller };
            let controllers = [Controller::Xics, Controller::Xive].into_iter();
            let named = controllers.filter(|&controller| cell(controller).refusal(place).is_none());
            let named: Vec<_> = named.map(|controller| format!("{controller:?}")).collect();
            if named.is_empty() { "no".to_owned() } else { named.join(", ").to_uppercase() }
        };
        let level = match processor.cmp(&place.processor) {
            std::cmp::Ordering::Less => "level",
            std::cmp::Ordering::Equal => "itself",
            std::cmp::Ordering::Greater => "no",
        };
        let (radix, hash) = (boots(Mmu::Radix), boots(Mmu::Hash));
        format!("| `{}` | POWER{processor} | {level} | {radix} | {hash} |\n", place.name)
    }

    #[test]
    fn the_document_has_the_same_table() {
        let file = folders::workspace().join("docs/testing.md");
        let document = String::from_utf8(folders::read(&file).unwrap()).unwrap();
        let rows: String = PLACES
            .into_iter()
            .flat_map(|place| PROCESSORS.map(|processor| row(place, processor)))
            .collect();
        assert!(document.contains(&rows), "docs/testing.md is to have\n{rows}");
    }

    #[test]
    fn machines_are_said_as_the_command_line_takes_them() {
        let cells: Vec<String> = Cell::all().map(|cell| cell.to_string()).collect();
        assert_eq!(cells.len(), 16);
        assert_eq!(cells[0], "cpu=power8,mmu=radix,interrupts=xics");
        assert_eq!(cells[15], "cpu=power11,mmu=hash,interrupts=xive");
    }
}
