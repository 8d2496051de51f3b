//! The controller against a plain model of it, and against guests that pass anything.

use proptest::prelude::*;

use super::*;

/// What can happen.
#[derive(Debug, Clone, Copy)]
enum Event {
    Raise(u32),
    Level(u32, bool),
    Route(u32, u32, u8),
    Switch(u32, bool),
    Cppr(u32, u8),
    Ipi(u32, u8),
    Accept(u32),
    End(u32, u8, u32),
    Reset,
}

/// The controller as the specification describes it: no more than its registers.
struct Model {
    cppr: [u8; SERVERS as usize],
    mfrr: [u8; SERVERS as usize],
    sources: [ModelSource; 4],
}

#[derive(Clone, Copy)]
struct ModelSource {
    xive: VectorEntry,
    on: bool,
    latched: bool,
    level: bool,
    in_service: bool,
}

impl Model {
    fn new(levels: [bool; 4]) -> Self {
        Self {
            cppr: [0; 3],
            mfrr: [0xff; 3],
            sources: levels.map(|level| ModelSource {
                xive: VectorEntry { server: ServerNumber(0), priority: 0xff },
                on: true,
                latched: false,
                level,
                in_service: false,
            }),
        }
    }

    /// Number and priority of everything that a CPU could accept, and that is most favoured.
    fn best(&self, cpu: u32) -> (Vec<u32>, u8) {
        let mut all = vec![(IPI, self.mfrr[cpu as usize])];
        for (number, source) in SOURCES.zip(self.sources) {
            let requests = (source.latched || source.level) && !source.in_service && source.on;
            if requests && source.xive.server == ServerNumber(cpu) {
                all.push((number, source.xive.priority));
            }
        }
        let best = all.iter().map(|&(_, priority)| priority).min().unwrap();
        all.retain(|&(_, priority)| priority == best && best < self.cppr[cpu as usize]);
        (all.into_iter().map(|(number, _)| number).collect(), best)
    }

    /// The same event on the model and on the controller; whatever there is to compare is.
    fn event(&mut self, event: Event, guest: &Guest) {
        let source = |number: u32| (number - FIRST) as usize;
        match event {
            Event::Raise(number) => {
                self.sources[source(number)].latched = true;
                guest.xics.raise(number);
            }
            Event::Level(number, level) => {
                self.sources[source(number)].level = level;
                guest.xics.set_level(number, level);
            }
            Event::Route(number, server, priority) => {
                self.sources[source(number)].xive =
                    VectorEntry { server: ServerNumber(server), priority };
                guest.route(number, server, priority);
            }
            Event::Switch(number, on) => {
                self.sources[source(number)].on = on;
                assert_eq!(guest.xics.switch(number, on), Ok(()));
            }
            Event::Cppr(cpu, cppr) => {
                self.cppr[cpu as usize] = cppr;
                guest.cppr(cpu, cppr);
            }
            Event::Ipi(cpu, mfrr) => {
                self.mfrr[cpu as usize] = mfrr;
                guest.ipi(cpu, mfrr);
            }
            Event::Accept(cpu) => {
                let (numbers, priority) = self.best(cpu);
                let polled = guest.poll(cpu);
                let xirr = guest.xirr(cpu);
                assert_eq!(polled, (xirr, self.mfrr[cpu as usize]));
                assert_eq!(xirr >> 24, u32::from(self.cppr[cpu as usize]));
                let xisr = xirr & 0xff_ffff;
                if numbers.is_empty() {
                    assert_eq!(xisr, 0);
                    return;
                }
                // Which of equals is for other tests.
                assert!(numbers.contains(&xisr));
                self.cppr[cpu as usize] = priority;
                if xisr != IPI {
                    let source = &mut self.sources[source(xisr)];
                    (source.latched, source.in_service) = (false, true);
                }
            }
            Event::End(cpu, cppr, number) => {
                let legal = cppr >= self.cppr[cpu as usize];
                let xirr = u64::from(cppr) << 24 | u64::from(number);
                let status = guest.status(cpu, token::EOI, &[xirr]);
                assert_eq!(status == Status::SUCCESS, legal);
                if legal {
                    self.cppr[cpu as usize] = cppr;
                    if number != IPI {
                        self.sources[source(number)].in_service = false;
                    }
                }
            }
            Event::Reset => {
                *self = Self::new(self.sources.map(|source| source.level));
                Device::reset(&guest.xics);
            }
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let cpu = 0..SERVERS;
    let priority = prop_oneof![0..8_u8, Just(0xff)];
    let number = prop_oneof![1 => Just(IPI), 4 => SOURCES];
    prop_oneof![
        4 => SOURCES.prop_map(Event::Raise),
        3 => (SOURCES, any::<bool>()).prop_map(|(source, on)| Event::Level(source, on)),
        4 => (SOURCES, cpu.clone(), priority.clone())
            .prop_map(|(source, cpu, priority)| Event::Route(source, cpu, priority)),
        2 => (SOURCES, any::<bool>()).prop_map(|(source, on)| Event::Switch(source, on)),
        3 => (cpu.clone(), priority.clone()).prop_map(|(cpu, cppr)| Event::Cppr(cpu, cppr)),
        3 => (cpu.clone(), priority.clone()).prop_map(|(cpu, mfrr)| Event::Ipi(cpu, mfrr)),
        6 => cpu.clone().prop_map(Event::Accept),
        6 => (cpu, priority, number).prop_map(|(cpu, cppr, number)| Event::End(cpu, cppr, number)),
        1 => Just(Event::Reset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// After each event, a line is asserted if and only if there is an interrupt to accept. That
    /// the output is told of nothing but changes is for [`Lines`] to see.
    #[test]
    fn lines_say_what_can_be_accepted(events in prop::collection::vec(event(), 1..100)) {
        let guest = Guest::new();
        let mut model = Model::new([false; 4]);
        for event in events {
            model.event(event, &guest);
            for cpu in 0..SERVERS {
                let wanted = !model.best(cpu).0.is_empty();
                prop_assert_eq!(guest.lines()[cpu as usize], wanted, "{:?}, CPU {}", event, cpu);
            }
        }
    }

    /// Whatever the guest passes, from whatever CPU: an answer.
    #[test]
    fn any_arguments_are_answered(
        cpu in 0..SERVERS + 1,
        calls in prop::collection::vec(
            (prop::sample::select(vec![
                token::EOI, token::CPPR, token::IPI, token::IPOLL, token::XIRR, token::XIRR_X,
            ]), prop::array::uniform9(prop_oneof![0..8_u64, any::<u64>()])),
            1..20,
        ),
    ) {
        let guest = Guest::ready();
        for (token, args) in calls {
            guest.call(cpu, token, &args);
        }
    }
}
