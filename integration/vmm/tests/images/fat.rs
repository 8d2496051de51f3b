//! File systems of the FAT kind.

use std::io::{Cursor, Write};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};

/// How much of each file is written before the next one has a turn: all of them lie in pieces.
const TURN: usize = 64 << 10;

/// A volume of so many bytes with these files: path and content. The folders that they are in are
/// made.
pub(super) fn volume(bytes: usize, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut volume = vec![0; bytes];
    format_volume(Cursor::new(&mut volume[..]), FormatVolumeOptions::new()).unwrap();
    let system = FileSystem::new(Cursor::new(&mut volume[..]), FsOptions::new()).unwrap();
    let root = system.root_dir();
    for (path, _) in files {
        for (end, _) in path.match_indices('/') {
            root.create_dir(&path[..end]).unwrap();
        }
    }
    let mut open: Vec<_> = files
        .iter()
        .map(|(path, content)| (root.create_file(path).unwrap(), &content[..]))
        .collect();
    while open.iter().any(|(_, rest)| !rest.is_empty()) {
        for (file, rest) in &mut open {
            let (turn, later) = rest.split_at(rest.len().min(TURN));
            file.write_all(turn).unwrap();
            *rest = later;
        }
    }
    drop(open);
    drop(root);
    system.unmount().unwrap();
    volume
}
