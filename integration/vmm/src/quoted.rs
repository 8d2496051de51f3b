//! Text of others in messages: what a file, a path or an argument has in it is shown so that it
//! cannot be taken for anything else, and does not fill the screen.
//!
//! A message is one line. Characters that are not shown as themselves (control characters, line
//! ends, marks that change the direction of text) and bytes that are no UTF-8 are escaped as in
//! Rust's literals. What is escaped already stays as it is.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest quotation, in characters.
const QUOTED_CHARS_MAX: usize = 300;

/// The longest message, in characters.
const MESSAGE_CHARS_MAX: usize = 2000;

/// Text that somebody else wrote.
pub(crate) fn text(text: &str) -> String {
    cut(escaped(text.as_bytes()), QUOTED_CHARS_MAX)
}

/// A path that somebody else chose.
pub(crate) fn path(path: &Path) -> String {
    cut(escaped(path.as_os_str().as_bytes()), QUOTED_CHARS_MAX)
}

/// A whole message of one line, whatever was put together to it.
pub fn message(message: &str) -> String {
    cut(escaped(message.as_bytes()), MESSAGE_CHARS_MAX)
}

fn escaped(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\'' | '\\' => shown.push(character),
                _ => shown.extend(character.escape_debug()),
            }
        }
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    shown
}

/// Leaves out the middle of what is too long: the end says what was expected, and where.
fn cut(text: String, max: usize) -> String {
    let count = text.chars().count();
    if count <= max {
        return text;
    }
    let begin: String = text.chars().take(max / 2).collect();
    let end: String = text.chars().skip(count - max / 2).collect();
    format!("{begin}[... {} more ...]{end}", count - max / 2 * 2)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn what_is_not_plain_is_escaped_once() {
        for (raw, shown) in [
            ("plain, \"quoted\", it's C:\\ü 漢", "plain, \"quoted\", it's C:\\ü 漢"),
            ("\x1b[31mred\x07", "\\u{1b}[31mred\\u{7}"),
            ("a\r\nb\tc\0", "a\\r\\nb\\tc\\0"),
            // C1 control, a direction mark, the end of a line, and a space of no width.
            ("\u{9b}\u{202e}\u{2028}\u{200b}", "\\u{9b}\\u{202e}\\u{2028}\\u{200b}"),
        ] {
            assert_eq!(text(raw), shown);
            assert_eq!(message(shown), shown, "twice");
        }
        let odd = Path::new(OsStr::from_bytes(b"/tmp/\xff\xfe/a\nb"));
        assert_eq!(path(odd), "/tmp/\\xff\\xfe/a\\nb");
    }

    #[test]
    fn what_is_long_keeps_its_begin_and_end() {
        let long = format!("begin{}end", "ä".repeat(1 << 20));
        let shown = text(&long);
        assert!(shown.starts_with("begin") && shown.ends_with("end"), "{shown}");
        assert!(shown.contains("more ..."), "{shown}");
        assert!(shown.chars().count() < QUOTED_CHARS_MAX + 40, "{shown}");
        let most = "x".repeat(QUOTED_CHARS_MAX);
        assert_eq!(text(&most), most);
    }
}
