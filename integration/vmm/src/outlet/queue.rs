//! What waits to be written to one file.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

use crate::{name, terminal};

/// Shorter pieces of one sender, one after the other, become one.
const PIECE_BYTES: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) queue: VecDeque<Piece>,
    pub(super) lanes: Vec<LaneState>,
    /// The thread waits for something to write.
    pub(super) waits: bool,
    /// How many wait for room.
    pub(super) wait_for_room: usize,
    /// Counts what the file took.
    pub(super) progress: u64,
    /// The file took nothing when it was last waited for.
    pub(super) stalled: bool,
}

#[derive(Debug)]
pub(super) struct Piece {
    pub(super) lane: usize,
    pub(super) bytes: Vec<u8>,
}

/// What one sender has in an outlet.
#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) file: Arc<File>,
    /// It is the terminal that this process makes raw.
    pub(super) is_our_terminal: bool,
    pub(super) name: String,
    /// What its messages are called.
    pub(super) unit: &'static str,
    pub(super) limit_bytes: usize,
    pub(super) chunk_bytes: usize,
    /// How much is queued, or being written.
    pub(super) used_bytes: usize,
    /// Messages that were left out since one was last written.
    pub(super) left_out: u64,
    /// Nobody takes anything any more.
    pub(super) closed: bool,
    /// Nobody waits for room any more.
    pub(super) hurried: bool,
    /// The sender is gone.
    pub(super) dropped: bool,
}

impl LaneState {
    /// A message that is longer than the limit is taken when nothing else is there.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.used_bytes == 0 || self.used_bytes + bytes <= self.limit_bytes
    }

    /// What is said of messages that were left out.
    pub(super) fn gap(&mut self) -> Option<String> {
        let count = std::mem::take(&mut self.left_out);
        let Self { unit, name, .. } = self;
        let said =
            format!("{}: {count} {unit} were left out, as {name} was not read", name::prefix());
        (count > 0).then_some(said)
    }

    /// A message with an end of line. Where the terminal is raw, the return of the carriage is ours
    /// to make.
    pub(super) fn line(&self, message: &str) -> String {
        if self.is_our_terminal && terminal::is_raw() {
            message.replace('\n', "\r\n") + "\r\n"
        } else {
            format!("{message}\n")
        }
    }
}

impl State {
    /// One more sender, in the place of one that is gone, if there is one. Gives its number.
    pub(super) fn add(&mut self, lane: LaneState) -> usize {
        let is_gone = |lane: &LaneState| lane.dropped && lane.used_bytes == 0 && lane.left_out == 0;
        match self.lanes.iter().position(is_gone) {
            Some(index) => {
                self.lanes[index] = lane;
                index
            }
            None => {
                self.lanes.push(lane);
                self.lanes.len() - 1
            }
        }
    }

    pub(super) fn push(&mut self, lane: usize, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        self.lanes[lane].used_bytes += text.len();
        match self.queue.back_mut() {
            Some(last) if last.lane == lane && last.bytes.len() < PIECE_BYTES => {
                last.bytes.extend_from_slice(text);
            }
            _ => self.queue.push_back(Piece { lane, bytes: text.to_vec() }),
        }
    }

    /// Nothing is queued, and nothing is being written.
    pub(super) fn is_done(&self) -> bool {
        self.lanes.iter().all(|lane| lane.used_bytes == 0)
    }
}
