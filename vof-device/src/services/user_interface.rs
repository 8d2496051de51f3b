//! The user interface (IEEE 1275 §6.3.2.6): there is none, but clients ask it for things that have
//! no service of their own.

use arch_ppc64::StopReason;

use super::{Call, Reply};
use crate::args::Failed;
use crate::limits::MAX_PHRASE_BYTES;
use crate::package::Throw;

/// A phrase that clients are known to send, and what it does.
struct Phrase {
    words: &'static str,
    stop: Option<StopReason>,
}

/// All of them. GRUB sends `output-device output` when it starts, `reset-all` for its command
/// `reboot`, and for `halt` those that switch off, one after the other, until one does.
/// `reset-all` and `boot` are IEEE 1275's (Annex A), and so is `output`: the console is the
/// output device, whatever is said.
#[rustfmt::skip]
static PHRASES: [Phrase; 6] = [
    Phrase { words: "output-device output", stop: None },
    Phrase { words: "reset-all", stop: Some(StopReason::Reset) },
    Phrase { words: "boot", stop: Some(StopReason::Reset) },
    Phrase { words: "power-off", stop: Some(StopReason::PowerOff) },
    Phrase { words: "poweroff", stop: Some(StopReason::PowerOff) },
    Phrase { words: "shut-down", stop: Some(StopReason::PowerOff) },
];

/// The phrases, for the table of what is there.
#[cfg(any(test, feature = "test-utils"))]
pub(crate) fn phrases() -> impl Iterator<Item = &'static str> {
    PHRASES.iter().map(|phrase| phrase.words)
}

/// interpret (phrase, …) → what it threw; 0 for a phrase that is known.
///
/// Nothing is interpreted: a phrase is in the table, or it is a word that there is not.
pub(super) fn interpret(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [phrase] = call.arguments();
    let mut text = [0; MAX_PHRASE_BYTES + 1];
    let phrase = call.guest.text(phrase, &mut text)?;
    let words = phrase.trim_ascii();
    match PHRASES.iter().find(|known| known.words.as_bytes() == words) {
        Some(known) => Ok(known.stop.map(Reply::stopping).unwrap_or_default().and(0)),
        None => {
            let shown = words.get(..SHOWN_BYTES).unwrap_or(words).escape_ascii();
            call.state.complaints.warn(format_args!("interpret: nobody here knows \"{shown}\""));
            Ok((Throw::UNDEFINED_WORD.0 as u32).into())
        }
    }
}

/// How much of a phrase goes to the log.
const SHOWN_BYTES: usize = 80;

/// set-callback (function) → the function that was set before, 0 for none.
///
/// A callback is how the user interface reaches into a client that a user has stopped; it is kept
/// for the client that asks for it, and not called.
pub(super) fn set_callback(call: &mut Call<'_>) -> Result<Reply, Failed> {
    let [function] = call.arguments();
    Ok(std::mem::replace(&mut call.state.callback, function).into())
}
