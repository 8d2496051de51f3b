//! Circles in a graph of imports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::path::Path;

use super::imports::Imports;

/// Files each of which imports the next, and the last the first.
pub(super) type Circle<'a> = Vec<&'a Path>;

/// For each import that is part of a circle the shortest one, each once, from short to long.
pub(super) fn all(imports: &Imports) -> Vec<Circle<'_>> {
    let mut circles = BTreeSet::new();
    for (from, to) in imports.iter().flat_map(|(from, to)| to.keys().map(move |to| (from, to))) {
        let Some(mut circle) = shortest_way(imports, to, from) else { continue };
        let first =
            circle.iter().enumerate().min_by_key(|(_, file)| **file).map_or(0, |(at, _)| at);
        circle.rotate_left(first);
        circles.insert((circle.len(), circle));
    }
    circles.into_iter().map(|(_, circle)| circle).collect()
}

/// `a.rs → b.rs → a.rs`, and below it how each comes to import the next.
pub(super) fn told(circle: &[&Path], imports: &Imports) -> String {
    let ring = || circle.iter().chain(circle.first());
    let files: Vec<String> = ring().map(|file| file.display().to_string()).collect();
    let mut text = files.join(" → ");
    for (from, to) in ring().zip(ring().skip(1)) {
        let path = imports.get(*from).and_then(|files| files.get(*to)).map_or("", String::as_str);
        let _ = write!(text, "\n    {} names {path}", from.display());
    }
    text
}

fn shortest_way<'a>(imports: &'a Imports, from: &'a Path, to: &'a Path) -> Option<Circle<'a>> {
    let mut came_from: BTreeMap<&Path, &Path> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(file) = queue.pop_front() {
        if file == to {
            let way = std::iter::successors(Some(file), |file| {
                if *file == from { None } else { came_from.get(file).copied() }
            });
            let mut way: Circle<'_> = way.collect();
            way.reverse();
            return Some(way);
        }
        for next in imports.get(file).into_iter().flat_map(BTreeMap::keys) {
            if next != from && !came_from.contains_key(next.as_path()) {
                came_from.insert(next, file);
                queue.push_back(next);
            }
        }
    }
    None
}
