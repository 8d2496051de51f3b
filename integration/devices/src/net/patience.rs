//! When to look once more before a wait.

use std::thread;

/// Who has moved frames gives way once before it waits for more. Whoever makes them may want the same
/// processor: else it makes one, is put aside for the wake that this causes, and each frame costs a
/// notification and an interrupt. Where there is a processor for each, it costs one short call of the
/// host for many frames.
#[derive(Debug, Default)]
pub(super) struct Patience {
    is_left: bool,
    is_used: bool,
}

impl Patience {
    /// A frame has gone its way.
    pub(super) fn moved(&mut self) {
        self.is_left = !self.is_used;
    }

    /// Whether to look once more.
    pub(super) fn is_left(&self) -> bool {
        self.is_left
    }

    /// Gives way, for once.
    pub(super) fn wait(&mut self) {
        *self = Self { is_left: false, is_used: true };
        thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends() {
        let mut patience = Patience::default();
        assert!(!patience.is_left(), "nothing has moved");
        patience.moved();
        assert!(patience.is_left());
        patience.wait();
        patience.moved();
        assert!(!patience.is_left());
    }
}
