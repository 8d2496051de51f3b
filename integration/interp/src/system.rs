//! What the CPUs of one machine share: that translations or code have changed, and the
//! room for decoded code.
//!
//! Each CPU keeps translations and decoded code of its own, and follows what others change. There
//! is one number for that, which grows with each change: a CPU that finds another number than it
//! has followed finds out what changed. It looks at branches that leave a page, at `isync`, at
//! interrupts and returns from them, and at the end of each slice of instructions.
//!
//! So nobody waits for code: a CPU that has seen what another one stored behind `icbi` and `sync`
//! sees the number that grew before (Power ISA 3.0B, Book II, instruction storage). It grows at the
//! `sync`, once for all `icbi` before. Only `ptesync` behind `tlbie` promises that no other CPU
//! still uses the old translation (Book III §5.10.1), and waits for those that may: see [`wait`]. So
//! does who changes the hashed page table.

mod doorbells;
mod gone;
mod wait;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hash_table::{GonePage, HashTable};
use crate::page_map::Watch;
use crate::room::Room;
use doorbells::Doorbells;
use gone::GonePages;
use wait::Followers;

/// The CPUs of one machine.
#[derive(Debug)]
pub struct System {
    /// Counts all changes. Those of a kind are counted before.
    changes: AtomicU64,
    translations: AtomicU64,
    code: AtomicU64,
    logs: AtomicU64,
    host_writes: Mutex<HostWrites>,
    /// How many there were of these, for who has seen all of them.
    host_write_count: AtomicU64,
    gone: Mutex<GonePages>,
    /// How many there were of these.
    gone_count: AtomicU64,
    hash_table: Mutex<Option<Arc<dyn HashTable>>>,
    followers: Followers,
    doorbells: Doorbells,
    room: Arc<Room>,
    /// Held while what the host has no safe atomic for is accessed.
    whole: Mutex<()>,
    /// Of the host.
    cores: usize,
}

/// How far a CPU has followed what others changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    pub(crate) changes: u64,
    translations: u64,
    code: u64,
    logs: u64,
    host_writes: u64,
    gone: u64,
}

/// What has become stale since a CPU looked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stale {
    /// All translations.
    pub(crate) translations: bool,
    /// The translations of these pages.
    pub(crate) gone: Vec<GonePage>,
    /// Decoded code has to be compared with what it was decoded from.
    pub(crate) check_code: bool,
    /// Stores have to be noticed, to pages that are not known to be written to.
    pub(crate) log: bool,
    /// Decoded code of these pages.
    pub(crate) pages: Vec<u64>,
    /// All decoded code.
    pub(crate) all_code: bool,
}

/// The pages that the host wrote to, the newest last.
#[derive(Debug, Default)]
struct HostWrites {
    /// How many there were.
    count: u64,
    /// How many of these are not in `kept` any more.
    forgotten: u64,
    kept: VecDeque<HostWrite>,
}

#[derive(Debug, Clone, Copy)]
struct HostWrite {
    number: u64,
    first: u64,
    last: u64,
}

/// Who has missed more writes, or pages, than this drops all code.
const PAGES_MAX: usize = 1024;

impl System {
    /// A machine of up to `cpus` CPUs, numbered from 0, each a core of its own. What CPUs that were
    /// not made cost is a few bytes.
    pub fn new(cpus: usize) -> Self {
        Self::with_threads(cpus, 1)
    }

    /// The same where CPUs are threads of cores, so many of each (64 at most), core by core:
    /// threads of a core can ring each other's doorbells (`msgsndp`).
    pub fn with_threads(cpus: usize, threads_per_core: usize) -> Self {
        Self {
            changes: AtomicU64::new(0),
            translations: AtomicU64::new(0),
            code: AtomicU64::new(0),
            logs: AtomicU64::new(0),
            host_writes: Mutex::default(),
            host_write_count: AtomicU64::new(0),
            gone: Mutex::default(),
            gone_count: AtomicU64::new(0),
            hash_table: Mutex::default(),
            followers: Followers::new(cpus),
            doorbells: Doorbells::new(cpus, threads_per_core),
            room: Arc::new(Room::new(cpus)),
            whole: Mutex::default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// How many bytes of host memory hold decoded code, of all CPUs together.
    pub fn decoded_bytes(&self) -> usize {
        self.room.bytes()
    }

    /// The most that [`Self::decoded_bytes`] can become.
    pub fn decoded_bytes_max(&self) -> usize {
        self.room.bytes_max()
    }

    /// Gives the machine a hashed page table, or another one. CPUs that execute look into it when this
    /// returns, and use no translation of the one before. No CPU may wait for that while it is in
    /// [`crate::Cpu::run`], or it waits for ever.
    pub fn set_hash_table(&self, table: Arc<dyn HashTable>) {
        *self.hash_table.lock().unwrap_or_else(PoisonError::into_inner) = Some(table);
        self.all_pages_gone();
    }

    /// These pages went from the hashed page table. No CPU uses them any more when this returns, for
    /// which the same holds.
    pub fn pages_gone(&self, pages: &[GonePage]) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        self.gone_count.store(gone.add(pages), Ordering::SeqCst);
        drop(gone);
        let change = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        self.followers.wait(None, change);
    }

    /// No CPU uses any translation of before when this returns, for which the same holds.
    pub fn all_pages_gone(&self) {
        let change = self.translations_changed();
        self.followers.wait(None, change);
    }

    pub(crate) fn hash_table(&self) -> Option<Arc<dyn HashTable>> {
        self.hash_table.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Translations have changed; the number of the change, for [`Self::wait_for_others`].
    pub(crate) fn translations_changed(&self) -> u64 {
        self.translations.fetch_add(1, Ordering::SeqCst);
        self.changes.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Code may have changed.
    pub(crate) fn code_changed(&self) {
        self.code.fetch_add(1, Ordering::SeqCst);
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Keeps the other CPUs from accesses for which the host has no safe atomic, until what is
    /// returned is dropped. It is never held for longer than one of them.
    pub(crate) fn whole(&self) -> Option<MutexGuard<'_, ()>> {
        self.is_smp().then(|| self.whole.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Which thread of its core a CPU is: its TIR.
    pub(crate) fn thread(&self, id: usize) -> u64 {
        self.doorbells.thread(id) as u64
    }

    /// Rings the doorbell of a thread of the CPU's core; gives the CPU that it is.
    pub(crate) fn ring(&self, id: usize, thread: u64) -> Option<usize> {
        self.doorbells.ring(id, thread)
    }

    /// DPDES of a CPU's core.
    pub(crate) fn doorbells(&self, id: usize) -> u64 {
        self.doorbells.of_core(id)
    }

    /// What of DPDES is the CPU's own.
    pub(crate) fn own_doorbell(&self, id: usize) -> u64 {
        self.doorbells(id) & self.doorbells.bit(id)
    }

    /// Sets that, from a value of DPDES.
    pub(crate) fn set_own_doorbell(&self, id: usize, value: u64) {
        self.doorbells.set(id, value & self.doorbells.bit(id) != 0);
    }

    /// Whether a CPU has a doorbell interrupt pending.
    pub(crate) fn is_rung(&self, id: usize) -> bool {
        self.doorbells.is_rung(id)
    }

    /// Whether there is somebody else to tell.
    pub(crate) fn is_smp(&self) -> bool {
        self.followers.count() > 1
    }

    /// Whether there was a change behind the one that a CPU followed last.
    #[inline(always)]
    pub(crate) fn has_changed(&self, followed: &Followed) -> bool {
        self.changes.load(Ordering::Relaxed) != followed.changes
    }

    /// What changed since, if anything. A CPU that uses translations says with
    /// [`Self::has_followed`] when it has dropped what is stale.
    pub(crate) fn stale(&self, followed: &mut Followed) -> Option<Stale> {
        // Not before the CPU's own mark that it uses translations: see `Followers`.
        let changes = self.changes.load(Ordering::SeqCst);
        if changes == followed.changes {
            return None;
        }
        followed.changes = changes;
        let mut stale = Stale::default();
        let differs = |number: &AtomicU64, followed: &mut u64| {
            let now = number.load(Ordering::SeqCst);
            std::mem::replace(followed, now) != now
        };
        stale.translations = differs(&self.translations, &mut followed.translations);
        stale.check_code = differs(&self.code, &mut followed.code);
        stale.log = differs(&self.logs, &mut followed.logs);
        if self.gone_count.load(Ordering::SeqCst) != followed.gone {
            let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
            match gone.since(followed.gone) {
                Some(pages) if !stale.translations => stale.gone.extend(pages),
                _ => stale.translations = true,
            }
            followed.gone = gone.count();
        }
        if self.host_write_count.load(Ordering::SeqCst) != followed.host_writes {
            let writes = self.host_writes.lock().unwrap_or_else(PoisonError::into_inner);
            writes.tell(&mut stale, &mut followed.host_writes);
        }
        Some(stale)
    }

    /// A CPU uses translations from now on, of which it has followed the changes up to this one.
    pub(crate) fn has_followed(&self, id: usize, followed: &Followed) {
        self.followers.mark(id, followed.changes);
    }

    /// A CPU uses no translations: nobody has to wait for it.
    pub(crate) fn uses_none(&self, id: usize) {
        self.followers.mark(id, wait::USES_NONE);
    }

    /// Waits until no other CPU uses translations from before `change`. Who waits must use none.
    pub(crate) fn wait_for_others(&self, id: usize, change: u64) {
        self.followers.wait(Some(id), change);
    }

    /// A CPU executes.
    pub(crate) fn is_used(&self, id: usize) {
        self.followers.use_of(id);
    }

    /// Whether not all CPUs that were ever used can execute at once.
    pub(crate) fn has_more_cpus_than_cores(&self) -> bool {
        self.followers.used() > self.cores
    }

    /// Whether somebody has waited so long that the awaited CPU is likely to lack a core.
    pub(crate) fn lacks_cores(&self) -> bool {
        self.followers.somebody_sleeps()
    }

    /// Gives this CPU's core to one that is waited for. Who calls it must use no translations.
    pub(crate) fn give_way(&self) {
        self.followers.give_way();
    }
}

impl Watch for System {
    fn written(&self, first: u64, last: u64) {
        let mut writes = self.host_writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.add(first, last);
        self.host_write_count.store(writes.count, Ordering::SeqCst);
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    fn log_changed(&self) {
        self.logs.fetch_add(1, Ordering::SeqCst);
        self.changes.fetch_add(1, Ordering::SeqCst);
    }
}

impl HostWrites {
    fn add(&mut self, first: u64, last: u64) {
        self.count += 1;
        let number = self.count;
        // One buffer is often used again and again.
        if let Some(newest) = self.kept.back_mut() {
            if (newest.first, newest.last) == (first, last) {
                newest.number = number;
                return;
            }
        }
        if self.kept.len() == PAGES_MAX {
            self.forgotten = self.kept.pop_front().map_or(0, |oldest| oldest.number);
        }
        self.kept.push_back(HostWrite { number, first, last });
    }

    fn tell(&self, stale: &mut Stale, followed: &mut u64) {
        let since = std::mem::replace(followed, self.count);
        stale.all_code = since < self.forgotten;
        for write in self.kept.iter().rev().take_while(|write| write.number > since) {
            let room = (PAGES_MAX - stale.pages.len()) as u64;
            if stale.all_code || write.last - write.first >= room {
                stale.all_code = true;
                stale.pages.clear();
                return;
            }
            stale.pages.extend(write.first..=write.last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_tells_everybody_once() {
        let system = System::new(2);
        let mut followed = [Followed::default(); 2];
        system.written(1, 2);
        for followed in &mut followed {
            assert!(system.has_changed(followed));
            assert_eq!(system.stale(followed).unwrap().pages, [1, 2]);
            assert!(!system.has_changed(followed));
            assert_eq!(system.stale(followed), None);
        }
        // The same place again is told again.
        system.written(1, 2);
        assert_eq!(system.stale(&mut followed[0]).unwrap().pages, [1, 2]);
        system.written(5, 5);
        assert_eq!(system.stale(&mut followed[0]).unwrap().pages, [5]);
        assert_eq!(system.stale(&mut followed[1]).unwrap().pages, [5, 1, 2]);
    }

    #[test]
    fn who_missed_too_much_drops_all_code() {
        let all = Stale { all_code: true, ..Stale::default() };
        let system = System::new(1);
        let mut followed = Followed::default();
        system.written(0, u64::MAX >> 12);
        assert_eq!(system.stale(&mut followed), Some(Stale { all_code: true, ..Stale::default() }));
        for page in 0..=PAGES_MAX as u64 {
            system.written(page, page);
        }
        assert_eq!(system.stale(&mut followed), Some(all));
        assert_eq!(system.stale(&mut followed), None);
    }

    #[test]
    fn each_kind_of_change_is_told_apart() {
        let system = System::new(2);
        let mut followed = Followed::default();
        system.code_changed();
        let stale = system.stale(&mut followed);
        assert_eq!(stale, Some(Stale { check_code: true, ..Stale::default() }));
        system.translations_changed();
        let stale = system.stale(&mut followed);
        assert_eq!(stale, Some(Stale { translations: true, ..Stale::default() }));
        system.log_changed();
        let stale = system.stale(&mut followed);
        assert_eq!(stale, Some(Stale { log: true, ..Stale::default() }));
    }
}
