//! What the guest says of what it noticed: the lines of `witness.c`, put together from the consoles
//! of all processes that it was in.

use std::time::Duration;

use crate::failure::{Failure, Result};

const FAILED: &str = "GUEST-FAILED";
const WITNESSED: &str = "GUEST-WITNESSED ";

/// A line of the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) number: u64,
    /// The guest's clock.
    pub(crate) clock: Duration,
    /// For how long the program did not run, by that clock.
    pub(crate) gap: Duration,
    /// For how long the peer did not hear of it, by the peer's clock.
    pub(crate) peer: Duration,
}

/// The lines that are there in whole.
pub(crate) fn counts(console: &str) -> impl Iterator<Item = Count> + Clone {
    let whole = console.rfind('\n').map_or("", |end| &console[..end]);
    whole.lines().filter_map(count)
}

fn count(line: &str) -> Option<Count> {
    let mut words = line.strip_prefix("GUEST-COUNTS ")?.split(' ');
    let mut number = |name: &str| match name {
        "" => words.next()?.parse::<u64>().ok(),
        name => words.next().filter(|word| *word == name).and(words.next())?.parse().ok(),
    };
    Some(Count {
        number: number("")?,
        clock: Duration::from_nanos(number("clock")?),
        gap: Duration::from_nanos(number("gap")?),
        peer: Duration::from_nanos(number("peer")?),
    })
}

/// The guest counted from 1 on and left nothing out, its clock never went back, and nothing was wrong
/// so far.
pub(crate) fn check(console: &str) -> Result<()> {
    if let Some(failed) = console.lines().find(|line| line.contains(FAILED)) {
        return Err(Failure::new(format!("the guest says {failed}")));
    }
    let mut last = Count { number: 0, ..Count::ZERO };
    for count in counts(console) {
        if count.number != last.number + 1 {
            let (number, before) = (count.number, last.number);
            return Err(Failure::new(format!("the guest's console has {number} behind {before}")));
        }
        if count.clock < last.clock {
            return Err(Failure::new(format!("the guest's clock went back: {last:?}, {count:?}")));
        }
        last = count;
    }
    Ok(())
}

/// The guest has looked at everything, and ended. Gives what it says of it.
pub(crate) fn witnessed(console: &str) -> Result<&str> {
    check(console)?;
    let line = console.lines().find_map(|line| line.strip_prefix(WITNESSED));
    let ended = console.lines().any(|line| line == "GUEST-RAN /bin/witness: 0");
    match line {
        Some(line) if ended => Ok(line),
        _ => Err(Failure::new("the guest did not get to its end")),
    }
}

/// The number behind a name in what [`witnessed`] gives.
pub(crate) fn figure(witnessed: &str, name: &str) -> u64 {
    let mut words = witnessed.split(' ').skip_while(|word| *word != name);
    words.nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

impl Count {
    const ZERO: Self =
        Self { number: 0, clock: Duration::ZERO, gap: Duration::ZERO, peer: Duration::ZERO };
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "GUEST-READY\nGUEST-COUNTS 1 clock 5 gap 2 peer 3\n\
                         GUEST-COUNTS 2 clock 9 gap 1 peer 0\n";

    #[test]
    fn lines_are_read_when_they_are_whole() {
        let [one, two] = counts(LINES).collect::<Vec<_>>()[..] else { panic!("not two lines") };
        let nanos = Duration::from_nanos;
        assert_eq!(one, Count { number: 1, clock: nanos(5), gap: nanos(2), peer: nanos(3) });
        assert_eq!(two.number, 2);
        assert_eq!(counts(&LINES[..LINES.len() - 1]).count(), 1);
        assert_eq!(counts("GUEST-COUNTS 1 clock x gap 2 peer 3\n").count(), 0);
    }

    #[test]
    fn what_is_left_out_or_said_twice_is_noticed() {
        check(LINES).unwrap();
        let said = |more: &str| check(&format!("{LINES}{more}\n")).unwrap_err().to_string();
        assert!(said("GUEST-COUNTS 4 clock 9 gap 1 peer 0").ends_with("4 behind 2"));
        assert!(said("GUEST-COUNTS 2 clock 9 gap 1 peer 0").ends_with("2 behind 2"));
        assert!(said("GUEST-COUNTS 3 clock 8 gap 1 peer 0").contains("clock went back"));
        assert!(said("GUEST-FAILED: x").ends_with("GUEST-FAILED: x"));
    }

    #[test]
    fn an_end_is_one_that_the_guest_tells() {
        assert!(witnessed(LINES).is_err());
        let end = "GUEST-WITNESSED lines 2 loops 7\nGUEST-RAN /bin/witness: 0\n";
        let whole = format!("{LINES}{end}");
        let figures = witnessed(&whole).unwrap();
        assert_eq!((figure(figures, "loops"), figure(figures, "none")), (7, 0));
        assert!(witnessed(&whole.replace(": 0", ": 1")).is_err());
    }
}
