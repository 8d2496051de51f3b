//! Who may do what with a file, and whose it is.

/// Permissions and owners, for archives and trees of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    /// Permissions, with those that are set for users and groups, as inode(7) has them.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Access {
    /// What root owns.
    pub(crate) const fn of_root(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0 }
    }
}
