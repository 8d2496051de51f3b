//! The connections that there are, and whose turn it is.

use std::collections::{HashMap, VecDeque};
use std::os::unix::net::UnixStream;

use super::connection::{Connection, Ports};

/// How many connections there are at most, those included whose other end has not yet said what
/// port it wants.
pub(super) const MAX_CONNECTIONS: usize = 1024;

/// Of those, how many may not have said so.
pub(super) const MAX_GREETINGS: usize = 64;

/// The first port of the host for connections that the host begins: above those that programs
/// usually choose.
const FIRST_PORT: u32 = 1 << 30;

/// What a slot has.
#[derive(Debug)]
pub(super) enum Slot {
    Free,
    /// Somebody on the host, who is to say what port he wants.
    Greeting(UnixStream),
    Open {
        connection: Box<Connection>,
        has_turn: bool,
    },
}

#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_ports: HashMap<Ports, u32>,
    /// Slots with something to say to the guest, each once.
    turns: VecDeque<u32>,
    greetings: usize,
    next_port: u32,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_ports: HashMap::new(),
            turns: VecDeque::new(),
            greetings: 0,
            next_port: FIRST_PORT,
        }
    }

    /// The slot of the connection with these ports.
    pub(super) fn find(&self, ports: Ports) -> Option<u32> {
        self.by_ports.get(&ports).copied()
    }

    pub(super) fn connection(&mut self, slot: u32) -> Option<&mut Connection> {
        match self.slots.get_mut(slot as usize)? {
            Slot::Open { connection, .. } => Some(connection),
            _ => None,
        }
    }

    pub(super) fn greeting(&self, slot: u32) -> Option<&UnixStream> {
        match self.slots.get(slot as usize)? {
            Slot::Greeting(stream) => Some(stream),
            _ => None,
        }
    }

    /// All slots that there are have numbers below.
    pub(super) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn has_room(&self) -> bool {
        self.slots.len() - self.free.len() < MAX_CONNECTIONS
    }

    pub(super) fn has_room_for_greeting(&self) -> bool {
        self.greetings < MAX_GREETINGS && self.has_room()
    }

    /// Adds somebody who has not said what he wants. The caller has seen that there is room.
    pub(super) fn add_greeting(&mut self, stream: UnixStream) -> u32 {
        self.greetings += 1;
        self.put(Slot::Greeting(stream))
    }

    /// Adds a connection. The caller has seen that there is room, and that its ports are new.
    pub(super) fn add(&mut self, connection: Connection) -> u32 {
        let ports = connection.ports;
        let slot = self.put(Slot::Open { connection: Box::new(connection), has_turn: false });
        self.by_ports.insert(ports, slot);
        slot
    }

    /// Makes a connection of who has said now that it is this port of the guest, by a port of the
    /// host that is free.
    pub(super) fn greeted(&mut self, slot: u32, guest: u32) {
        let Some(Slot::Greeting(_)) = self.slots.get(slot as usize) else { return };
        let ports = self.free_port(guest);
        let Slot::Greeting(stream) = std::mem::replace(&mut self.slots[slot as usize], Slot::Free)
        else {
            return;
        };
        self.greetings -= 1;
        let connection = Box::new(Connection::from_host(ports, stream));
        self.slots[slot as usize] = Slot::Open { connection, has_turn: false };
        self.by_ports.insert(ports, slot);
    }

    /// Gives what the slot has, which is free from here on.
    pub(super) fn remove(&mut self, slot: u32) -> Slot {
        let Some(place) = self.slots.get_mut(slot as usize) else { return Slot::Free };
        let removed = std::mem::replace(place, Slot::Free);
        match &removed {
            Slot::Free => return removed,
            Slot::Greeting(_) => self.greetings -= 1,
            Slot::Open { connection, has_turn } => {
                self.by_ports.remove(&connection.ports);
                if *has_turn {
                    self.turns.retain(|&turn| turn != slot);
                }
            }
        }
        self.free.push(slot);
        removed
    }

    /// This connection may have something to say: it gets its turn after those that wait already.
    pub(super) fn queue(&mut self, slot: u32) {
        if let Some(Slot::Open { has_turn, .. }) = self.slots.get_mut(slot as usize) {
            if !std::mem::replace(has_turn, true) {
                self.turns.push_back(slot);
            }
        }
    }

    /// Whose turn it is. He is to be queued again when he has more to say.
    pub(super) fn next_turn(&mut self) -> Option<u32> {
        let slot = self.turns.pop_front()?;
        if let Some(Slot::Open { has_turn, .. }) = self.slots.get_mut(slot as usize) {
            *has_turn = false;
        }
        Some(slot)
    }

    pub(super) fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    fn put(&mut self, content: Slot) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = content;
            return slot;
        }
        self.slots.push(content);
        (self.slots.len() - 1) as u32
    }

    /// There are more ports than connections.
    fn free_port(&mut self, guest: u32) -> Ports {
        loop {
            let ports = Ports { host: self.next_port, guest };
            self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
            // The last of all stands for "any".
            if ports.host != u32::MAX && !self.by_ports.contains_key(&ports) {
                return ports;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> UnixStream {
        UnixStream::pair().unwrap().0
    }

    #[test]
    fn turns_go_round() {
        let mut table = Table::new();
        let slots: Vec<u32> = (0..3)
            .map(|guest| table.add(Connection::from_host(Ports { host: 9, guest }, stream())))
            .collect();
        for &slot in slots.iter().chain(&slots) {
            table.queue(slot);
        }
        assert_eq!(table.next_turn(), Some(slots[0]));
        table.queue(slots[0]);
        table.remove(slots[1]);
        assert_eq!(table.next_turn(), Some(slots[2]));
        assert_eq!(table.next_turn(), Some(slots[0]));
        assert_eq!(table.next_turn(), None);
    }

    #[test]
    fn slots_and_ports_are_used_again() {
        let mut table = Table::new();
        table.next_port = u32::MAX - 1;
        let mut hosts = Vec::new();
        for _ in 0..3 {
            let slot = table.add_greeting(stream());
            table.greeted(slot, 7);
            hosts.push(table.connection(slot).unwrap().ports.host);
        }
        assert_eq!(hosts, [u32::MAX - 1, FIRST_PORT, FIRST_PORT + 1]);
        table.next_port = FIRST_PORT;
        let slot = table.add_greeting(stream());
        table.greeted(slot, 7);
        assert_eq!(table.connection(slot).unwrap().ports.host, FIRST_PORT + 2);
        assert!(matches!(table.remove(slot), Slot::Open { .. }));
        assert!(matches!(table.remove(slot), Slot::Free));
        assert_eq!(table.add_greeting(stream()), slot);
    }

    #[test]
    fn there_is_an_end() {
        let mut table = Table::new();
        for _ in 0..MAX_GREETINGS {
            assert!(table.has_room_for_greeting());
            table.add_greeting(stream());
        }
        assert!(!table.has_room_for_greeting() && table.has_room());
        table.remove(0);
        assert!(table.has_room_for_greeting());
    }
}
