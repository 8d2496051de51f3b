//! Which file imports which: every path of a crate is followed to the file that defines its name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::modules::{Module, Name};

/// For each file those that it imports, and a path that does it.
pub(super) type Imports = BTreeMap<PathBuf, BTreeMap<PathBuf, String>>;

/// The imports among the files of a crate, but those between a module and one within it.
pub(super) fn of(modules: &[Module]) -> Imports {
    let scope = Scope { modules };
    let mut imports = Imports::new();
    for (at, module) in modules.iter().enumerate() {
        for path in &module.paths {
            for target in scope.resolve(at, path, &mut Seen::new()) {
                let Target::Item(to) = target else { continue };
                let (from_file, to_file) = (&module.file, &modules[to].file);
                if from_file == to_file || scope.is_within(at, to) || scope.is_within(to, at) {
                    continue;
                }
                let of_file = imports.entry(from_file.clone()).or_default();
                // Of several paths the longest says most.
                let told = of_file.entry(to_file.clone()).or_default();
                let path = path.join("::");
                if path.len() > told.len() {
                    *told = path;
                }
            }
        }
    }
    imports
}

/// What a path leads to.
#[derive(Debug, Clone, Copy)]
enum Target {
    Module(usize),
    /// Something that this module defines.
    Item(usize),
}

/// Names whose imports are being followed already: they may lead back to themselves.
type Seen<'a> = BTreeSet<(usize, &'a str)>;

#[derive(Debug, Clone, Copy)]
struct Scope<'a> {
    modules: &'a [Module],
}

impl<'a> Scope<'a> {
    /// What a path in a module means; nothing where it leads out of the crate.
    fn resolve(self, at: usize, path: &'a [String], seen: &mut Seen<'a>) -> Vec<Target> {
        let Some((first, mut rest)) = path.split_first() else { return Vec::new() };
        let start = match first.as_str() {
            "crate" => 0,
            "self" => at,
            "super" => {
                let mut up = self.modules[at].parent;
                while let Some(("super", more)) = rest.split_first().map(|(f, m)| (f.as_str(), m)) {
                    up = up.and_then(|module| self.modules[module].parent);
                    rest = more;
                }
                let Some(up) = up else { return Vec::new() };
                up
            }
            _ => {
                let found = self.lookup(at, first, seen);
                return self.follow(found, rest, seen);
            }
        };
        self.descend(start, rest, seen)
    }

    /// The same from a module that is known to be the right one.
    fn descend(self, at: usize, path: &'a [String], seen: &mut Seen<'a>) -> Vec<Target> {
        let Some((name, rest)) = path.split_first() else { return vec![Target::Module(at)] };
        let found = self.lookup(at, name, seen);
        if found.is_empty() {
            // Made by a macro of this module, or all its names.
            return vec![Target::Item(at)];
        }
        self.follow(found, rest, seen)
    }

    /// What comes behind a name: of a module, its names; of others, nothing that has a file.
    fn follow(self, found: Vec<Target>, rest: &'a [String], seen: &mut Seen<'a>) -> Vec<Target> {
        if rest.is_empty() {
            return found;
        }
        let module = found.iter().find_map(|target| match target {
            Target::Module(module) => Some(*module),
            Target::Item(_) => None,
        });
        module.map_or(found, |module| self.descend(module, rest, seen))
    }

    fn lookup(self, at: usize, name: &'a str, seen: &mut Seen<'a>) -> Vec<Target> {
        let is_new = seen.insert((at, name));
        let module = &self.modules[at];
        let mut found = Vec::new();
        for meaning in module.names.get(name).into_iter().flatten() {
            match meaning {
                Name::Item => found.push(Target::Item(at)),
                Name::Module(child) => found.push(Target::Module(*child)),
                Name::Alias(path) if is_new => {
                    let targets = self.resolve(at, path, seen);
                    // What comes from another crate is here by this file's import of it.
                    let is_foreign = targets.is_empty();
                    found.extend(targets);
                    found.extend(is_foreign.then_some(Target::Item(at)));
                }
                Name::Alias(_) => {}
            }
        }
        if !found.is_empty() || !is_new {
            return found;
        }
        for glob in &module.globs {
            for target in self.resolve(at, glob, seen) {
                if let Target::Module(other) = target {
                    found.extend(self.lookup(other, name, seen));
                }
            }
        }
        found
    }

    /// Whether the first module is the second, or one within it.
    fn is_within(self, inner: usize, outer: usize) -> bool {
        let up = |module: &usize| self.modules[*module].parent;
        // An inline module is part of its file, and the file's relations are its own.
        let file = &self.modules[outer].file;
        std::iter::successors(Some(inner), up).any(|module| self.modules[module].file == *file)
    }
}
