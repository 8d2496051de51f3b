//! Whose a machine is while it moves: the rules of both sides, and nothing else.
//!
//! The machine is the source's until it says *go*. From then on the source does not run it until it
//! knows that the destination does not, and never will. It asks, by new connections, for a minute; the
//! destination listens until the source knows. So, whatever is lost on the way, there
//! is never a moment in which both run it:
//!
//! - The destination runs it only when it has heard *go* on the connection by which the machine came.
//!   When that ends before, or somebody asks before, it never will: that is final.
//! - The source that has said *go* runs it only when the destination says *not running*, or is known to
//!   be dead ([`Source::refused`]). Where it cannot find out, the machine stands still, until a person
//!   who has looked at the other side has it go on (`Control::resume`).
//!
//! Both are pure: they are told what happened, and say what is the case.
#![forbid(unsafe_code)]

/// What the source knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The machine is here.
    Sending,
    /// It has said go, and hears on that connection who runs.
    Going,
    /// It has said go, and that connection is lost: it asks.
    Asking,
    /// The machine runs here again, or goes on running. Final.
    Here,
    /// It runs there. Final.
    There,
}

/// Who runs, as the destination says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The destination.
    Running,
    /// Not the destination, now and for ever.
    NotRunning,
    /// Something that says nothing of it.
    Other,
}

impl Source {
    /// It is about to say go. False if that is not its to say any more.
    #[must_use]
    pub(crate) fn go(&mut self) -> bool {
        let goes = *self == Self::Sending;
        if goes {
            *self = Self::Going;
        }
        goes
    }

    /// The connection by which the machine goes has ended, or is given up.
    pub(crate) fn cut(&mut self) {
        match self {
            Self::Sending => *self = Self::Here,
            Self::Going => *self = Self::Asking,
            Self::Asking | Self::Here | Self::There => {}
        }
    }

    /// The destination has said something, on whichever connection.
    pub(crate) fn heard(&mut self, answer: Answer) {
        *self = match (*self, answer) {
            (Self::Going | Self::Asking, Answer::Running) => Self::There,
            (Self::Going | Self::Asking, Answer::NotRunning) => Self::Here,
            // Before go, it cannot have the machine, whatever it says.
            (Self::Sending, _) => Self::Here,
            (state, _) => state,
        };
    }

    /// Nobody listens where the destination did, and it is known that this is its own door and no
    /// other program's: it is dead, as it listens until the source knows.
    pub(crate) fn refused(&mut self) {
        if *self == Self::Asking {
            *self = Self::Here;
        }
    }

    /// Whether the machine may run here.
    #[cfg(test)]
    pub(crate) const fn may_run(self) -> bool {
        matches!(self, Self::Sending | Self::Here)
    }

    /// Whether it is known where the machine is.
    pub(crate) const fn is_decided(self) -> bool {
        matches!(self, Self::Here | Self::There)
    }
}

/// What the destination knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The machine is on its way, or stands still here. It is the source's.
    Waiting,
    /// It has heard go, and takes what only one may have.
    Taking,
    /// The machine runs here. Final.
    Running,
    /// It does not run here, and never will. Final.
    NotRunning,
}

impl Destination {
    /// The source said go on the connection by which the machine came, all of which is here. False if
    /// that comes too late.
    #[must_use]
    pub(crate) fn go(&mut self) -> bool {
        let goes = *self == Self::Waiting;
        if goes {
            *self = Self::Taking;
        }
        goes
    }

    /// All that only one machine may have is had: it runs.
    pub(crate) fn taken(&mut self) {
        if *self == Self::Taking {
            *self = Self::Running;
        }
    }

    /// It cannot run here: something failed.
    pub(crate) fn failed(&mut self) {
        if *self != Self::Running {
            *self = Self::NotRunning;
        }
    }

    /// The connection by which the machine comes has ended, or is given up. What was heard on it
    /// before counts.
    pub(crate) fn cut(&mut self) {
        if *self == Self::Waiting {
            *self = Self::NotRunning;
        }
    }

    /// The source asks, by another connection. `None` while that is being decided: it is answered
    /// then.
    pub(crate) fn asked(&mut self) -> Option<Answer> {
        // Who asks has lost the first connection. A go that is still on its way there is not obeyed.
        self.cut();
        match self {
            Self::Running => Some(Answer::Running),
            Self::NotRunning => Some(Answer::NotRunning),
            Self::Waiting | Self::Taking => None,
        }
    }

    /// Whether the machine may run here.
    pub(crate) const fn may_run(self) -> bool {
        matches!(self, Self::Running)
    }

    /// Whether it is decided where the machine is.
    pub(crate) const fn is_decided(self) -> bool {
        matches!(self, Self::Running | Self::NotRunning)
    }
}

#[cfg(test)]
mod tests;
