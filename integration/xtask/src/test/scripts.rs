//! Documents whose scripts are run, and that show what those print.
//!
//! All blocks of `sh` are one run of bash, in order; a block of `text` or `json` right behind one is what
//! it prints. In those, `…` is anything. A number may be another one in JSON, keys may not; JSON in one
//! line is printed with the same blanks and in the same order.

use serde_json::Value;

use crate::failure::{Failure, Result};

/// A script of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    /// The line in which it begins.
    line: usize,
    text: String,
    prints: Option<Shown>,
}

/// What a document shows of what a script prints.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    Text(String),
    Json(String),
}

/// The scripts of a document, in order.
pub(super) fn of(document: &str) -> Vec<Script> {
    let mut scripts: Vec<Script> = Vec::new();
    let mut lines = document.lines().zip(1..);
    // Nothing but blank lines is between a script and what it prints.
    let mut is_behind_script = false;
    while let Some((line, number)) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            is_behind_script &= line.trim().is_empty();
            continue;
        };
        let block: Vec<&str> =
            lines.by_ref().map(|(line, _)| line).take_while(|line| *line != "```").collect();
        let text = block.join("\n") + "\n";
        let shown = match kind {
            "sh" => {
                scripts.push(Script { line: number, text, prints: None });
                is_behind_script = true;
                continue;
            }
            "text" => Shown::Text(text),
            "json" => Shown::Json(text),
            _ => continue,
        };
        if let Some(script) = scripts.last_mut().filter(|_| is_behind_script) {
            script.prints = Some(shown);
        }
        is_behind_script = false;
    }
    scripts
}

/// All of them as one: it says where each begins and ends.
pub(super) fn joined(scripts: &[Script]) -> String {
    let mut text = "set -eu -o pipefail\n".to_owned();
    for script in scripts {
        text += &format!("echo '{}'\n{}echo\n", begin(script), script.text);
    }
    text + "echo '#### end'\n"
}

fn begin(script: &Script) -> String {
    format!("#### script of line {}", script.line)
}

/// Whether what they printed is what the document shows.
pub(super) fn check(scripts: &[Script], printed: &str) -> Result<()> {
    if scripts.iter().all(|script| script.prints.is_none()) {
        return Err(Failure::new("no script of the document shows what it prints"));
    }
    for script in scripts {
        let Some(shown) = &script.prints else { continue };
        let text = printed.split_once(&format!("{}\n", begin(script))).map(|(_, text)| text);
        let text = text.and_then(|text| text.split("\n####").next());
        let is_same = text.is_some_and(|text| shown.is(text.trim_end()));
        if !is_same {
            let (line, printed) = (script.line, text.unwrap_or("nothing"));
            let what = format!("the script of line {line} prints something else:\n{printed}");
            return Err(Failure::new(what));
        }
    }
    Ok(())
}

impl Shown {
    fn is(&self, printed: &str) -> bool {
        match self {
            Self::Text(text) => {
                let (shown, printed): (Vec<_>, Vec<_>) =
                    (text.trim_end().lines().collect(), printed.lines().collect());
                let is_like = |(shown, printed): (&&str, &&str)| like(shown, printed);
                shown.len() == printed.len() && shown.iter().zip(&printed).all(is_like)
            }
            Self::Json(text) => {
                let value = |text: &str| serde_json::from_str::<Value>(text).ok();
                let is_same =
                    value(text).zip(value(printed)).is_some_and(|(a, b)| same_shape(&a, &b));
                // In several lines, it is shown so for people.
                let text = text.trim_end();
                is_same
                    && (text.contains('\n')
                        || like(&without_numbers(text), &without_numbers(printed)))
            }
        }
    }
}

fn without_numbers(text: &str) -> String {
    text.chars().filter(|character| !character.is_ascii_digit()).collect()
}

fn same_shape(shown: &Value, printed: &Value) -> bool {
    match (shown, printed) {
        (Value::Object(shown), Value::Object(printed)) => {
            shown.len() == printed.len()
                && shown.iter().all(|(key, value)| {
                    printed.get(key).is_some_and(|printed| same_shape(value, printed))
                })
        }
        (Value::Array(shown), Value::Array(printed)) => {
            shown.len() == printed.len()
                && shown.iter().zip(printed).all(|(shown, printed)| same_shape(shown, printed))
        }
        (Value::String(shown), Value::String(printed)) => like(shown, printed),
        (Value::Number(_), Value::Number(_)) => true,
        (shown, printed) => shown == printed,
    }
}

/// Whether a text is one with `…` in it.
fn like(shown: &str, text: &str) -> bool {
    let Some((start, rest)) = shown.split_once('…') else { return shown == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    // Nothing may be in its place, too.
    let places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    places.into_iter().any(|at| like(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# A\n```sh\necho a 5\n```\n\n```text\na …\n```\nand\n```sh\n\
        printf '{\"pid\": 7, \"all\": [\"x1\", true]}'\n```\n\n```json\n\
        {\"pid\": 1, \"all\": [\"x…\", true]}\n```\nnothing\n```json\n{}\n```\n```sh\ntrue\n```\n";

    #[test]
    fn scripts_are_found_with_what_they_print() {
        let scripts = of(DOCUMENT);
        let lines: Vec<_> = scripts.iter().map(|script| script.line).collect();
        assert_eq!(lines, [2, 10, 21]);
        assert_eq!(scripts[0].prints, Some(Shown::Text("a …\n".to_owned())));
        assert!(matches!(&scripts[1].prints, Some(Shown::Json(text)) if text.contains("pid")));
        assert_eq!(scripts[2].prints, None);
        let text = joined(&scripts);
        assert!(text.starts_with("set -eu") && text.ends_with("echo '#### end'\n"), "{text}");
        let output = std::process::Command::new("bash").arg("-c").arg(&text).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        check(&scripts, &printed).unwrap();
        for (from, to) in
            [("a 5", "b 5"), ("true]", "false]"), ("pid", "id"), ("\"x1\", ", ""), ("7, ", "7,")]
        {
            let failure = check(&scripts, &printed.replace(from, to)).unwrap_err().to_string();
            assert!(failure.contains("prints something else"), "{failure}");
        }
        assert!(check(&scripts, "").is_err());
    }

    #[test]
    fn three_dots_are_anything() {
        for (shown, text) in [("a…c", "abc"), ("a…c", "ac"), ("…", ""), ("…b…", "abbc")] {
            assert!(like(shown, text), "{shown} {text}");
        }
        for (shown, text) in [("a…c", "ab"), ("a", "ab"), ("…b", "a"), ("x…", "a")] {
            assert!(!like(shown, text), "{shown} {text}");
        }
    }
}
