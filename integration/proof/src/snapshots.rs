//! A guest that is saved over and over, each time to go on in another process.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::failure::{Attempt, Result};
use crate::figures::Figures;
use crate::machine::{Machine, Options};

/// Saves a guest over and over; it has to notice nothing
#[derive(Debug, Args)]
pub(crate) struct Snapshots {
    #[command(flatten)]
    options: Options,

    /// How often it is saved
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    saves: u32,

    /// For how long it runs before each, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    every: u64,

    /// Restore by a request to a process that is there, and not by a process's arguments
    #[arg(long)]
    by_request: bool,
}

impl Snapshots {
    pub(crate) fn run(&self) -> Result<()> {
        let mut machine = Machine::start(&self.options)?;
        let mut last = None;
        let mut figures = Figures::default();
        for save in 1..=self.saves {
            thread::sleep(Duration::from_millis(self.every));
            let saved = self.save(&mut machine, save, &mut figures)?;
            // The one before was its memory up to now.
            remove(last.replace(saved))?;
        }
        let witnessed = machine.finish()?;
        remove(last)?;
        figures.print();
        println!("{} saves, and the guest has noticed nothing: {witnessed}", self.saves);
        Ok(())
    }

    /// Saves it, and has it go on in another process. Gives what was saved.
    fn save(&self, machine: &mut Machine<'_>, save: u32, figures: &mut Figures) -> Result<PathBuf> {
        // Of one that was restored, most is in the file still.
        let touched = if save == 1 { Some(ram_kib(machine.process.id())?) } else { None };
        let began = Instant::now();
        machine.process.api.put("vm.pause", None)?;
        let pause = began.elapsed();
        let folder = machine.save(&format!("saved-{save}"))?;
        let saving = began.elapsed() - pause;
        // What was saved needs nothing of who saved it, not even that it ends in order.
        machine.process.kill()?;
        let url = format!("file://{}", folder.display());
        let turns = machine.network.turns().len();
        let mut process;
        let began = if self.by_request {
            process = machine.another(&[])?;
            process.listens()?;
            let began = Instant::now();
            process.api.put("vm.restore", Some(&json!({"source_url": url, "resume": true})))?;
            began
        } else {
            process =
                machine.another(&["--restore".into(), format!("source_url={url},resume=true")])?;
            process.listens()?;
            process.until("run", |process| Ok(process.api.state()? == "Running"))?;
            process.began
        };
        let says = began.elapsed();
        drop(machine.goes_on_in(process)?);
        machine.counts()?;
        machine.check()?;
        let heard = machine.network.turns().get(turns).map(|turn| turn.from - began);
        let size = kib(&folder);
        let of = touched.map_or_else(String::new, |kib| format!(" of {kib}"));
        println!(
            "save {save}: paused in {pause:.1?}, {size} KiB{of} saved in {saving:.1?}; it says that it runs after {says:.1?}, its guest is heard after {:.1?}",
            heard.unwrap_or_default()
        );
        figures.add("pause, ms", pause.as_secs_f64() * 1e3);
        figures.add("save, ms", saving.as_secs_f64() * 1e3);
        figures.add("size, MiB", size as f64 / 1024.0);
        if let Some(kib) = touched {
            figures.add("resident before the first, MiB", kib as f64 / 1024.0);
        }
        figures.add("restore to \"Running\", ms", says.as_secs_f64() * 1e3);
        if let Some(heard) = heard {
            figures.add("restore to the first frame, ms", heard.as_secs_f64() * 1e3);
        }
        Ok(folder)
    }
}

/// What a saved machine takes of its disk.
fn kib(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.blocks() / 2).sum()
}

/// How much of a guest's RAM is there: what is resident of mappings that are larger than a program's
/// own (proc_pid_smaps(5)).
fn ram_kib(process: u32) -> Result<u64> {
    const RAM_KIB_MIN: u64 = 64 << 10;
    let maps = fs::read_to_string(format!("/proc/{process}/smaps"));
    let maps = maps.attempt(|| "read what a process has of memory".into())?;
    let (mut size, mut all) = (0, 0);
    for line in maps.lines() {
        let field = |name: &str| -> Option<u64> {
            line.strip_prefix(name)?.trim().split(' ').next()?.parse().ok()
        };
        if let Some(kib) = field("Size:") {
            size = kib;
        } else if let Some(kib) = field("Rss:").filter(|_| size >= RAM_KIB_MIN) {
            all += kib;
        }
    }
    Ok(all)
}

fn remove(folder: Option<PathBuf>) -> Result<()> {
    match folder {
        None => Ok(()),
        Some(folder) => {
            fs::remove_dir_all(&folder).attempt(|| format!("remove {}", folder.display()))
        }
    }
}
