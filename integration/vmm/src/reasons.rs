//! An error with what it came from, as it is told.

use std::error::Error;

/// The reasons, from the outermost to the innermost. What only repeats its source is said once.
pub(crate) fn reasons(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    let mut next = Some(error as &dyn Error);
    while let Some(error) = next {
        let said = error.to_string();
        if !reasons.last().is_some_and(|last| last.ends_with(&said)) {
            reasons.push(said);
        }
        next = error.source();
    }
    reasons
}

/// The same in one line.
pub(crate) fn in_one_line(error: &(dyn Error + 'static)) -> String {
    reasons(error).join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failed {
        #[error("no disk")]
        Disk(#[source] std::io::Error),
        #[error(transparent)]
        Same(#[from] Box<Failed>),
        #[error("cannot start")]
        Start(#[source] Box<Failed>),
    }

    #[test]
    fn what_is_said_twice_is_told_once() {
        let disk = Failed::Disk(std::io::Error::other("it broke"));
        let error = Failed::Start(Box::new(Failed::Same(Box::new(disk))));
        assert_eq!(reasons(&error), ["cannot start", "no disk", "it broke"]);
        assert_eq!(in_one_line(&error), "cannot start: no disk: it broke");
    }
}
