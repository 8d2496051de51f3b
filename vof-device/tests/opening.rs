//! Packages that are not ready at once, as clients open them (IEEE 1275-1994 §6.3.2.3, `open`): the
//! call is made again, and no CPU's is in the way of another's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arch_ppc64::{CpuIndex, Status};
use vof_device::test_utils::{
    CALL_AGAIN, Client, TestMachine, UNTOUCHED, WORKSPACE, WORKSPACE_BYTES, of_size, sample_tree,
};
use vof_device::{Failed, Instance, Package, Progress, VofState, limits};

const RAM_BYTES: u64 = 16 << 20;
const NODE: &str = "/vdevice/v-scsi@2000";

/// What becomes of the instances of a package.
#[derive(Default)]
struct Counts {
    opened: AtomicUsize,
    dropped: AtomicUsize,
    waits: AtomicUsize,
}

/// A package whose instances are ready at the try that their arguments say; after those there is
/// none if they end in `x`.
#[derive(Clone, Default)]
struct Late(Arc<Counts>);

struct Opening {
    counts: Arc<Counts>,
    tries_left: Mutex<usize>,
    fails: bool,
}

impl Package for Late {
    fn open(&self, arguments: &str) -> Result<Box<dyn Instance>, Failed> {
        let number = arguments.trim_end_matches('x');
        let tries_left = Mutex::new(number.parse().map_err(|_| Failed)?);
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        let fails = number != arguments;
        Ok(Box::new(Opening { counts: self.0.clone(), tries_left, fails }))
    }
}

impl Instance for Opening {
    fn ready(&mut self) -> Result<Progress, Failed> {
        let left = self.tries_left.get_mut().unwrap();
        if let Some(less) = left.checked_sub(1) {
            *left = less;
            return Ok(Progress::NotYet);
        }
        if self.fails { Err(Failed) } else { Ok(Progress::Done) }
    }

    fn wait(&mut self, limit: Duration) {
        assert_eq!(limit, limits::MAX_CALL_WAIT);
        self.counts.waits.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl Late {
    /// How many instances were opened, how many of them are gone, and how often one was waited for.
    fn counts(&self) -> (usize, usize, usize) {
        let Counts { opened, dropped, waits } = &*self.0;
        let count = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        (count(opened), count(dropped), count(waits))
    }
}

fn machine(late: &Late) -> TestMachine {
    let package = Arc::new(late.clone());
    TestMachine::new(sample_tree(), RAM_BYTES, |builder| builder.package(NODE, package))
}

fn path(arguments: &str) -> String {
    format!("{NODE}:{arguments}")
}

/// A client of a CPU, with a workspace of its own.
fn client_of(machine: &TestMachine, cpu: u32) -> Client<'_> {
    let bytes = WORKSPACE_BYTES / 128;
    Client::new(&machine.bus, &machine.ram, WORKSPACE + bytes * cpu, bytes).on_cpu(CpuIndex(cpu))
}

fn opens(machine: &TestMachine) -> u64 {
    machine.vof().calls().iter().find(|(name, _)| *name == "open").unwrap().1
}

#[test]
fn an_open_that_is_not_ready_is_made_again() {
    let late = Late::default();
    let machine = machine(&late);
    let client = machine.client();
    for tries in 1..=3 {
        let outcome = client.try_call("open", &[path("3").as_str().into()], 1);
        assert_eq!((outcome.status, outcome.results), (CALL_AGAIN, vec![UNTOUCHED]));
        assert_eq!((late.counts(), opens(&machine)), ((1, 0, tries), 0));
    }
    let outcome = client.try_call("open", &[path("3").as_str().into()], 1);
    assert_eq!(outcome.status, Status::SUCCESS);
    assert_eq!((late.counts(), opens(&machine)), ((1, 0, 3), 1));
    assert_eq!(client.path("instance-to-path", outcome.results[0]), path("3"));
    // It is another instance for whoever opens it anew.
    assert_ne!(client.one("open", &[path("3").as_str().into()]), outcome.results[0]);
    assert_eq!(late.counts(), (2, 0, 6));
    // One that cannot be opened is found out later, too.
    assert_eq!(client.one("open", &[path("2x").as_str().into()]), 0);
    assert_eq!(late.counts(), (3, 1, 8));
    assert_eq!(client.one("open", &[path("x").as_str().into()]), 0);
}

/// "[It] is dropped when its CPU asks for something else."
#[test]
fn an_open_is_given_up_when_its_cpu_asks_for_something_else() {
    let late = Late::default();
    let machine = machine(&late);
    let client = machine.client();
    let open = |arguments: &str| client.try_call("open", &[path(arguments).as_str().into()], 1);
    for (number, service) in ["peer", "instance-to-package", "milliseconds"].iter().enumerate() {
        assert_eq!(open("5").status, CALL_AGAIN);
        client.call(service, &[1.into()], 1);
        assert_eq!(late.counts(), (number + 1, number + 1, number + 1), "{service}");
    }
    // To open something else is one of these things.
    assert_eq!(open("5").status, CALL_AGAIN);
    assert_eq!(open("6").status, CALL_AGAIN);
    assert_eq!(late.counts(), (5, 4, 5));
    // Also where the other thing has no package, or is none.
    assert_ne!(client.one("open", &["/cpus".into()]), 0);
    assert_eq!((late.counts().0, late.counts().1), (5, 5));
    assert_eq!(open("5").status, CALL_AGAIN);
    assert_eq!(client.one("open", &["/nothing".into()]), 0);
    assert_eq!((late.counts().0, late.counts().1), (6, 6));
}

#[test]
fn no_cpus_open_is_in_the_way_of_anothers() {
    const CPUS: u32 = 8;
    let late = Late::default();
    let machine = machine(&late);
    // In turns.
    let (first, second) = (client_of(&machine, 0), client_of(&machine, 1));
    let open = |client: &Client<'_>| client.try_call("open", &[path("2").as_str().into()], 1);
    for client in [&first, &second, &first, &second] {
        assert_eq!(open(client).status, CALL_AGAIN);
    }
    second.call("peer", &[0.into()], 1);
    assert_eq!(open(&first).status, Status::SUCCESS);
    assert_eq!(open(&second).status, CALL_AGAIN);
    // At once.
    let mut handles: Vec<u32> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CPUS)
            .map(|cpu| {
                let machine = &machine;
                scope.spawn(move || {
                    let client = client_of(machine, cpu);
                    let open = |_| client.one("open", &[path("7").as_str().into()]);
                    (0..20).map(open).collect::<Vec<u32>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    handles.sort_unstable();
    handles.dedup();
    assert_eq!(handles.len(), 20 * CPUS as usize);
    assert!(!handles.contains(&0));
}

/// "Beyond: the firmware in the guest makes the call again."
#[test]
fn openings_have_a_limit() {
    let late = Late::default();
    let machine = machine(&late);
    let open = |cpu: usize, arguments: &str| {
        client_of(&machine, cpu as u32).try_call("open", &[path(arguments).as_str().into()], 1)
    };
    for cpu in 0..limits::MAX_OPENINGS {
        assert_eq!(open(cpu, "100").status, CALL_AGAIN);
    }
    assert_eq!(late.counts().0, limits::MAX_OPENINGS);
    // Nobody else's is begun, not even what would be ready at once.
    assert_eq!(open(limits::MAX_OPENINGS, "0").status, CALL_AGAIN);
    assert_eq!(late.counts().0, limits::MAX_OPENINGS);
    // Nobody comes back for the others.
    std::thread::sleep(limits::IN_FLIGHT_LAPSE);
    assert_eq!(open(limits::MAX_OPENINGS, "0").status, Status::SUCCESS);
    assert_eq!(late.counts().1, limits::MAX_OPENINGS);
    assert_eq!(open(0, "1").status, CALL_AGAIN);
    assert_eq!(late.counts().0, limits::MAX_OPENINGS + 2);
}

/// "A call that has no answer has not been made": it is begun anew where the machine goes on.
#[test]
fn a_saved_state_has_no_open_that_is_under_way() {
    let late = Late::default();
    let machine = machine(&late);
    let arguments = path("2");
    let open = [arguments.as_str().into()];
    assert_eq!(machine.client().try_call("open", &open, 1).status, CALL_AGAIN);
    let state = machine.vof().state().unwrap();
    let new = Late::default();
    let package = Arc::new(new.clone());
    let restored = |state: &VofState| {
        TestMachine::restored(
            sample_tree(),
            &of_size(RAM_BYTES),
            |builder| builder.package(NODE, package.clone()),
            state,
        )
    };
    let next = restored(&state).unwrap();
    assert_eq!(new.counts(), (0, 0, 0));
    let ihandle = next.client().one("open", &open);
    assert_eq!((new.counts(), ihandle != 0), ((1, 0, 2), true));
    // What is open there is opened before the machine goes on.
    let again = restored(&next.vof().state().unwrap()).unwrap();
    assert_eq!(new.counts(), (2, 0, 4));
    assert_eq!(again.client().path("instance-to-path", ihandle), arguments);
    let mut bad = next.vof().state().unwrap();
    let slot = bad.vof.instances.slots.last_mut().unwrap();
    slot.instance.as_mut().unwrap().arguments = "1x".to_owned();
    assert!(restored(&bad).is_err());
}
