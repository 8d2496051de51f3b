//! Packages that CPUs are opening and that are not ready yet.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arch_ppc64::CpuIndex;

use crate::limits::{IN_FLIGHT_LAPSE, MAX_OPENINGS};
use crate::package::Instance;
use crate::tree::NodeId;

/// One a CPU at most: what a CPU asks for next is the same again, or it has given up.
///
/// A saved state has none of them. A call that has no answer has not been made, and opening has no
/// effect before it is done.
#[derive(Default)]
pub(crate) struct Openings {
    list: Mutex<Vec<Opening>>,
    /// How many there are. Nearly always none, which is then known without the lock.
    count: AtomicUsize,
}

/// What is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    pub(crate) node: NodeId,
    /// What stands behind the `:` of the path.
    pub(crate) arguments: &'a str,
}

/// How opening goes on.
pub(crate) enum Begun {
    /// With the instance that the CPU's last try has left.
    Before(Box<dyn Instance>),
    /// With a new one.
    Now,
    /// Not yet: too many others are at it.
    NotYet,
}

struct Opening {
    caller: CpuIndex,
    node: NodeId,
    arguments: Box<str>,
    /// Not here while the CPU asks it.
    instance: Option<Box<dyn Instance>>,
    last_try: Instant,
}

impl Opening {
    fn new(caller: CpuIndex, wanted: Wanted<'_>) -> Self {
        let Wanted { node, arguments } = wanted;
        Self { caller, node, arguments: arguments.into(), instance: None, last_try: Instant::now() }
    }

    fn is_of(&self, wanted: Wanted<'_>) -> bool {
        Wanted { node: self.node, arguments: &self.arguments } == wanted
    }

    /// Whether its CPU does not seem to come back for it.
    fn has_lapsed(&self) -> bool {
        self.instance.is_some() && self.last_try.elapsed() >= IN_FLIGHT_LAPSE
    }
}

impl Openings {
    /// Begins a try, which ends by [`keep`](Self::keep) or [`end`](Self::end). What else the CPU was
    /// opening is given up.
    pub(crate) fn begin(&self, caller: CpuIndex, wanted: Wanted<'_>) -> Begun {
        let mut list = self.lock();
        // What goes away may have more to do than can be done under a lock.
        let mut gone = Vec::new();
        if let Some(at) = list.iter().position(|opening| opening.caller == caller) {
            if let Some(opening) = list.get_mut(at).filter(|opening| opening.is_of(wanted)) {
                if let Some(instance) = opening.instance.take() {
                    return Begun::Before(instance);
                }
            }
            gone.push(list.swap_remove(at));
        }
        if list.len() >= MAX_OPENINGS {
            let (lapsed, others): (Vec<_>, Vec<_>) = list.drain(..).partition(Opening::has_lapsed);
            gone.extend(lapsed);
            *list = others;
        }
        let begun = if list.len() < MAX_OPENINGS {
            list.push(Opening::new(caller, wanted));
            Begun::Now
        } else {
            Begun::NotYet
        };
        self.count.store(list.len(), Ordering::Relaxed);
        drop(list);
        begun
    }

    /// Keeps an instance that is not ready for the CPU's next try.
    pub(crate) fn keep(&self, caller: CpuIndex, instance: Box<dyn Instance>) {
        let mut list = self.lock();
        if let Some(opening) = list.iter_mut().find(|opening| opening.caller == caller) {
            opening.last_try = Instant::now();
            opening.instance = Some(instance);
        }
    }

    /// All of them were tried at that moment.
    pub(crate) fn tried(&self, now: Instant) {
        for opening in &mut *self.lock() {
            opening.last_try = now;
        }
    }

    /// Whether there are any: that of a CPU is seen by it.
    #[inline]
    pub(crate) fn are_there(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// What the CPU was opening is open, or is not opened any more.
    pub(crate) fn end(&self, caller: CpuIndex) {
        let mut list = self.lock();
        let at = list.iter().position(|opening| opening.caller == caller);
        let gone = at.map(|at| list.swap_remove(at));
        self.count.store(list.len(), Ordering::Relaxed);
        drop(list);
        drop(gone);
    }

    /// None is there any more.
    #[cfg(feature = "serde")]
    pub(crate) fn clear(&self) {
        let mut list = self.lock();
        let gone = std::mem::take(&mut *list);
        self.count.store(0, Ordering::Relaxed);
        drop(list);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Opening>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
