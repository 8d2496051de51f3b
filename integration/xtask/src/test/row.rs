//! The line of a step in the table: what must hold, how long it takes, whether it does.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::failure::{Attempt, Result};
use crate::patience::SAY;
use crate::program;
use crate::terminal;

/// The verdict on what holds.
pub(super) const PASSED: &str = "ok";

/// Where a row has its verdict.
const VERDICT_AT: usize = NAME_WIDTH + WHAT_WIDTH;
const NAME_WIDTH: usize = 14;
const WHAT_WIDTH: usize = 58;

/// A line whose end is still to come.
#[derive(Debug)]
pub(super) struct Row {
    name: &'static str,
    text: String,
    start: Instant,
    said: Instant,
}

impl Row {
    /// Shows what is now looked at.
    pub(super) fn begin(name: &'static str, what: &str) -> Result<Self> {
        let text = format!("{name:<NAME_WIDTH$}{what:<WHAT_WIDTH$}");
        write(&text)?;
        program::open_line();
        let now = Instant::now();
        Ok(Self { name, text, start: now, said: now })
    }

    /// Once a minute, says that it goes on, with what was said last. A terminal's line is written
    /// over.
    pub(super) fn goes_on(&mut self, last: impl FnOnce() -> String) -> Result<()> {
        if self.said.elapsed() < SAY {
            return Ok(());
        }
        self.said = Instant::now();
        let text = so_far(self.name, self.start.elapsed(), &last());
        match terminal::size() {
            Some((_, columns)) => {
                let text: String = text.chars().take(usize::from(columns) - 1).collect();
                write(&format!("\r{text}\x1b[K"))
            }
            None => {
                let start = if program::end_line() { "\n" } else { "" };
                write(&format!("{start}{text}\n"))
            }
        }
    }

    /// Shows the verdict, and how long it took.
    pub(super) fn end(self, verdict: &str) -> Result<Duration> {
        let time = self.start.elapsed();
        let place = match (program::end_line(), terminal::size()) {
            (true, None) => String::new(),
            (true, Some(_)) => format!("\r{}", self.text),
            // Something was said meanwhile.
            (false, _) => self.text,
        };
        let clear = if terminal::shows_output() { "\x1b[K" } else { "" };
        write(&format!("{place}{verdict:<6}{:>9}{clear}\n", seconds(time)))?;
        Ok(time)
    }
}

/// The verdict that a line has where rows have theirs.
pub(super) fn verdict(line: &str) -> Option<&str> {
    line.get(VERDICT_AT..)?.split_whitespace().next()
}

/// A time as the table has it.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Writes to standard output.
pub(super) fn write(text: &str) -> Result<()> {
    let mut output = io::stdout();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.attempt(|| "write to standard output".into())
}

fn so_far(name: &str, time: Duration, last: &str) -> String {
    // What a guest printed is not for this terminal.
    let last: String = last.chars().filter(|c| !c.is_control()).collect();
    format!("{name:<NAME_WIDTH$}{} min so far: {last}", time.as_secs() / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_meanwhile_is_a_line() {
        let line = so_far("unit", Duration::from_secs(150), "test a ...\r\x1b[1m ok");
        assert_eq!(line, "unit          2 min so far: test a ...[1m ok");
    }
}
