//! docs/integrate.md quotes the source, and its links lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

const GUIDE: &str = include_str!("../../../docs/integrate.md");

/// A block of the guide that says which file it is from.
struct Quote<'a> {
    line: usize,
    file: &'a str,
    text: String,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every fenced block of Rust, and the comment `<!-- quote: FILE -->` on the line before it.
fn quotes() -> Vec<Quote<'static>> {
    let mut quotes = Vec::new();
    let mut before = "";
    let mut lines = (1..).zip(GUIDE.lines());
    while let Some((number, line)) = lines.next() {
        if line == "```rust" {
            let file = before
                .strip_prefix("<!-- quote: ")
                .and_then(|comment| comment.strip_suffix(" -->"))
                .unwrap_or_else(|| panic!("line {number}: nothing says what this is quoted from"));
            let text: Vec<_> =
                lines.by_ref().map(|(_, line)| line).take_while(|&line| line != "```").collect();
            quotes.push(Quote { line: number + 1, file, text: text.join("\n") });
        }
        before = line;
    }
    quotes
}

/// `text` with every line that is not empty moved to the right.
fn indented(text: &str, spaces: usize) -> String {
    let move_line = |line: &str| match line {
        "" => "\n".to_owned(),
        line => format!("{}{line}\n", " ".repeat(spaces)),
    };
    text.lines().map(move_line).collect()
}

#[test]
fn quotes_are_what_the_source_says() {
    let quotes = quotes();
    assert!(quotes.len() >= 10, "the guide has {} quotes only", quotes.len());
    for Quote { line, file, text } in quotes {
        let source = fs::read_to_string(workspace().join(file))
            .unwrap_or_else(|error| panic!("line {line}: {file}: {error}"));
        let source = format!("\n{source}");
        // A quote begins at the left margin, wherever it was in the file.
        let is_there = (0..=16)
            .step_by(4)
            .any(|spaces| source.contains(&format!("\n{}", indented(&text, spaces))));
        assert!(is_there, "line {line}: {file} does not have\n{text}");
    }
}

#[test]
fn links_lead_somewhere() {
    for (number, line) in (1..).zip(GUIDE.lines()) {
        for link in line.split("](").skip(1) {
            let target = link.split_once(')').map_or("", |(target, _)| target);
            let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
            let path = workspace().join("docs").join(path);
            assert!(path.exists(), "line {number}: {target}");
            let is_there = GUIDE.lines().any(|line| anchor(line).as_deref() == Some(fragment));
            assert!(fragment.is_empty() || is_there, "line {number}: {target}");
        }
    }
}

/// What a heading can be linked to by.
fn anchor(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|&c| c.is_alphanumeric() || c == ' ' || c == '-');
    Some(kept.map(|c| if c == ' ' { '-' } else { c }).collect())
}
