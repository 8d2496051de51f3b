//! What is to be tried, in which order.

use std::collections::VecDeque;

use super::{AttemptError, BootDevice};
use crate::limits::{MAX_BOOT_DEVICES, MAX_BOOTSPEC_BYTES, MAX_PATH_BYTES};
use crate::tree::DeviceTree;

/// What is to be tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    first: Vec<String>,
    only: bool,
}

/// Something to be tried.
#[derive(Debug)]
pub(super) struct Specifier {
    pub(super) text: String,
    /// The arguments of a program that comes with none of its own.
    pub(super) program_arguments: Option<String>,
}

impl Choice {
    /// What the machine's variables say, and then all of its devices in their order.
    ///
    /// The variables are properties of `/options` (IEEE 1275 §7.4.3.5): `boot-device`, device
    /// specifiers with blanks between them, and `boot-file`, the arguments of a program that is
    /// found by them and comes with none of its own. There is no prompt where somebody could say
    /// `boot`, so `auto-boot?` is taken as true.
    pub fn automatic() -> Self {
        Self::default()
    }

    /// This device specifier, and nothing else: an alias or a path, with arguments, such as
    /// `disk0:1` or `disk:2,\boot\grub`.
    pub fn only(specifier: impl Into<String>) -> Self {
        Self { first: vec![specifier.into()], only: true }
    }

    /// This device specifier, if there is one, before all others.
    #[must_use]
    pub fn with_first(mut self, specifier: Option<String>) -> Self {
        self.first.splice(0..0, specifier);
        self
    }

    /// All of it, each once.
    pub(super) fn specifiers(
        &self,
        tree: &DeviceTree,
        devices: &[BootDevice],
    ) -> VecDeque<Specifier> {
        let given = |text: &String| Specifier { text: text.clone(), program_arguments: None };
        let mut list: Vec<Specifier> = self.first.iter().map(given).collect();
        if !self.only {
            list.extend(of_variables(tree));
            list.extend(devices.iter().map(|device| given(&device.path)));
        }
        let mut known = Vec::new();
        list.retain(|specifier| {
            // By the path that it stands for, where it stands for one.
            let name = resolve(tree, &specifier.text);
            let name = name.unwrap_or_else(|_| (specifier.text.clone(), String::new()));
            let is_new = !known.contains(&name);
            known.push(name);
            is_new
        });
        list.into()
    }
}

/// The path of the node that a device specifier names, and the arguments behind it.
///
/// Arguments may have slashes in them, of either kind: `:1,/boot/grub` is a file as well.
pub(super) fn resolve(
    tree: &DeviceTree,
    specifier: &str,
) -> Result<(String, String), AttemptError> {
    if specifier.len() > MAX_PATH_BYTES {
        return Err(AttemptError::TooLong);
    }
    if let Some(found) = tree.resolve(specifier) {
        return Ok((tree.path(found.node), found.arguments.to_owned()));
    }
    let (device, arguments) = specifier.split_once(':').ok_or(AttemptError::NoDevice)?;
    let node = tree.find(device).ok_or(AttemptError::NoDevice)?;
    Ok((tree.path(node), arguments.to_owned()))
}

/// Those of `boot-device`. A client may have set it, so it may be anything.
fn of_variables(tree: &DeviceTree) -> Vec<Specifier> {
    let arguments = variable(tree, "boot-file").filter(|text| text.len() <= MAX_BOOTSPEC_BYTES);
    let devices = variable(tree, "boot-device").unwrap_or_default();
    let words = devices.split(' ').filter(|word| !word.is_empty()).take(MAX_BOOT_DEVICES);
    let specifier = |word: &str| Specifier {
        text: word.to_owned(),
        program_arguments: arguments.map(str::to_owned),
    };
    words.map(specifier).collect()
}

/// A variable that is text and not empty.
fn variable<'t>(tree: &'t DeviceTree, name: &str) -> Option<&'t str> {
    let value = tree.property(tree.find("/options")?, name)?;
    let text = value.split(|&byte| byte == 0).next()?;
    std::str::from_utf8(text)
        .ok()
        .map(|text| text.trim_matches(' '))
        .filter(|text| !text.is_empty())
}
