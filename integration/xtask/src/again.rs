//! What fails for a while: tried again.

use std::time::Duration;

use crate::failure::{Failure, Result};
use crate::program::progress;

/// How long to wait before each new try: mirrors are out of step for minutes at a time.
pub(crate) const PAUSES: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(20), Duration::from_secs(60)];

/// What came of a try; of a failure, whether another try may go better.
pub(crate) type Tried<T> = std::result::Result<T, (Failure, bool)>;

/// Tries again after each pause, as long as that may go better.
pub(crate) fn with_pauses<T>(
    pauses: &[Duration],
    mut attempt: impl FnMut() -> Tried<T>,
) -> Result<T> {
    let mut pauses = pauses.iter();
    loop {
        let (failure, may_pass) = match attempt() {
            Ok(done) => return Ok(done),
            Err(failed) => failed,
        };
        let Some(pause) = pauses.next().filter(|_| may_pass) else { return Err(failure) };
        progress!("{failure}");
        progress!("trying again in {} seconds", pause.as_secs());
        std::thread::sleep(*pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_nothing_else() {
        let tries = |may_pass, good: u32| {
            let mut count = 0;
            let result = with_pauses(&[Duration::ZERO; 2], || {
                count += 1;
                if count == good { Ok(()) } else { Err((Failure::new("no"), may_pass)) }
            });
            (result.is_ok(), count)
        };
        assert_eq!(tries(true, 3), (true, 3));
        assert_eq!(tries(true, 4), (false, 3));
        assert_eq!(tries(false, 2), (false, 1));
    }
}
