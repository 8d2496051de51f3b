//! Why a saved state cannot be had, or not be taken up.

/// A state that cannot be saved or taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It is not of the form that the device has.
    #[error("the saved state is not of the form that belongs here: {0}")]
    Format(String),
    /// It was written in a version that is not known.
    #[error("the saved state has version {found}; known are those up to {newest}")]
    Version {
        /// That of the state.
        found: u32,
        /// That which is written here.
        newest: u32,
    },
    /// A value of it is none that the device can have.
    #[error("the saved state cannot be: {0}")]
    Value(String),
    /// This does not know how to save its state, or to take one up.
    #[error("the state of {0} cannot be saved or taken up yet")]
    Unsupported(String),
    /// It is at something that does not come to an end.
    #[error("it does not come to rest: {0}")]
    Busy(String),
    /// It is still at work, and so its state is that of no moment.
    #[error("it is not paused")]
    Running,
    /// A part has such a state, or is in it.
    #[error("{id}")]
    Part {
        /// Which part, such as a function of a bus.
        id: String,
        /// What is wrong with it.
        #[source]
        source: Box<StateError>,
    },
    /// The back end failed.
    #[error("the host failed")]
    Host(#[from] std::io::Error),
}

impl StateError {
    /// The same of a part of this name.
    #[must_use]
    pub fn of(self, id: impl Into<String>) -> Self {
        Self::Part { id: id.into(), source: Box::new(self) }
    }
}
