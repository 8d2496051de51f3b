//! The answer on standard output: on a terminal for a person, else as the VMM wrote it.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal, Write};

use serde_json::Value;

use crate::error::Error;
use crate::request::Answer;

/// Shows the body of an answer; an empty one is nothing. Whoever does not read to the end has read
/// enough.
///
/// # Errors
/// [`Error::NotJson`] when it is no JSON, but should be; [`Error::Output`].
pub(crate) fn show(body: &[u8], answer: Answer) -> Result<(), Error> {
    let mut output = io::stdout().lock();
    let Some(text) = shown(body, answer, output.is_terminal())? else { return Ok(()) };
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::Output { source: error }),
        _ => Ok(()),
    }
}

fn shown(body: &[u8], answer: Answer, is_for_people: bool) -> Result<Option<String>, Error> {
    if body.is_empty() {
        return Ok(None);
    }
    let mut text = match answer {
        Answer::Json => {
            let not_json = |source| Error::NotJson { source };
            let value: Value = serde_json::from_slice(body).map_err(not_json)?;
            match is_for_people {
                true => serde_json::to_string_pretty(&value).map_err(not_json)?,
                // It is JSON, thus UTF-8.
                false => String::from_utf8_lossy(body).into_owned(),
            }
        }
        Answer::Text => String::from_utf8_lossy(body).into_owned(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(Some(if is_for_people { harmless(&text) } else { text }))
}

/// Without anything that a terminal takes for orders, or that changes the order of text. In JSON,
/// such characters are in strings only: they are escaped as there.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let is_plain =
            matches!(character, '\n' | '"' | '\'' | '\\') || character.escape_debug().count() == 1;
        if is_plain {
            shown.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_as_they_came_but_for_people() {
        let show = |body: &str, people| shown(body.as_bytes(), Answer::Json, people).unwrap();
        assert_eq!(show("", true), None);
        assert_eq!(show("{\"a\":1}", false).unwrap(), "{\"a\":1}\n");
        assert_eq!(show("{\"a\":1}", true).unwrap(), "{\n  \"a\": 1\n}\n");
        let odd = show("[\"\u{9b}2J\u{202e}\u{e0001}\\u001b[2J é\"]", true).unwrap();
        assert!(
            odd.chars().all(|c| c == '\n' || c.escape_debug().count() == 1 || "\"\\".contains(c))
        );
        assert_eq!(
            serde_json::from_str::<Vec<String>>(&odd).unwrap(),
            ["\u{9b}2J\u{202e}\u{e0001}\u{1b}[2J é"]
        );
        assert!(shown(b"<html>", Answer::Json, false).is_err());
        assert!(shown(b"\xff\xfe", Answer::Json, true).is_err());
        let text = shown(b"a 1\x1b[2J\n", Answer::Text, true).unwrap().unwrap();
        assert_eq!(text, "a 1\\u001b[2J\n");
    }
}
