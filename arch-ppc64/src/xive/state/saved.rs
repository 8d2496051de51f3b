//! The controller as it is saved.

use super::{Source, State};
use crate::platform::{SaveState, StateError, StateValue};
use crate::xive::Xive;
use crate::xive::queue::Queue;
use crate::xive::saved::{SavedQueue, SavedServer, SavedSource, SavedXive};
use crate::xive::server::{QUEUES, Server};

/// Restored when the guest's RAM is, as a level that nobody has seen yet becomes an event then.
impl SaveState for Xive {
    fn save(&self) -> Result<StateValue, StateError> {
        self.lock().save().to_state(&self.topology)
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        let mut own = self.lock();
        let numbers = own.sources.keys().copied();
        let saved = SavedXive::of_state(state, &self.topology, numbers)?;
        own.restore(&saved);
        Ok(())
    }
}

impl State {
    fn save(&self) -> SavedXive {
        let source = |(&number, source): (&u32, &Source)| {
            let &Source { pq, level, assignment, .. } = source;
            SavedSource { number, pq, level, assignment }
        };
        SavedXive {
            servers: self.servers.iter().map(Server::save).collect(),
            sources: self.sources.iter().map(source).collect(),
        }
    }

    /// Takes up a state of these servers and sources.
    fn restore(&mut self, saved: &SavedXive) {
        for (server, saved) in self.servers.iter_mut().zip(&saved.servers) {
            server.restore(saved);
        }
        for (source, saved) in self.sources.values_mut().zip(&saved.sources) {
            let &SavedSource { pq, level, assignment, .. } = saved;
            *source = Source { pq, level, assignment, ..*source };
        }
        for number in 0..self.servers.len() {
            self.update_line(number);
        }
        // Of those that were saved, none has a level that waits to be seen.
        for source in &saved.sources {
            let _ = self.change(source.number, |_| false);
        }
    }
}

impl Server {
    fn save(&self) -> SavedServer {
        let queues = (0..).zip(&self.queues);
        let queues = queues.filter_map(|(priority, queue)| {
            let &Queue { entries, notification } = queue.as_ref()?;
            Some((priority, SavedQueue { entries, notification }))
        });
        SavedServer { cppr: self.cppr, pending: self.pending, queues: queues.collect() }
    }

    fn restore(&mut self, saved: &SavedServer) {
        let mut queues = [None; QUEUES];
        for &(priority, SavedQueue { entries, notification }) in &saved.queues {
            queues[usize::from(priority)] = Some(Queue { entries, notification });
        }
        let &SavedServer { cppr, pending, .. } = saved;
        *self = Self { cppr, pending, queues, line: self.line };
    }
}
