//! Whether a wake may take a processor from somebody at work.

#![allow(unsafe_code)]

use std::io;
use std::mem::zeroed;

use libc::c_int;

/// A frame of so many bytes carries data. Shorter ones are messages, and acknowledgements.
const DATA_BYTES: usize = 1024;

/// After so many wakes for data, in haste, patience is tried.
const HASTE_WAKES_MIN: u32 = 16;

/// The same when it has been in vain again and again.
const HASTE_WAKES_MAX: u32 = 4096;

/// So many wakes in a row for no more than one frame of data are the end of it.
const VAIN_WAKES: u32 = 8;

/// Whether the thread that moves frames waits for a processor that is free, or for its turn.
///
/// Where guest and host want the same processor, the guest makes one frame, its notification wakes this
/// thread, and that has slept so much that the scheduler lets it go first: each frame costs an exit, an
/// interrupt and two changes of threads. A patient thread (`SCHED_BATCH`, sched(7)) does not push
/// anybody aside, and finds all frames that the guest has made by then. Where a processor is free, it
/// is as fast.
///
/// Patience is for data, and lasts as long as it finds more than one frame of it at a time. Who sends
/// one and waits for the answer would wait for nothing: that ends it, and it is tried more and more
/// seldom.
#[derive(Debug)]
pub(super) struct Patience {
    is_patient: bool,
    /// Wakes for data in haste, or those in a row that patience was of no use for.
    wakes: u32,
    /// How long to be in haste.
    haste: u32,
    /// Frames of data that this wake has moved.
    data: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { is_patient: false, wakes: 0, haste: HASTE_WAKES_MIN, data: 0 }
    }
}

impl Patience {
    /// A frame has gone its way.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.data += u32::from(bytes >= DATA_BYTES);
    }

    /// The calling thread has done what it was woken for.
    pub(super) fn done(&mut self) {
        match (self.is_patient, std::mem::take(&mut self.data)) {
            (false, 0) => return,
            (true, 2..) => {
                self.wakes = 0;
                self.haste = HASTE_WAKES_MIN;
                return;
            }
            _ => self.wakes += 1,
        }
        if self.wakes >= if self.is_patient { VAIN_WAKES } else { self.haste } {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.wakes = 0;
        if self.is_patient {
            self.haste = (2 * self.haste).min(HASTE_WAKES_MAX);
        }
        let (from, to) = if self.is_patient {
            (libc::SCHED_BATCH, libc::SCHED_OTHER)
        } else {
            (libc::SCHED_OTHER, libc::SCHED_BATCH)
        };
        // Where the host does not let it, or somebody wants this thread to be scheduled in another
        // way, all stays as it is.
        if schedule(from, to).is_ok_and(|is_done| is_done) {
            self.is_patient = !self.is_patient;
        }
    }
}

/// Has the calling thread scheduled as `to`, if it is as `from`.
fn schedule(from: c_int, to: c_int) -> io::Result<bool> {
    let mut policy = 0;
    // SAFETY: zeroes are such a structure.
    let mut parameters: libc::sched_param = unsafe { zeroed() };
    // SAFETY: the thread is this one; the call writes to what is borrowed for it.
    checked(unsafe {
        libc::pthread_getschedparam(libc::pthread_self(), &raw mut policy, &raw mut parameters)
    })?;
    if policy != from {
        return Ok(false);
    }
    // SAFETY: the thread is this one; the call reads what is borrowed for it.
    checked(unsafe {
        libc::pthread_setschedparam(libc::pthread_self(), to, &raw const parameters)
    })?;
    Ok(true)
}

fn checked(error: c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// What the calling thread is scheduled as.
    fn policy() -> c_int {
        // SAFETY: takes a number and touches no memory.
        unsafe { libc::sched_getscheduler(0) }
    }

    fn wake(patience: &mut Patience, frames: &[usize]) {
        frames.iter().for_each(|bytes| patience.moved(*bytes));
        patience.done();
    }

    /// How many wakes for a frame of data at a time it takes to have another policy.
    fn wakes_until(patience: &mut Patience, wanted: c_int) -> u32 {
        let wakes = (1..10_000).find(|_| {
            wake(patience, &[1514]);
            policy() == wanted
        });
        wakes.unwrap()
    }

    /// The policy is the thread's.
    fn on_a_thread(body: impl FnOnce() + Send + 'static) {
        thread::spawn(body).join().unwrap();
    }

    #[test]
    fn a_stream_has_patience_for_as_long_as_it_finds_frames() {
        on_a_thread(|| {
            let mut patience = Patience::default();
            assert_eq!(policy(), libc::SCHED_OTHER);
            assert_eq!(wakes_until(&mut patience, libc::SCHED_BATCH), HASTE_WAKES_MIN);
            for _ in 0..1000 {
                wake(&mut patience, &[46_000; 3]);
                // Acknowledgements, and what is left over.
                wake(&mut patience, &[66; 2]);
                wake(&mut patience, &[46_000]);
                assert_eq!(policy(), libc::SCHED_BATCH);
            }
            assert_eq!(wakes_until(&mut patience, libc::SCHED_OTHER), VAIN_WAKES - 2);
        });
    }

    #[test]
    fn whoever_waits_for_each_answer_is_left_alone() {
        on_a_thread(|| {
            let mut patience = Patience::default();
            let mut haste = HASTE_WAKES_MIN;
            for _ in 0..20 {
                assert_eq!(wakes_until(&mut patience, libc::SCHED_BATCH), haste);
                assert_eq!(wakes_until(&mut patience, libc::SCHED_OTHER), VAIN_WAKES);
                haste = (2 * haste).min(HASTE_WAKES_MAX);
            }
            // Until it was of use once.
            assert_eq!(wakes_until(&mut patience, libc::SCHED_BATCH), HASTE_WAKES_MAX);
            wake(&mut patience, &[1514; 2]);
            wakes_until(&mut patience, libc::SCHED_OTHER);
            assert_eq!(wakes_until(&mut patience, libc::SCHED_BATCH), 2 * HASTE_WAKES_MIN);
        });
    }

    #[test]
    fn messages_are_in_haste() {
        on_a_thread(|| {
            let mut patience = Patience::default();
            for _ in 0..10_000 {
                wake(&mut patience, &[66, 100, 1000]);
                assert_eq!(policy(), libc::SCHED_OTHER);
            }
        });
    }

    #[test]
    fn what_somebody_has_chosen_for_the_thread_stays() {
        on_a_thread(|| {
            assert!(schedule(libc::SCHED_OTHER, libc::SCHED_IDLE).unwrap());
            let mut patience = Patience::default();
            for _ in 0..100 {
                wake(&mut patience, &[1514; 2]);
            }
            assert_eq!(policy(), libc::SCHED_IDLE);
        });
    }
}
