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
    /// The back end failed.
    #[error("the host failed")]
    Host(#[from] std::io::Error),
}
