//! The words that the emulated host says to this program, in the middle of what it prints.
//!
//! A word is `ESC _ token ; word ESC \`: an application program command (ECMA-48 §8.3.2), which no
//! terminal shows. The token is a secret of this run, so what is run cannot say such words.

/// What the host tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// The command starts now.
    Started,
    /// The command ended, with this status.
    Ended(u8),
}

/// A piece of what the host printed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes of the console, to be shown.
    Text(Vec<u8>),
    /// A word, not to be shown.
    Word(Word),
}

/// Finds the words in a stream that comes in pieces of any size.
#[derive(Debug)]
pub(crate) struct Scanner {
    opening: Vec<u8>,
    /// The start of what may become a word; nothing else is held back.
    held: Vec<u8>,
}

const CLOSING: &[u8] = b"\x1b\\";

/// No word is longer than this between opening and closing.
const LONGEST_WORD: usize = 16;

impl Scanner {
    pub(crate) fn new(token: &str) -> Self {
        Self { opening: format!("\x1b_{token};").into_bytes(), held: Vec::new() }
    }

    /// Takes the next bytes, gives what they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        self.held.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        loop {
            let at = self.opening_or_its_start();
            let text: Vec<u8> = self.held.drain(..at).collect();
            if !text.is_empty() {
                pieces.push(Piece::Text(text));
            }
            let Some(rest) = self.held.strip_prefix(self.opening.as_slice()) else { break };
            match rest.windows(CLOSING.len()).position(|window| window == CLOSING) {
                Some(length) => {
                    let end = self.opening.len() + length + CLOSING.len();
                    match parse(&rest[..length]) {
                        Some(word) => {
                            self.held.drain(..end);
                            pieces.push(Piece::Word(word));
                        }
                        None => pieces.push(Piece::Text(self.held.drain(..end).collect())),
                    }
                }
                None if rest.len() <= LONGEST_WORD => break,
                // The host does not say such a thing.
                None => pieces.push(Piece::Text(self.held.drain(..self.opening.len()).collect())),
            }
        }
        pieces
    }

    /// What was held back, when nothing more comes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Where the opening is, or where the bytes end with its start, or the end.
    fn opening_or_its_start(&self) -> usize {
        let starts_here = |at: usize| {
            let rest = &self.held[at..];
            rest.starts_with(&self.opening) || self.opening.starts_with(rest)
        };
        (0..self.held.len())
            .find(|&at| self.held[at] == self.opening[0] && starts_here(at))
            .unwrap_or(self.held.len())
    }
}

fn parse(word: &[u8]) -> Option<Word> {
    match std::str::from_utf8(word).ok()?.split_once(' ') {
        None => (word == b"started").then_some(Word::Started),
        Some(("ended", status)) => status.parse().ok().map(Word::Ended),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"boot\r\n\x1b_7f3a;started\x1b\\out\x1b[1mput\x1b_7f3\x1b_7f3a;ended 3\x1b\\";

    fn expected() -> Vec<Piece> {
        vec![
            Piece::Text(b"boot\r\n".into()),
            Piece::Word(Word::Started),
            Piece::Text(b"out\x1b[1mput\x1b_7f3".into()),
            Piece::Word(Word::Ended(3)),
        ]
    }

    /// Texts that follow each other are one.
    fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
        pieces.into_iter().fold(Vec::new(), |mut all, piece| {
            match (all.last_mut(), piece) {
                (Some(Piece::Text(before)), Piece::Text(text)) => before.extend(text),
                (_, piece) => all.push(piece),
            }
            all
        })
    }

    #[test]
    fn words_are_found_however_the_stream_is_cut() {
        for size in 1..=STREAM.len() {
            let mut scanner = Scanner::new("7f3a");
            let pieces = STREAM.chunks(size).flat_map(|chunk| scanner.push(chunk)).collect();
            assert_eq!(joined(pieces), expected(), "cut every {size} bytes");
            assert_eq!(scanner.rest(), b"");
        }
    }

    #[test]
    fn text_is_shown_at_once_unless_it_may_become_a_word() {
        let mut scanner = Scanner::new("7f3a");
        assert_eq!(scanner.push(b"prompt$ "), [Piece::Text(b"prompt$ ".into())]);
        assert_eq!(scanner.push(b"\x1b[A"), [Piece::Text(b"\x1b[A".into())]);
        assert_eq!(scanner.push(b"\x1b_7"), []);
        assert_eq!(scanner.rest(), b"\x1b_7");
    }

    #[test]
    fn the_words_of_others_are_text() {
        for text in [
            "\x1b_0000;ended 0\x1b\\",
            "\x1b_7f3a;ended 256\x1b\\",
            "\x1b_7f3a;ended\x1b\\",
            "\x1b_7f3a;a word that does not end here",
        ] {
            let mut scanner = Scanner::new("7f3a");
            let pieces = joined(scanner.push(text.as_bytes()));
            assert_eq!(pieces, [Piece::Text(text.into())]);
        }
    }
}
