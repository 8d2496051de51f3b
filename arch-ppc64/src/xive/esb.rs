//! The two bits P and Q of an event state buffer, and how they change.

/// State of a source: whether it has an event on its way (P), and another one that waits for the
/// end of that (Q).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pq {
    /// 00: the next event is forwarded.
    Reset = 0,
    /// 01: events are dropped.
    Off = 1,
    /// 10: an event was forwarded, and its end has not come yet.
    Pending = 2,
    /// 11: there was at least one more.
    Queued = 3,
}

impl Pq {
    /// Of the low-order two bits of a number.
    pub const fn of(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Reset,
            1 => Self::Off,
            2 => Self::Pending,
            _ => Self::Queued,
        }
    }

    /// P, then Q.
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// An event comes. Whether it is forwarded.
    pub(super) fn trigger(&mut self) -> bool {
        let (next, forwarded) = match self {
            Self::Reset => (Self::Pending, true),
            Self::Pending | Self::Queued => (Self::Queued, false),
            Self::Off => (Self::Off, false),
        };
        *self = next;
        forwarded
    }

    /// The end of an event. Whether the one that waited is forwarded now.
    pub(super) fn end(&mut self) -> bool {
        let (next, forwarded) = match self {
            Self::Reset | Self::Pending => (Self::Reset, false),
            Self::Queued => (Self::Pending, true),
            Self::Off => (Self::Off, false),
        };
        *self = next;
        forwarded
    }
}

/// What a load of a management page does. The offset says it: nothing else of the address counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Ends an event. The value is whether another one is forwarded.
    End,
    /// The value is P and Q.
    Get,
    /// Sets P and Q. The value is what they were.
    Set(Pq),
}

impl Load {
    /// What a load at this offset of a page does; `None` where nothing is.
    pub(super) const fn at(offset: u64) -> Option<Self> {
        match offset & 0xfff {
            0..=0x3ff => Some(Self::End),
            0x800..=0xbff => Some(Self::Get),
            set @ 0xc00..=0xfff => Some(Self::Set(Pq::of(set >> 8))),
            _ => None,
        }
    }

    /// The first offset at which a load does this.
    pub const fn offset(self) -> u64 {
        match self {
            Self::End => 0,
            Self::Get => 0x800,
            Self::Set(pq) => 0xc00 | (pq as u64) << 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_change_as_events_come_and_end() {
        use Pq::{Off, Pending, Queued, Reset};
        // State, after an event, after an end; each with whether something is forwarded.
        for (state, triggered, ended) in [
            (Reset, (Pending, true), (Reset, false)),
            (Off, (Off, false), (Off, false)),
            (Pending, (Queued, false), (Reset, false)),
            (Queued, (Queued, false), (Pending, true)),
        ] {
            let after = |change: fn(&mut Pq) -> bool| {
                let mut pq = state;
                let forwarded = change(&mut pq);
                (pq, forwarded)
            };
            assert_eq!(after(Pq::trigger), triggered, "{state:?}");
            assert_eq!(after(Pq::end), ended, "{state:?}");
            assert_eq!(Pq::of(state.bits().into()), state);
        }
    }

    #[test]
    fn offsets_say_what_a_load_does() {
        for (offset, load) in [
            (0, Some(Load::End)),
            (0x3f8, Some(Load::End)),
            (0x400, None),
            (0x7f8, None),
            (0x800, Some(Load::Get)),
            (0xc00, Some(Load::Set(Pq::Reset))),
            (0xd00, Some(Load::Set(Pq::Off))),
            (0xe00, Some(Load::Set(Pq::Pending))),
            (0xff8, Some(Load::Set(Pq::Queued))),
            (0xf800, Some(Load::Get)),
        ] {
            assert_eq!(Load::at(offset), load, "{offset:#x}");
            if let Some(load) = load {
                assert_eq!(Load::at(load.offset()), Some(load));
                assert!(load.offset() <= offset & 0xfff);
            }
        }
    }
}
