//! The controller against a plain model of it, and against guests that pass anything.

use proptest::prelude::*;

use super::*;

/// What can happen.
#[derive(Debug, Clone, Copy)]
enum Event {
    Pulse(u32),
    Level(bool),
    Store(u32),
    /// A load of a source's management page: source and offset.
    Load(u32, u64),
    Assign(u32, u32, u8, bool),
    Unassign(u32),
    /// A queue is set, with each entry notified of or not, or taken away.
    Queue(u32, u8, Option<bool>),
    /// A load of a queue's notification page.
    Notification(u32, u8, u64),
    Cppr(u32, u8),
    Own(u32, u8),
    Accept(u32),
    Forget,
    Reset,
}

/// The controller as it is described: P and Q as two truths, queues as lists.
struct Model {
    sources: Vec<ModelSource>,
    cpus: [ModelCpu; SERVERS as usize],
}

#[derive(Clone)]
struct ModelSource {
    number: u32,
    p: bool,
    q: bool,
    level: bool,
    to: Option<(u32, u8)>,
}

#[derive(Clone, Default)]
struct ModelCpu {
    cppr: u8,
    pending: std::collections::BTreeSet<u8>,
    queues: [Option<ModelQueue>; 7],
}

#[derive(Clone)]
struct ModelQueue {
    always: bool,
    p: bool,
    q: bool,
    entries: Vec<u32>,
}

/// An event comes to bits P and Q: whether it goes on.
fn trigger(p: &mut bool, q: &mut bool) -> bool {
    match (*p, *q) {
        (false, false) => {
            *p = true;
            true
        }
        (true, _) => {
            *q = true;
            false
        }
        (false, true) => false,
    }
}

/// A load at `offset`: its value, and whether there is an event.
fn load(p: &mut bool, q: &mut bool, offset: u64) -> (u64, bool) {
    let before = u64::from(*p) << 1 | u64::from(*q);
    match offset {
        0 => {
            let again = *p && *q;
            if *p {
                (*p, *q) = (again, false);
            }
            (again.into(), again)
        }
        0x800 => (before, false),
        _ => {
            (*p, *q) = (offset & 0x200 != 0, offset & 0x100 != 0);
            (before, false)
        }
    }
}

impl Model {
    fn new(level: bool) -> Self {
        let source = |number| ModelSource {
            number,
            p: false,
            q: true,
            level: level && number == LEVEL,
            to: None,
        };
        let sources = (0..SERVERS).chain(DEVICES).map(source).collect();
        Self { sources, cpus: Default::default() }
    }

    fn index(&self, number: u32) -> usize {
        self.sources.iter().position(|source| source.number == number).unwrap()
    }

    fn level(&self) -> bool {
        self.sources[self.index(LEVEL)].level
    }

    /// An event that a source gives, or a level that may be one. Whether there was one.
    fn forward(&mut self, source: usize, event: bool) -> bool {
        let source = &mut self.sources[source];
        let event = event || source.level && trigger_if_idle(&mut source.p, &source.q);
        let (number, to) = (source.number, source.to);
        if let (true, Some((cpu, priority))) = (event, to) {
            let cpu = &mut self.cpus[cpu as usize];
            if let Some(queue) = &mut cpu.queues[priority as usize] {
                queue.entries.push(number);
                if queue.always || trigger(&mut queue.p, &mut queue.q) {
                    cpu.pending.insert(priority);
                }
            }
        }
        event
    }

    fn best(&self, cpu: u32) -> Option<u8> {
        let cpu = &self.cpus[cpu as usize];
        cpu.pending.first().copied().filter(|&best| best < cpu.cppr)
    }

    /// The same event on the model and on the controller; whatever there is to compare is.
    fn event(&mut self, event: Event, guest: &Guest) {
        match event {
            Event::Pulse(number) | Event::Store(number) => {
                let at = self.index(number);
                let source = &mut self.sources[at];
                let event_goes_on = trigger(&mut source.p, &mut source.q);
                self.forward(at, event_goes_on);
                match event {
                    Event::Pulse(_) => guest.signal(number, Signal::Pulse),
                    _ => guest.store(number),
                }
            }
            Event::Level(level) => {
                let at = self.index(LEVEL);
                self.sources[at].level = level;
                self.forward(at, false);
                guest.signal(LEVEL, if level { Signal::High } else { Signal::Low });
            }
            Event::Load(number, offset) => {
                let at = self.index(number);
                let source = &mut self.sources[at];
                let (value, again) = load(&mut source.p, &mut source.q, offset);
                let event = self.forward(at, again);
                let wanted = if offset == 0 { event.into() } else { value };
                assert_eq!(guest.load(number, offset), wanted);
            }
            Event::Assign(number, cpu, priority, masked) => {
                let at = self.index(number);
                self.sources[at].to = (!masked).then_some((cpu, priority));
                let flags = 2 | u64::from(masked);
                let args = [flags, number.into(), cpu.into(), priority.into(), number.into()];
                let status = guest.status(token::INT_SET_SOURCE_CONFIG, &args);
                assert_eq!(status, Status::SUCCESS);
            }
            Event::Unassign(number) => {
                let at = self.index(number);
                self.sources[at].to = None;
                let args = [0, number.into(), 0, 0xff, 0];
                let status = guest.status(token::INT_SET_SOURCE_CONFIG, &args);
                assert_eq!(status, Status::SUCCESS);
            }
            Event::Queue(cpu, priority, kind) => {
                let queue =
                    kind.map(|always| ModelQueue { always, p: false, q: false, entries: vec![] });
                self.cpus[cpu as usize].queues[priority as usize] = queue;
                let (at, shift) = match kind {
                    Some(_) => (Guest::queue_at(cpu, priority), 16),
                    None => (0, 0),
                };
                if kind.is_some() {
                    let zeros = [0; QUEUE_BYTES as usize];
                    guest.ram.write(GuestAddress(at), &zeros).unwrap();
                }
                let flags = u64::from(kind == Some(true));
                let args = [flags, cpu.into(), priority.into(), at, shift];
                let status = guest.status(token::INT_SET_QUEUE_CONFIG, &args);
                assert_eq!(status, Status::SUCCESS);
            }
            Event::Notification(cpu, priority, offset) => {
                let page = u64::from(cpu) * 8 + u64::from(priority);
                let found = guest.load_page(0, QUEUES, page << 16 | offset);
                let model = &mut self.cpus[cpu as usize];
                let Some(queue) = &mut model.queues[priority as usize] else {
                    assert_eq!(found, u64::MAX);
                    return;
                };
                let (value, again) = load(&mut queue.p, &mut queue.q, offset);
                assert_eq!(found, value);
                if again {
                    model.pending.insert(priority);
                }
            }
            Event::Cppr(cpu, cppr) => {
                self.cpus[cpu as usize].cppr = if cppr < 8 { cppr } else { 0xff };
                guest.cppr(cpu, cppr);
            }
            Event::Own(cpu, priority) => {
                self.cpus[cpu as usize].pending.insert(priority);
                guest.xive.write_by(CpuIndex(cpu), OS_PAGE, 0x812, &[priority]);
            }
            Event::Accept(cpu) => {
                let best = self.best(cpu);
                let model = &mut self.cpus[cpu as usize];
                if let Some(best) = best {
                    model.pending.remove(&best);
                    model.cppr = best;
                }
                let notification = if best.is_some() { 0x80 } else { 0 };
                assert_eq!(guest.accept(cpu), [notification, model.cppr]);
            }
            Event::Forget => {
                let priorities: Vec<_> = self.cpus.iter().map(|cpu| cpu.cppr).collect();
                *self = Self::new(self.level());
                for (cpu, cppr) in self.cpus.iter_mut().zip(priorities) {
                    cpu.cppr = cppr;
                }
                assert_eq!(guest.status(token::INT_RESET, &[0]), Status::SUCCESS);
            }
            Event::Reset => {
                *self = Self::new(self.level());
                Device::reset(&guest.xive);
            }
        }
    }
}

/// Takes a level as an event where nothing is on its way.
fn trigger_if_idle(p: &mut bool, q: &bool) -> bool {
    let is_idle = !*p && !*q;
    *p |= is_idle;
    is_idle
}

fn event() -> impl Strategy<Value = Event> {
    let cpu = 0..SERVERS;
    let priority = 0..7_u8;
    let source = prop_oneof![0..SERVERS, DEVICES];
    let offset = prop::sample::select(vec![0, 0, 0, 0x800, 0xc00, 0xc00, 0xd00, 0xe00, 0xf00]);
    prop_oneof![
        5 => DEVICES.prop_map(Event::Pulse),
        3 => any::<bool>().prop_map(Event::Level),
        4 => source.clone().prop_map(Event::Store),
        8 => (source.clone(), offset.clone()).prop_map(|(source, at)| Event::Load(source, at)),
        6 => (source.clone(), cpu.clone(), priority.clone(), prop::bool::weighted(0.1))
            .prop_map(|(source, cpu, priority, off)| Event::Assign(source, cpu, priority, off)),
        1 => source.prop_map(Event::Unassign),
        6 => (cpu.clone(), priority.clone(), prop::option::weighted(0.8, any::<bool>()))
            .prop_map(|(cpu, priority, kind)| Event::Queue(cpu, priority, kind)),
        2 => (cpu.clone(), priority.clone(), offset)
            .prop_map(|(cpu, priority, at)| Event::Notification(cpu, priority, at)),
        4 => (cpu.clone(), prop_oneof![0..8_u8, Just(0xff), any::<u8>()])
            .prop_map(|(cpu, cppr)| Event::Cppr(cpu, cppr)),
        1 => (cpu.clone(), 0..8_u8).prop_map(|(cpu, priority)| Event::Own(cpu, priority)),
        6 => cpu.prop_map(Event::Accept),
        1 => Just(Event::Forget),
        1 => Just(Event::Reset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// After each event, a line is asserted if and only if there is an interrupt to accept, and the
    /// queues have what went into them and nothing else.
    #[test]
    fn controller_is_as_described(events in prop::collection::vec(event(), 1..150)) {
        let guest = Guest::new();
        let mut model = Model::new(false);
        for event in events {
            model.event(event, &guest);
            for cpu in 0..SERVERS {
                let wanted = model.best(cpu).is_some();
                prop_assert_eq!(guest.lines()[cpu as usize], wanted, "{:?}, CPU {}", event, cpu);
                for (priority, queue) in (0..).zip(&model.cpus[cpu as usize].queues) {
                    let Some(queue) = queue else { continue };
                    for (index, data) in (0..).zip(&queue.entries) {
                        let entry = guest.entry(cpu, priority, index);
                        prop_assert_eq!(entry, 0x8000_0000 | data, "{:?}", event);
                    }
                    prop_assert_eq!(guest.entry(cpu, priority, queue.entries.len() as u32), 0);
                }
            }
        }
    }

    /// Whatever the guest passes: an answer, and no entry but where a queue is.
    #[test]
    fn any_arguments_and_accesses_are_answered(
        calls in prop::collection::vec(
            (prop::sample::select(token::XIVE_CALLS.to_vec()),
             prop::array::uniform9(prop_oneof![
                0..8_u64, 0x1000..0x1005_u64, Just(16), Just(0x1f_0000), any::<u64>(),
             ])),
            1..20,
        ),
        accesses in prop::collection::vec(
            (0..5_usize, 0..SERVERS + 1, prop_oneof![0..0x1000_u64, any::<u64>()],
             1..17_usize, any::<bool>()),
            1..40,
        ),
    ) {
        let guest = Guest::ready();
        for (token, args) in calls {
            guest.call(token, &args);
        }
        for (range, cpu, offset, bytes, is_store) in accesses {
            let size = guest.xive.ranges().get(range).map_or(u64::MAX, |range| range.bytes);
            let (cpu, offset) = (CpuIndex(cpu), offset % size);
            let mut data = vec![3; bytes];
            match is_store {
                true => guest.xive.write_by(cpu, range, offset, &data),
                false => guest.xive.read_by(cpu, range, offset, &mut data),
            }
        }
        let first = guest.ram.read_be_u32(GuestAddress(0)).unwrap();
        prop_assert!(first == 0 || guest.call(token::INT_GET_QUEUE_CONFIG, &[0; 3]).args[1] == 0);
    }
}
