//! A guest that is saved over and over, each time to go on in another process.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::failure::{Attempt, Result};
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
}

impl Snapshots {
    pub(crate) fn run(&self) -> Result<()> {
        let mut machine = Machine::start(&self.options)?;
        let mut last = None;
        for save in 1..=self.saves {
            thread::sleep(Duration::from_millis(self.every));
            let saved = Saved::make(&mut machine, &format!("saved-{save}"))?;
            saved.print(save);
            // The one before was its memory up to now.
            remove(last.replace(saved.folder))?;
        }
        let witnessed = machine.finish()?;
        remove(last)?;
        println!("{} saves, and the guest has noticed nothing: {witnessed}", self.saves);
        Ok(())
    }
}

/// How long it took.
struct Saved {
    folder: std::path::PathBuf,
    pause: Duration,
    save: Duration,
    /// From the start of the process to where its API says that the machine runs.
    running: Duration,
    /// To the first line of the guest's.
    counts: Duration,
}

impl Saved {
    fn make(machine: &mut Machine<'_>, name: &str) -> Result<Self> {
        let began = Instant::now();
        machine.process.api.put("vm.pause", None)?;
        let pause = began.elapsed();
        let folder = machine.save(name)?;
        let save = began.elapsed() - pause;
        // What was saved needs nothing of who saved it, not even that it ends in order.
        machine.process.kill()?;
        let url = format!("source_url=file://{},resume=true", folder.display());
        let process = machine.another(&["--restore".to_owned(), url])?;
        drop(machine.goes_on_in(process)?);
        machine.process.listens()?;
        machine.process.until("run", |process| Ok(process.api.state()? == "Running"))?;
        let running = machine.process.began.elapsed();
        machine.counts()?;
        let counts = machine.process.began.elapsed();
        machine.check()?;
        Ok(Self { folder, pause, save, running, counts })
    }

    fn print(&self, save: u32) {
        let Self { folder, pause, save: saved, running, counts } = self;
        let kib = kib(folder);
        println!(
            "save {save}: paused in {pause:.1?}, {kib} KiB saved in {saved:.1?}, running after \
             {running:.1?}, counts after {counts:.1?}"
        );
    }
}

/// What a saved machine takes of its disk.
pub(crate) fn kib(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.blocks() / 2).sum()
}

pub(crate) fn remove(folder: Option<impl AsRef<Path>>) -> Result<()> {
    match folder {
        None => Ok(()),
        Some(folder) => {
            let folder = folder.as_ref();
            fs::remove_dir_all(folder).attempt(|| format!("remove {}", folder.display()))
        }
    }
}
