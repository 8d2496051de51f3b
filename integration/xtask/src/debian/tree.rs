//! The files of a system that is being put together: their contents in a folder, and what a folder
//! of an ordinary user cannot hold, owners and permissions, beside it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::access::Access;
use crate::cpio::Archive;
use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::tar::{Entry, Kind};

/// The kinds of files in a mode, as inode(7) has them.
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Files by path, from the root and without a slash before it.
#[derive(Debug)]
pub(super) struct Tree {
    folder: PathBuf,
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug)]
struct Node {
    access: Access,
    kind: NodeKind,
}

#[derive(Debug, PartialEq, Eq)]
enum NodeKind {
    Folder,
    File,
    Symlink(String),
}

impl Tree {
    /// An empty tree in an empty folder.
    pub(super) fn new(folder: PathBuf) -> Result<Self> {
        folders::make(&folder)?;
        Ok(Self { folder, nodes: BTreeMap::new() })
    }

    /// Where contents are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds a folder of root's, and those above it, unless they are there.
    pub(super) fn add_folder(&mut self, path: &str) -> Result<()> {
        let above = path.match_indices('/').map(|(end, _)| &path[..end]);
        for folder in above.chain([path]) {
            if !self.nodes.contains_key(folder) {
                self.put(folder, Access::of_root(0o755), Kind::Folder)?;
            }
        }
        Ok(())
    }

    /// Adds a file of root's that everybody may read, with the folders above it.
    pub(super) fn add_file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.add_folder(above)?;
        }
        self.put(path, Access::of_root(0o644), Kind::File(content))
    }

    /// Sets who may do what with a file.
    pub(super) fn allow(&mut self, path: &str, access: Access) {
        if let Some(node) = self.nodes.get_mut(path) {
            node.access = access;
        }
    }

    /// Adds a symbolic link.
    pub(super) fn add_symlink(&mut self, path: &str, to: &str) -> Result<()> {
        self.put(path, Access::of_root(0o777), Kind::Symlink(to.into()))
    }

    /// Adds what a package has, as dpkg does: a folder that is there stays as it is, also where it is
    /// a link to one.
    pub(super) fn unpack(&mut self, entry: Entry<'_>) -> Result<()> {
        let path = self.resolved(&entry.path);
        if entry.kind == Kind::Folder && self.nodes.contains_key(&path) {
            return Ok(());
        }
        self.replace(entry)
    }

    /// Adds what is newer than what is there.
    pub(super) fn replace(&mut self, entry: Entry<'_>) -> Result<()> {
        self.put(&self.resolved(&entry.path), entry.access, entry.kind)
    }

    /// Removes what there is at a path and below, if there is something.
    pub(super) fn remove(&mut self, path: &str) -> Result<()> {
        let Some(node) = self.nodes.remove(path) else { return Ok(()) };
        let within = format!("{path}/");
        self.nodes.retain(|other, _| !other.starts_with(&within));
        let place = self.place(path);
        let removed = match node.kind {
            NodeKind::Folder => fs::remove_dir_all(&place),
            NodeKind::File | NodeKind::Symlink(_) => fs::remove_file(&place),
        };
        removed.attempt(|| format!("remove {}", place.display()))
    }

    /// The files that are wanted, as an initial RAM disk.
    pub(super) fn archive(
        &self,
        archive: &mut Archive,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<()> {
        for (path, node) in self.nodes.iter().filter(|(path, _)| wanted(path)) {
            match &node.kind {
                NodeKind::Folder => archive.folder_of(path, node.access),
                NodeKind::File => {
                    archive.file_of(path, node.access, &folders::read(&self.place(path))?);
                }
                NodeKind::Symlink(to) => archive.symlink(path, to),
            }
        }
        Ok(())
    }

    /// For debugfs(8): what of a file system that was made of the folder has to be set, so that
    /// owners and permissions are those of the tree.
    pub(super) fn owners(&self) -> Result<String> {
        let mut commands = String::new();
        for (path, node) in &self.nodes {
            let place = self.place(path);
            let made =
                fs::symlink_metadata(&place).attempt(|| format!("read {}", place.display()))?;
            let kind = match node.kind {
                NodeKind::Folder => DIRECTORY,
                NodeKind::File => FILE,
                NodeKind::Symlink(_) => SYMLINK,
            };
            let Access { mode, uid, gid } = node.access;
            for (field, is, wanted) in [("uid", made.uid(), uid), ("gid", made.gid(), gid)] {
                if is != wanted {
                    commands += &format!("set_inode_field \"/{path}\" {field} {wanted}\n");
                }
            }
            if made.mode() != kind | mode {
                commands += &format!("set_inode_field \"/{path}\" mode 0{:o}\n", kind | mode);
            }
        }
        Ok(commands)
    }

    fn place(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// A path whose first folder is not a link: packages still have `/bin`, and it is `/usr/bin`.
    fn resolved(&self, path: &str) -> String {
        let (first, rest) = path.split_once('/').map_or((path, None), |(a, b)| (a, Some(b)));
        match (self.nodes.get(first).map(|node| &node.kind), rest) {
            (Some(NodeKind::Symlink(to)), Some(rest)) => format!("{to}/{rest}"),
            _ => path.to_owned(),
        }
    }

    fn put(&mut self, path: &str, access: Access, kind: Kind<'_>) -> Result<()> {
        // Through a link, something outside would be written.
        let above = path.rsplit_once('/').map(|(above, _)| above).filter(|above| !above.is_empty());
        let is_folder =
            |path: &str| self.nodes.get(path).is_some_and(|node| node.kind == NodeKind::Folder);
        if let Some(above) = above.filter(|above| !is_folder(above)) {
            return Err(Failure::new(format!("{path} would be in {above}, which is no folder")));
        }
        let was_folder = is_folder(path);
        let place = self.place(path);
        if !(was_folder && kind == Kind::Folder) {
            self.remove(path)?;
        }
        let what = || format!("write {}", place.display());
        let kind = match kind {
            Kind::Folder => {
                folders::make(&place)?;
                NodeKind::Folder
            }
            Kind::File(content) => {
                fs::write(&place, content).attempt(what)?;
                // Whose it is, and who may do what, is the tree's to know; this user has to read it.
                let mode = fs::Permissions::from_mode(0o644);
                fs::set_permissions(&place, mode).attempt(what)?;
                NodeKind::File
            }
            Kind::Symlink(to) => {
                symlink(&to, &place).attempt(what)?;
                NodeKind::Symlink(to)
            }
            Kind::Hardlink(to) => {
                let to = self.resolved(&to);
                if self.nodes.get(&to).is_none_or(|node| node.kind != NodeKind::File) {
                    return Err(Failure::new(format!("{path} is to be {to}, which is no file")));
                }
                fs::hard_link(self.place(&to), &place).attempt(what)?;
                NodeKind::File
            }
        };
        self.nodes.insert(path.to_owned(), Node { access, kind });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folders::TemporaryFolder;

    fn tree(name: &str) -> (TemporaryFolder, Tree) {
        let folder = TemporaryFolder::make(&std::env::temp_dir(), name).unwrap();
        let mut tree = Tree::new(folder.path().join("root")).unwrap();
        tree.add_folder("usr/bin").unwrap();
        tree.add_symlink("bin", "usr/bin").unwrap();
        (folder, tree)
    }

    fn entry<'a>(path: &str, mode: u32, kind: Kind<'a>) -> Entry<'a> {
        Entry { path: path.into(), access: Access { mode, uid: 7, gid: 8 }, kind }
    }

    #[test]
    fn what_packages_have_in_bin_is_in_usr_bin() {
        let (_folder, mut tree) = tree("xtask-tree-merged-test");
        tree.unpack(entry("bin", 0o755, Kind::Folder)).unwrap();
        tree.unpack(entry("bin/a", 0o4755, Kind::File(b"first"))).unwrap();
        tree.unpack(entry("bin/b", 0o4755, Kind::Hardlink("bin/a".into()))).unwrap();
        assert_eq!(fs::read(tree.folder().join("usr/bin/b")).unwrap(), b"first");
        tree.replace(entry("usr/bin/a", 0o644, Kind::File(b"second"))).unwrap();
        // The other name is another file now, as it is when dpkg replaces one.
        assert_eq!(fs::read(tree.folder().join("usr/bin/b")).unwrap(), b"first");
        let mut archive = Archive::default();
        tree.archive(&mut archive, |path| path == "usr/bin/b").unwrap();
        let archive = archive.finish();
        // Mode, user and group are not those of the file in the folder.
        assert_eq!(&archive[14..38], b"000089ED0000000700000008");
        let owners = tree.owners().unwrap();
        for line in ["\"/usr/bin/a\" uid 7\n", "\"/usr/bin/b\" mode 0104755\n"] {
            assert!(owners.contains(line), "{owners}");
        }
        assert!(!owners.contains("\"/usr/bin/a\" mode"), "{owners}");
    }

    #[test]
    fn folders_go_with_what_is_in_them() {
        let (_folder, mut tree) = tree("xtask-tree-gone-test");
        tree.add_file("etc/deep/a", b"").unwrap();
        tree.remove("etc/deep").unwrap();
        tree.remove("etc/none").unwrap();
        assert!(!tree.folder().join("etc/deep").exists());
        assert!(!tree.owners().unwrap().contains("deep"));
        tree.add_file("etc/deep", b"a file").unwrap();
    }

    #[test]
    fn nothing_is_written_outside() {
        let (folder, mut tree) = tree("xtask-tree-outside-test");
        let outside = folder.path().join("outside");
        folders::make(&outside).unwrap();
        tree.add_folder("etc").unwrap();
        tree.add_symlink("etc/link", outside.to_str().unwrap()).unwrap();
        let failure = tree.unpack(entry("etc/link/a", 0o644, Kind::File(b"")));
        let failure = failure.unwrap_err().to_string();
        assert!(failure.ends_with("in etc/link, which is no folder"), "{failure}");
        // The link itself is replaced, not what it points to.
        folders::write(&outside.join("file"), b"kept").unwrap();
        tree.add_symlink("etc/a", outside.join("file").to_str().unwrap()).unwrap();
        tree.add_file("etc/a", b"new").unwrap();
        assert_eq!(folders::read(&outside.join("file")).unwrap(), b"kept");
    }
}
