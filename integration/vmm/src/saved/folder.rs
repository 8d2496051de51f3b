//! A machine in a folder: `config.json`, what it is; `state.json`, where it stood; `memory-ranges`, what
//! was in its RAM.
//!
//! All three are written beside those that may be there, under other names, and are on the disk before the
//! first of them takes its place. `memory-ranges` says whose memory it is, and is the first that does: from
//! then on it is the new machine that is in the folder, whatever happens to the one that writes. Until then
//! it is the old one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use arch_ppc64::config::MachineConfig;
use arch_ppc64::layout::MAX_CPUS;
use vm_memory::GuestAddress;

use super::document::{self, Content};
use super::id::Id;
use super::memory::{self, Progress, Range};
use super::{MachineState, RestoreError, Resumption, SaveError, Source};
use crate::boot::{MachineRam, Stopping};
use crate::config::VmConfig;
use crate::host_file::HostFile;

const CONFIG: &str = "config.json";
const STATE: &str = "state.json";
const MEMORY: &str = "memory-ranges";
const NAMES: [&str; 3] = [MEMORY, CONFIG, STATE];

/// What the name of a file ends with that is not in its place yet.
const UNFINISHED: &str = "new";

/// What is saved is the guest's own: nobody else's.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Writes a machine into a folder, which is made where it is not there, in place of one that was saved
/// there before. `hear` is told how far it is, and may end it.
///
/// # Errors
/// [`SaveError`]: the folder has what it had.
pub(crate) fn save(
    folder: &Path,
    config: &VmConfig,
    machine: MachineState,
    ram: &MachineRam,
    hear: &mut dyn FnMut(Progress) -> io::Result<()>,
) -> Result<(), SaveError> {
    let failed = |source| SaveError::Folder { path: folder.to_owned(), source };
    let config = config.clone().with_absolute_paths().map_err(failed)?;
    let is_new = make(folder).map_err(failed)?;
    // What is there under other names is another writer's until this one has the lock.
    let directory = locked(folder).map_err(failed)?;
    check_place(folder)?;
    settle(folder).map_err(failed)?;
    let written = write(folder, &directory, &config, machine, ram, hear)
        .and_then(|()| in_place(folder, MEMORY).map_err(failed));
    written.inspect_err(|_| {
        // Whatever is left is nobody's, and no harm.
        for name in NAMES {
            let _ = fs::remove_file(unfinished(folder, name));
        }
        if is_new {
            let _ = fs::remove_dir(folder);
        }
    })?;
    // From here on it is the new machine that is there, whether its other files are in their places or not.
    in_place(folder, CONFIG).and_then(|()| in_place(folder, STATE)).map_err(failed)?;
    directory.sync_all().map_err(failed)
}

/// Puts the files of the machine that is there into their places, where its writer ended before it did.
fn settle(folder: &Path) -> io::Result<()> {
    let is_there = |name| fs::symlink_metadata(unfinished(folder, name)).is_ok();
    if !is_there(CONFIG) && !is_there(STATE) {
        return Ok(());
    }
    // Where nobody could go on with it, nothing is lost.
    let Ok(saved) = SavedMachine::open(folder) else { return Ok(()) };
    for name in saved.unfinished {
        in_place(folder, name)?;
    }
    Ok(())
}

fn in_place(folder: &Path, name: &str) -> io::Result<()> {
    fs::rename(unfinished(folder, name), folder.join(name))
}

/// Writes all files, under their other names.
fn write(
    folder: &Path,
    directory: &File,
    config: &VmConfig,
    machine: MachineState,
    ram: &MachineRam,
    hear: &mut dyn FnMut(Progress) -> io::Result<()>,
) -> Result<(), SaveError> {
    let failed = |source| SaveError::Folder { path: folder.to_owned(), source };
    let id = Id::new().map_err(failed)?;
    let text = serde_json::to_string_pretty(config).map_err(io::Error::from).map_err(failed)?;
    put(folder, CONFIG, text.as_bytes()).map_err(failed)?;
    let memory = create(folder, MEMORY).map_err(failed)?;
    let (ranges, memory_bytes) = memory::write(ram, &memory, hear).map_err(failed)?;
    memory::seal(&memory, memory_bytes, id).map_err(failed)?;
    memory.sync_all().map_err(failed)?;
    let text = Content { id, memory_bytes, ranges, machine }.to_text();
    let text = text.map_err(io::Error::from).map_err(failed)?;
    // Nobody could go on with it.
    if text.len() as u64 > most_bytes(config) {
        let bytes = text.len();
        let what = format!("the state of the machine is too long: {bytes} bytes");
        return Err(failed(io::Error::other(what)));
    }
    put(folder, STATE, text.as_bytes()).map_err(failed)?;
    directory.sync_all().map_err(failed)
}

/// Makes a folder, if it is not there; whether it was not.
fn make(folder: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The folder, in which nobody else saves meanwhile.
fn locked(folder: &Path) -> io::Result<File> {
    // A pipe would wait for a writer.
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(folder)?;
    // SAFETY: of a descriptor of ours; it ends with that.
    match unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(directory),
        _ => match io::Error::last_os_error() {
            error if error.kind() == ErrorKind::WouldBlock => {
                Err(io::Error::other("another machine is being saved there"))
            }
            // A file system without locks.
            _ => Ok(directory),
        },
    }
}

/// Checks that no file is in the way that belongs to no saved machine.
fn check_place(folder: &Path) -> Result<(), SaveError> {
    let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
    let is_folder = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let all = NAMES.iter().flat_map(|name| [folder.join(name), unfinished(folder, name)]);
    // No file takes its place.
    if let Some(path) = all.into_iter().find(is_folder) {
        return Err(SaveError::Occupied { path });
    }
    if is_there(&folder.join(STATE)) || is_there(&unfinished(folder, STATE)) {
        return Ok(());
    }
    let paths = [CONFIG, MEMORY].map(|name| folder.join(name));
    match paths.into_iter().find(|path| is_there(path)) {
        Some(path) => Err(SaveError::Occupied { path }),
        None => Ok(()),
    }
}

fn unfinished(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.{UNFINISHED}"))
}

fn create(folder: &Path, name: &str) -> io::Result<File> {
    let path = unfinished(folder, name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)
}

fn put(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let mut file = create(folder, name)?;
    file.write_all(content)?;
    file.sync_all()
}

/// A machine that was saved in a folder, with its files open. What nobody can go on with is found before
/// anything is made of it, but for what only its devices know.
#[derive(Debug)]
pub struct SavedMachine {
    config: VmConfig,
    content: Content,
    memory: File,
    folder: PathBuf,
    prefault: bool,
    /// Which of its files are not in their places, in the order in which they get there.
    unfinished: &'static [&'static str],
}

impl SavedMachine {
    /// Opens the files of a folder, and checks that they are whole, and belong to each other. What was in
    /// RAM is not read.
    ///
    /// # Errors
    /// [`RestoreError`] names the file, and what is wrong with it.
    pub fn open(folder: &Path) -> Result<Self, RestoreError> {
        let read = |name: &str| {
            let path = folder.join(name);
            move |source| RestoreError::Read { path, source }
        };
        let memory = match HostFile::open(&folder.join(MEMORY)).map_err(read(MEMORY))? {
            HostFile::Sized(file) => file,
            HostFile::Pipe(_) => {
                return Err(read(MEMORY)(io::Error::other("it is a pipe, not a file")));
            }
        };
        let wrong =
            |name: &str, what: String| RestoreError::Content { path: folder.join(name), what };
        let id = memory::sealed_by(&memory).map_err(read(MEMORY))?;
        let id = id.ok_or_else(|| {
            wrong(MEMORY, "it was cut, or is no memory of a saved machine".to_owned())
        })?;
        // Of one that was written when its writer ended, some may not be in their place.
        let config_name = format!("{CONFIG}.{UNFINISHED}");
        let state_name = format!("{STATE}.{UNFINISHED}");
        let mut found = None;
        for (config_name, state_name, unfinished) in [
            (CONFIG, STATE, &[][..]),
            (&config_name, &state_name, &[CONFIG, STATE]),
            (CONFIG, &state_name, &[STATE]),
        ] {
            let config = match VmConfig::from_file(&folder.join(config_name)) {
                Ok(config) => config,
                Err(error) => {
                    found = found.or(Some(error.into()));
                    continue;
                }
            };
            let text = HostFile::open(&folder.join(state_name))
                .and_then(|file| file.read(most_bytes(&config)));
            let text = match text {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    found = found.or(Some(read(state_name)(error)));
                    continue;
                }
                Err(error) => return Err(read(state_name)(error)),
            };
            let content = match Content::parse(&text, most_values(&config)) {
                Ok(content) => content,
                Err(what) => {
                    found = Some(wrong(state_name, what));
                    if state_name == STATE { break } else { continue }
                }
            };
            if content.id != id {
                let what = format!("it is the memory of another machine than {state_name} is of");
                found = found.or(Some(wrong(MEMORY, what)));
                continue;
            }
            let bytes = memory.metadata().map_err(read(MEMORY))?.len();
            if bytes != content.memory_bytes.saturating_add(memory::SEAL_BYTES) {
                return Err(wrong(MEMORY, "it has another length than was written".to_owned()));
            }
            return Ok(Self {
                config,
                content,
                memory,
                folder: folder.to_owned(),
                prefault: false,
                unfinished,
            });
        }
        Err(found.unwrap_or_else(|| wrong(STATE, "it is not there".to_owned())))
    }

    /// What the machine is.
    pub fn config(&self) -> &VmConfig {
        &self.config
    }

    /// Where it stood.
    pub fn state(&self) -> &MachineState {
        &self.content.machine
    }

    /// The same, all of whose memory is read before it runs: from then on, nobody needs the folder.
    #[must_use]
    pub fn prefaulted(self, prefault: bool) -> Self {
        Self { prefault, ..self }
    }

    /// The machine for [`vmm::run`](crate::vmm::run), which stays paused if that is wanted.
    pub fn resumption(self, paused: bool) -> Resumption {
        let Self { content: Content { ranges, machine, .. }, memory, folder, prefault, .. } = self;
        let source = Box::new(Taking { machine: Some(machine), ranges, memory, folder, prefault });
        Resumption { source, paused }
    }
}

/// A saved machine that goes on.
struct Taking {
    /// Until it is taken.
    machine: Option<MachineState>,
    ranges: Vec<Range>,
    memory: File,
    folder: PathBuf,
    prefault: bool,
}

impl Source for Taking {
    fn known(&self) -> Option<&MachineState> {
        self.machine.as_ref()
    }

    fn take(
        &mut self,
        ram: &MachineRam,
        stopping: &Stopping,
    ) -> Result<MachineState, RestoreError> {
        let machine = self.machine.take().ok_or_else(|| RestoreError::Content {
            path: self.folder.join(STATE),
            what: "it was taken up already".to_owned(),
        })?;
        machine.outline().plug_memory(ram)?;
        for range in &self.ranges {
            if stopping.is_wanted() {
                break;
            }
            let at = GuestAddress(range.start);
            let brought = match self.prefault {
                true => ram.copy_in(at, range.bytes, &self.memory, range.offset),
                false => ram.bring(at, range.bytes, &self.memory, range.offset),
            };
            let path = || self.folder.join(MEMORY);
            brought.map_err(|source| RestoreError::Memory { path: path(), source })?;
        }
        Ok(machine)
    }
}

impl MachineState {
    /// The state of a machine of such a configuration, from a text that nobody vouches for.
    ///
    /// # Errors
    /// What is wrong with it: it is longer or has more values than that of any such machine, or is no
    /// state.
    pub(crate) fn parse(text: &[u8], config: &VmConfig) -> Result<Self, String> {
        let most = most_bytes(config);
        if text.len() as u64 > most {
            return Err(format!("the state has more than {most} bytes"));
        }
        document::check_values(text, most_values(config))?;
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }
}

/// How long the state of a machine can be, in bytes: its tree, its CPUs, and where the guest has one, a
/// hashed page table in hexadecimal. Whoever wrote the configuration says how large the machine is, but
/// no more than this.
fn most_bytes(config: &VmConfig) -> u64 {
    /// As long as that of one that is sent.
    const MOST: u64 = 512 << 20;
    let cpus = cpus(config) * (64 << 10);
    ((32 << 20) + cpus).saturating_add(memory_bytes(config) / 32).min(MOST)
}

/// And how many values it has: each takes some ten times as much room as its text.
fn most_values(config: &VmConfig) -> usize {
    let cpus = cpus(config) as usize * 2048;
    (1 << 20) + cpus + (memory_bytes(config) / 2048).min(1 << 25) as usize
}

fn cpus(config: &VmConfig) -> u64 {
    config.cpus.max().min(MAX_CPUS).into()
}

fn memory_bytes(config: &VmConfig) -> u64 {
    let map = config.memory_map();
    map.map_or(0, |map| map.ram_bytes().saturating_add(map.hotplug_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each value takes memory, however short its text is.
    #[test]
    fn a_state_of_more_than_a_machine_has_is_refused_before_it_is_read() {
        let config = VmConfig::default();
        let many = vec![b'['; most_values(&config) + 1];
        let what = MachineState::parse(&many, &config).unwrap_err();
        assert!(what.contains("values"), "{what}");
        let long = vec![b' '; most_bytes(&config) as usize + 1];
        let what = MachineState::parse(&long, &config).unwrap_err();
        assert!(what.contains("bytes"), "{what}");
        let what = MachineState::parse(b"{}", &config).unwrap_err();
        assert!(what.contains("missing"), "{what}");
    }
}
