//! The modules of a crate and what each of them names, read from its source.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, ImplItemFn, Item, ItemMod, ItemUse, Meta, Token, UseTree, Visibility};

use crate::failure::{Failure, Result};

/// `crate::a::B` is `["crate", "a", "B"]`.
pub(super) type Names = Vec<String>;

/// Gives the text of a file, if there is one of that name.
pub(super) type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// A module, in a file of its own or in that of its parent.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) file: PathBuf,
    pub(super) parent: Option<usize>,
    /// What can be named in it. A module and a function may have the same name.
    pub(super) names: BTreeMap<String, Vec<Name>>,
    /// Modules of which it takes every name.
    pub(super) globs: BTreeSet<Names>,
    /// Every path that is written in it, those of `use` and within macros included.
    pub(super) paths: BTreeSet<Names>,
}

/// What a name in a module stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// Something that the module itself defines.
    Item,
    /// A child, by its place in the list.
    Module(usize),
    /// What a `use` brought in.
    Alias(Names),
}

/// Reads the module in `root` and all below it but those of tests. The root is the first.
pub(super) fn read(root: &Path, read: Read<'_>) -> Result<Vec<Module>> {
    let mut reader = Reader { modules: Vec::new(), read };
    let folder = root.parent().unwrap_or(Path::new("")).to_path_buf();
    reader.file(root, None, &folder)?;
    Ok(reader.modules)
}

struct Reader<'a> {
    modules: Vec<Module>,
    read: Read<'a>,
}

impl Reader<'_> {
    /// Reads a module's file; the files of its children are in `folder`.
    fn file(&mut self, file: &Path, parent: Option<usize>, folder: &Path) -> Result<usize> {
        let text = (self.read)(file)
            .ok_or_else(|| Failure::new(format!("there is no {}", file.display())))?;
        let parsed = syn::parse_file(&text)
            .map_err(|error| Failure::new(format!("cannot parse {}: {error}", file.display())))?;
        let module = self.module(file, parent);
        self.items(module, &parsed.items, folder)?;
        Ok(module)
    }

    fn module(&mut self, file: &Path, parent: Option<usize>) -> usize {
        self.modules.push(Module {
            file: file.into(),
            parent,
            names: BTreeMap::new(),
            globs: BTreeSet::new(),
            paths: BTreeSet::new(),
        });
        self.modules.len() - 1
    }

    fn items(&mut self, module: usize, items: &[Item], folder: &Path) -> Result<()> {
        for item in items.iter().filter(|item| !is_for_tests(attributes(item))) {
            if let Item::Mod(child) = item {
                let name = child.ident.to_string();
                let child = self.child(module, child, &name, folder)?;
                self.name(module, name, Name::Module(child));
                continue;
            }
            if let Some(name) = defined(item) {
                // A macro for all is a name of the root, and this file's all the same.
                let is_exported =
                    attributes(item).iter().any(|a| a.path().is_ident("macro_export"));
                if is_exported && module != 0 {
                    let alias = self.path_of(module, name);
                    self.name(0, name.to_string(), Name::Alias(alias));
                }
                self.name(module, name.to_string(), Name::Item);
            }
            let mut written = Written::default();
            written.visit_item(item);
            self.modules[module].paths.append(&mut written.paths);
            self.modules[module].globs.append(&mut written.globs);
            for (name, path) in written.aliases {
                self.name(module, name, Name::Alias(path));
            }
        }
        Ok(())
    }

    fn child(&mut self, at: usize, item: &ItemMod, name: &str, folder: &Path) -> Result<usize> {
        let below = folder.join(name);
        let parent = self.modules[at].file.clone();
        if let Some((_, items)) = &item.content {
            let child = self.module(&parent, Some(at));
            self.items(child, items, &below)?;
            return Ok(child);
        }
        if let Some(path) = given_path(&item.attrs) {
            let file = parent.with_file_name(path);
            let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
            return self.file(&file, Some(at), &folder);
        }
        let beside = below.with_extension("rs");
        let file = if (self.read)(&beside).is_some() { beside } else { below.join("mod.rs") };
        self.file(&file, Some(at), &below)
    }

    fn name(&mut self, module: usize, name: String, what: Name) {
        let meanings = self.modules[module].names.entry(name).or_default();
        if !meanings.contains(&what) {
            meanings.push(what);
        }
    }

    /// A path to an item from the root, by a name that no source has: the modules between are still
    /// being read.
    fn path_of(&mut self, module: usize, name: &Ident) -> Names {
        let hidden = format!("<{module}>");
        self.name(0, hidden.clone(), Name::Module(module));
        vec!["crate".into(), hidden, name.to_string()]
    }
}

/// What is written in an item.
#[derive(Debug, Default)]
struct Written {
    paths: BTreeSet<Names>,
    aliases: Vec<(String, Names)>,
    globs: BTreeSet<Names>,
}

impl Written {
    fn use_tree(&mut self, before: &Names, tree: &UseTree) {
        let with = |ident: &Ident| {
            let itself = ident == "self" && !before.is_empty();
            let name = (!itself).then(|| ident.to_string());
            before.iter().cloned().chain(name).collect::<Names>()
        };
        match tree {
            UseTree::Path(path) => self.use_tree(&with(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|t| self.use_tree(before, t)),
            UseTree::Glob(_) => {
                // Only a module can be asked for all its names: what they are, paths will tell.
                self.paths.insert(before.iter().cloned().chain(["*".into()]).collect());
                self.globs.insert(before.clone());
            }
            UseTree::Name(name) => {
                let path = with(&name.ident);
                if let Some(last) = path.last() {
                    self.aliases.push((last.clone(), path.clone()));
                }
                self.paths.insert(path);
            }
            UseTree::Rename(rename) => {
                let path = with(&rename.ident);
                self.aliases.push((rename.rename.to_string(), path.clone()));
                self.paths.insert(path);
            }
        }
    }

    /// The paths within a macro, whatever else it is made of.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Names::new();
        let mut colons = 0;
        for token in tokens {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => {
                    path.push(ident.to_string());
                    colons = 0;
                }
                other => {
                    self.path_of_macro(&mut path);
                    colons = 0;
                    match other {
                        TokenTree::Ident(ident) => path.push(ident.to_string()),
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        _ => {}
                    }
                }
            }
        }
        self.path_of_macro(&mut path);
    }

    /// One word alone may be anything there.
    fn path_of_macro(&mut self, path: &mut Names) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.paths.insert(path);
        }
    }
}

impl<'ast> Visit<'ast> for Written {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.use_tree(&Names::new(), &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.paths.insert(path.segments.iter().map(|part| part.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    /// Neither `pub(crate)` nor an attribute imports anything.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

/// `#[cfg(test)]`, or `all` of that and something else.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    fn needs_test(condition: &Meta) -> bool {
        match condition {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(list) if list.path.is_ident("all") => list
                .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
                .is_ok_and(|conditions| conditions.iter().any(needs_test)),
            _ => false,
        }
    }
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        attribute.parse_args::<Meta>().is_ok_and(|condition| needs_test(&condition))
    })
}

/// `#[path = "…"]`.
fn given_path(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find(|a| a.path().is_ident("path")).and_then(|attribute| {
        let syn::Expr::Lit(value) = &attribute.meta.require_name_value().ok()?.value else {
            return None;
        };
        match &value.lit {
            syn::Lit::Str(path) => Some(path.value()),
            _ => None,
        }
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The name that an item gives to its module, modules and imports aside.
fn defined(item: &Item) -> Option<&Ident> {
    match item {
        Item::Const(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Fn(item) => Some(&item.sig.ident),
        Item::Macro(item) => item.ident.as_ref(),
        Item::Static(item) => Some(&item.ident),
        Item::Struct(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::TraitAlias(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}
