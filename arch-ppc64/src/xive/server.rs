//! The presentation of interrupts to one CPU: the operating system's ring of its thread context.

use super::controller::NO_PRIORITY;
use super::queue::Queue;
use crate::layout::XIVE_LAST_PRIORITY as LAST_PRIORITY;

/// How many priorities the bits of a ring are for.
pub(super) const PRIORITIES: usize = 8;

/// How many queues a server can have.
pub(super) const QUEUES: usize = LAST_PRIORITY as usize + 1;

/// NSR: the operating system has an exception.
pub(super) const EXCEPTION: u8 = 0x80;

/// What is known of one CPU.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    /// Only interrupts that are more favoured than this are presented (CPPR).
    pub(super) cppr: u8,
    /// Which priorities have an interrupt, the most favoured in the high-order bit (IPB).
    pub(super) pending: u8,
    /// Its queues, by priority.
    pub(super) queues: [Option<Queue>; QUEUES],
    /// What the output was told last.
    pub(super) line: bool,
}

impl Server {
    /// No queues, and nothing presented: "the Most favored level" for the CPU.
    pub(super) const AT_RESET: Self =
        Self { cppr: 0, pending: 0, queues: [None; QUEUES], line: false };

    /// As after a reset; what is left is the line, which says what is presented then.
    pub(super) fn reset(&mut self) {
        *self = Self { line: self.line, ..Self::AT_RESET };
    }

    /// The most favoured priority that has an interrupt (PIPR).
    pub(super) fn best(&self) -> u8 {
        match self.pending {
            0 => NO_PRIORITY,
            pending => pending.leading_zeros() as u8,
        }
    }

    /// Whether that is presented.
    pub(super) fn has_exception(&self) -> bool {
        self.best() < self.cppr
    }

    /// NSR.
    pub(super) fn notification(&self) -> u8 {
        if self.has_exception() { EXCEPTION } else { 0 }
    }

    /// Sets the priority of the CPU. Beyond the last one, all are the same.
    pub(super) fn set_cppr(&mut self, cppr: u8) {
        self.cppr = if usize::from(cppr) < PRIORITIES { cppr } else { NO_PRIORITY };
    }

    /// There is an interrupt of this priority.
    pub(super) fn notify(&mut self, priority: u8) {
        self.pending |= bit(priority);
    }

    /// Accepts the interrupt that is presented, if there is one: NSR of before, and the priority of
    /// the CPU, which is that of the interrupt now.
    pub(super) fn accept(&mut self) -> (u8, u8) {
        let notification = self.notification();
        if self.has_exception() {
            self.cppr = self.best();
            self.pending &= !bit(self.cppr);
        }
        (notification, self.cppr)
    }

    /// The sixteen bytes of the ring.
    pub(super) fn ring(&self) -> [u8; 16] {
        let mut ring = [0; 16];
        ring[0] = self.notification();
        ring[1] = self.cppr;
        ring[2] = self.pending;
        ring[7] = self.best();
        ring
    }
}

/// The bit of a priority; none for one that has no bit.
fn bit(priority: u8) -> u8 {
    0x80_u8.checked_shr(priority.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_favoured_is_presented_first() {
        let mut server = Server::AT_RESET;
        server.notify(5);
        server.notify(2);
        // The CPU takes nothing yet.
        assert_eq!((server.best(), server.has_exception()), (2, false));
        assert_eq!(server.accept(), (0, 0));
        server.set_cppr(8);
        assert_eq!(server.ring()[..8], [0x80, 0xff, 0x24, 0, 0, 0, 0, 2]);
        assert_eq!(server.accept(), (0x80, 2));
        // What is less favoured waits, and what is as favoured.
        server.notify(2);
        assert_eq!(server.accept(), (0, 2));
        server.set_cppr(3);
        assert_eq!(server.accept(), (0x80, 2));
        server.set_cppr(0xff);
        assert_eq!(server.accept(), (0x80, 5));
        server.set_cppr(0xff);
        assert_eq!(server.ring(), [0, 0xff, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn priorities_without_a_bit_are_none() {
        let mut server = Server::AT_RESET;
        server.set_cppr(0xff);
        server.notify(8);
        server.notify(0xff);
        assert!(!server.has_exception());
    }
}
