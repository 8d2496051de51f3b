//! What a guest sees of the NVRAM: its node and `/options`, and the RTAS calls (LoPAPR §7.3.1).

use vm_memory::GuestAddress;

use super::{Nvram, common, variables, with_variable};
use crate::cas::TreeChange;
use crate::fdt::{FdtError, Tree};
use crate::platform::{Describe, Device, PropertyObserver};
use crate::rtas::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome, RtasStatus};

const FETCH: usize = 0;
const STORE: usize = 1;
const CALLS: &[RtasCall] =
    &[RtasCall::new("nvram-fetch", &[3], 2), RtasCall::new("nvram-store", &[3], 2)];

/// The node whose properties are the configuration variables (IEEE 1275 §3.5).
const OPTIONS: &str = "/options";

/// How many variables the tree has at most, of no more bytes than the NVRAM has. There are some forty
/// that specifications know.
const SHOWN_MAX: usize = 256;

/// Those of which the tree says a default, which a variable takes the place of.
const DEFAULTS: [&str; 1] = ["auto-boot?"];

/// What properties of `/options` say of the machine, and not of what somebody wants: variables of
/// these names are kept, and have no effect.
const FIXED: [&str; 4] = ["real-mode?", "little-endian?", "input-device", "output-device"];

/// What properties of any node say, and no variable does.
const OF_NODES: [&str; 9] = [
    "name",
    "reg",
    "ranges",
    "phandle",
    "linux,phandle",
    "device_type",
    "compatible",
    "model",
    "status",
];

impl Nvram {
    /// Inputs: byte offset in the NVRAM, address and size of a buffer. Output: the number of bytes
    /// that were copied.
    fn fetch(&self, call: &mut RtasInvocation<'_>) -> RtasStatus {
        let Some((offset, buffer, length)) = self.arguments(call) else {
            return RtasStatus::PARAMETER_ERROR;
        };
        let content = self.content();
        let data = content.get(offset..offset + length).map(<[u8]>::to_vec);
        // Guest memory may be slow.
        drop(content);
        match data.map(|data| call.ram.write(buffer, &data)) {
            Some(Ok(())) => done(call, length),
            _ => RtasStatus::PARAMETER_ERROR,
        }
    }

    /// Inputs and output: as of [`fetch`](Self::fetch).
    fn store(&self, call: &mut RtasInvocation<'_>) -> RtasStatus {
        let Some((offset, buffer, length)) = self.arguments(call) else {
            return RtasStatus::PARAMETER_ERROR;
        };
        let mut data = vec![0; length];
        if call.ram.read(buffer, &mut data).is_err() {
            return RtasStatus::PARAMETER_ERROR;
        }
        let mut content = self.content();
        let Some(place) = content.get_mut(offset..offset + length) else {
            return RtasStatus::PARAMETER_ERROR;
        };
        if self.store.store(offset, &data).is_err() {
            return RtasStatus::HARDWARE_ERROR;
        }
        place.copy_from_slice(&data);
        drop(content);
        done(call, length)
    }

    /// Offset, buffer and length of a call, if all of it is within the NVRAM and in RAM.
    fn arguments(&self, call: &RtasInvocation<'_>) -> Option<(usize, GuestAddress, usize)> {
        let &[offset, buffer, length] = call.inputs else { return None };
        let (offset, bytes) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
        let buffer = GuestAddress(buffer.into());
        let is_within = offset.checked_add(bytes)? <= self.size_bytes();
        let is_ram = || call.ram.check_ram(buffer, length.into()).is_ok();
        (is_within && is_ram()).then_some((offset, buffer, bytes))
    }

    /// Whether there is room for a variable with this value.
    fn has_room(&self, name: &str, value: &[u8]) -> bool {
        let changed = with_variable(&self.content(), name, Some(value));
        changed.is_ok()
    }
}

fn done(call: &mut RtasInvocation<'_>, bytes: usize) -> RtasStatus {
    if let [copied, ..] = call.outputs {
        // No NVRAM has more bytes.
        *copied = bytes as u32;
    }
    RtasStatus::SUCCESS
}

impl RtasHandler for Nvram {
    fn calls(&self) -> &[RtasCall] {
        CALLS
    }

    fn call(&self, number: usize, invocation: &mut RtasInvocation<'_>) -> RtasOutcome {
        match number {
            FETCH => self.fetch(invocation).into(),
            STORE => self.store(invocation).into(),
            _ => RtasStatus::PARAMETER_ERROR.into(),
        }
    }
}

impl Device for Nvram {
    fn id(&self) -> &str {
        &self.id
    }

    /// The node, and the variables: "The contents of this NVRAM partition are represented in the OF
    /// device tree as properties (i.e., (name, value) pairs) in the /options node" (§8.4.1.1).
    fn describe(&self, tree: &mut Tree, _: &Describe<'_>) -> Result<(), FdtError> {
        tree.node(&format!("/vdevice/{}", self.id))?
            .text("device_type", &["nvram"])?
            .cell("reg", self.unit)?
            .cell("#bytes", self.size_bytes() as u32)?;
        let content = self.content();
        let (mut shown, mut shown_bytes) = (0, 0);
        // Partitions that are none have no variables.
        for (name, value) in variables::all(common(&content).unwrap_or_default()) {
            let is_new = tree.value(OPTIONS, name).is_none();
            if !is_shown(name) || !is_new && !DEFAULTS.contains(&name) {
                continue;
            }
            let value = property(name, value);
            shown += 1;
            shown_bytes += value.len();
            if shown > SHOWN_MAX || shown_bytes > content.len() {
                log::warn!("the NVRAM has more variables than the tree: from {name} on");
                break;
            }
            let (path, name) = (OPTIONS.to_owned(), name.to_owned());
            tree.apply(&[TreeChange::Set { path, name, value }])?;
        }
        Ok(())
    }

    fn rtas(&self) -> Option<&dyn RtasHandler> {
        Some(self)
    }

    fn properties(&self) -> Option<&dyn PropertyObserver> {
        Some(self)
    }

    #[cfg(feature = "serde")]
    fn state(&self) -> Option<&dyn crate::platform::SaveState> {
        Some(self)
    }

    /// A guest before may have destroyed the content.
    fn reset(&self) {
        self.messages.reset();
        self.repair();
    }
}

/// "While OF is available, the OS can alter the contents of these properties by using the setprop
/// client interface service" (§8.4.1.1).
impl PropertyObserver for Nvram {
    fn may_set(&self, path: &str, name: &str, value: &[u8]) -> bool {
        !is_setting(path, name) || self.has_room(name, text(name, value))
    }

    fn was_set(&self, path: &str, name: &str, value: &[u8]) {
        if !is_setting(path, name) {
            return;
        }
        if let Err(error) = self.change_variable(name, Some(text(name, value))) {
            let lasts = "lasts until the machine starts again";
            self.messages.warn(format_args!("{name} of {OPTIONS} {lasts}: {error}"));
        }
    }
}

/// Whether a property is a variable that is kept.
fn is_setting(path: &str, name: &str) -> bool {
    path == OPTIONS && is_shown(name)
}

/// Whether the tree has a property for a variable of this name.
fn is_shown(name: &str) -> bool {
    // As the tree takes them (Devicetree specification v0.4, §2.2.4.1): names of variables can have
    // other signs.
    let is_char = |c: u8| c.is_ascii_alphanumeric() || b",._+?#-".contains(&c);
    variables::is_name(name)
        && name.bytes().all(is_char)
        && !name.starts_with('#')
        && !FIXED.contains(&name)
        && !OF_NODES.contains(&name)
}

/// The variable that is bytes and no text (§8.4.1.1.3).
const BYTES: &str = "oem-logo";

/// A variable's value as that of a property.
fn property(name: &str, mut value: Vec<u8>) -> Vec<u8> {
    if name != BYTES {
        value.push(0);
    }
    value
}

/// A property's value as that of a variable.
fn text<'v>(name: &str, value: &'v [u8]) -> &'v [u8] {
    match value.strip_suffix(&[0]) {
        Some(text) if name != BYTES => text,
        _ => value,
    }
}
