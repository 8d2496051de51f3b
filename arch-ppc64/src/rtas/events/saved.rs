//! Events that wait, as they are saved.

use serde::{Deserialize, Serialize};

use super::{EVENTS_MAX, Event, EventSources, Queue, What};
use crate::platform::{SaveState, StateError, StateValue};
use crate::rtas::clock::LATEST;

/// What waits for the guest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueState {
    next_id: u32,
    waiting: Vec<EventState>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventState {
    id: u32,
    at_s: u64,
    what: WhatState,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WhatState {
    PowerButton,
}

impl SaveState for EventSources {
    fn save(&self) -> Result<StateValue, StateError> {
        let queue = self.shared.queue();
        let waiting = queue.waiting.iter().map(EventState::from).collect();
        StateValue::of(&QueueState { next_id: queue.next_id, waiting })
    }

    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        if version > self.version() {
            return Err(StateError::Version { found: version, newest: self.version() });
        }
        let QueueState { next_id, waiting } = state.get()?;
        let count = waiting.len();
        if count > EVENTS_MAX {
            let most = format!("at most {EVENTS_MAX} wait, not {count}");
            return Err(StateError::Value(format!("events of a machine: {most}")));
        }
        if let Some(late) = waiting.iter().find(|event| event.at_s > LATEST.as_secs()) {
            return Err(StateError::Value(format!("an event of a machine: at {} s", late.at_s)));
        }
        let waiting = waiting.into_iter().map(Event::from).collect();
        *self.shared.queue() = Queue { next_id, waiting };
        Ok(())
    }
}

impl From<&Event> for EventState {
    fn from(event: &Event) -> Self {
        let what = match event.what {
            What::PowerButton => WhatState::PowerButton,
        };
        Self { id: event.id, at_s: event.at_s, what }
    }
}

impl From<EventState> for Event {
    fn from(saved: EventState) -> Self {
        let what = match saved.what {
            WhatState::PowerButton => What::PowerButton,
        };
        Self { id: saved.id, at_s: saved.at_s, what }
    }
}
