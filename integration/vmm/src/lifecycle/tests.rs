//! The verbs without a machine that runs.

use super::*;
use crate::cli::BackendChoice;
use crate::config::{DiskConfig, Size};

fn vmm() -> Vmm {
    let options = RunOptions { backend: BackendChoice::Interp, ..RunOptions::default() };
    Vmm::new(options, Control::new())
}

#[test]
fn verbs_have_their_places_in_a_machines_life() {
    let vmm = vmm();
    for result in [vmm.boot(), vmm.pause(), vmm.resume(), vmm.reboot(), vmm.shut_down()] {
        let error = result.unwrap_err();
        assert_eq!(error.blame(), Blame::NotFound, "{error}");
    }
    assert!(vmm.info().is_err() && vmm.counters().is_err());
    vmm.delete().unwrap();
    let none = VmConfig {
        memory: crate::config::MemoryConfig { size: Size(1000), ..Default::default() },
        ..VmConfig::default()
    };
    assert_eq!(vmm.create(none).unwrap_err().blame(), Blame::Request);
    vmm.create(VmConfig::default()).unwrap();
    assert_eq!(vmm.create(VmConfig::default()).unwrap_err().blame(), Blame::State);
    for result in [vmm.pause(), vmm.resume(), vmm.reboot(), vmm.shut_down()] {
        let error = result.unwrap_err();
        assert_eq!(error.blame(), Blame::State, "{error}");
    }
    let info = vmm.info().unwrap();
    assert_eq!((info.state, info.memory_actual_size), (VmState::Created, 1 << 30));
    vmm.delete().unwrap();
    assert!(vmm.info().is_err());
}

#[test]
fn a_machine_that_is_created_is_changed_or_stays_as_it_is() {
    let vmm = vmm();
    vmm.create(VmConfig::default()).unwrap();
    let disk = |text| DiskConfig::parse(text).unwrap();
    assert_eq!(vmm.add_device(disk("path=a")).unwrap(), None);
    vmm.add_device(disk("path=b")).unwrap();
    let error = vmm.add_device(disk("path=c,id=disk1")).unwrap_err();
    assert_eq!(error.blame(), Blame::Conflict, "{error}");
    let unknown = vmm.remove_device(&RemoveDevice { id: "disk2".to_owned() }).unwrap_err();
    assert_eq!(unknown.blame(), Blame::NotFound, "{unknown}");
    // The others are called as before.
    vmm.remove_device(&RemoveDevice { id: "disk0".to_owned() }).unwrap();
    let disks = vmm.info().unwrap().config.config.disks;
    assert_eq!(disks, [disk("path=b,id=disk1")]);
    let too_many = Resize { desired_vcpus: Some(5000), ..Resize::default() };
    assert_eq!(vmm.resize(&too_many).unwrap_err().blame(), Blame::Request);
    let balloon = Resize { desired_balloon: Some(1), ..Resize::default() };
    assert_eq!(vmm.resize(&balloon).unwrap_err().blame(), Blame::Request);
    let two = Resize { desired_vcpus: Some(2), desired_balloon: Some(0), ..Resize::default() };
    vmm.resize(&two).unwrap();
    assert_eq!(vmm.info().unwrap().config.config.cpus.boot_vcpus, 2);
}

#[test]
fn what_takes_long_goes_first_and_a_vmm_that_ends_does_nothing_more() {
    let vmm = vmm();
    let long = vmm.begin(Verb::Snapshot).unwrap();
    let error = vmm.create(VmConfig::default()).unwrap_err();
    assert_eq!(error.blame(), Blame::Conflict);
    assert!(error.to_string().contains("vm.snapshot is under way"), "{error}");
    drop(long);
    // What is short is waited for.
    let short = vmm.begin(Verb::Pause).unwrap();
    let other = vmm.clone();
    let waits = std::thread::spawn(move || other.create(VmConfig::default()));
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(!waits.is_finished());
    drop(short);
    waits.join().unwrap().unwrap();
    vmm.shut_down_vmm();
    assert!(matches!(vmm.delete(), Err(LifecycleError::Ending)));
    assert!(matches!(vmm.boot(), Err(LifecycleError::Ending)));
    // As does one that is to run.
    assert!(matches!(vmm.serve(None), Ok(crate::Ending::Stopped)));
}

/// Whoever ends a machine comes before it is started, or meets another one that somebody starts then.
#[test]
fn a_machine_is_ended_however_far_its_start_is() {
    use std::sync::mpsc::channel;
    let vmm = vmm();
    let (told, ordered) = channel();
    std::thread::scope(|scope| {
        let at_work = vmm.begin(Verb::ReceiveMigration).unwrap();
        let ends = scope.spawn(|| vmm.begin_end(Verb::Shutdown).map(|(_, ended)| ended));
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(!ends.is_finished() && !vmm.0.control.is_stop_wanted());
        // The main thread's part: it has the order, and hears of the end only by `control`.
        scope.spawn(|| {
            drop(vmm.wait_while(|state| state.order.is_none()));
            while !vmm.0.control.is_stop_wanted() {
                std::thread::yield_now();
            }
            let mut state = vmm.lock();
            vmm.0.control.end();
            (state.stage, state.order) = (Stage::Idle, None);
            told.send(()).unwrap();
        });
        let error = vmm.order(Order::Run(None)).unwrap_err();
        assert!(matches!(error, LifecycleError::Ending), "{error}");
        ordered.recv().unwrap();
        drop(at_work);
        assert!(ends.join().unwrap().unwrap());
    });
    // What is saved is not given up.
    let _saves = vmm.begin(Verb::Snapshot).unwrap();
    for result in [vmm.shut_down(), vmm.delete()] {
        let error = result.unwrap_err();
        assert_eq!(error.blame(), Blame::Conflict, "{error}");
    }
}

#[test]
fn who_waits_for_another_ones_work_is_told_that_the_vmm_ends() {
    let vmm = vmm();
    let at_work = vmm.begin(Verb::Create).unwrap();
    std::thread::scope(|scope| {
        let begins = scope.spawn(|| vmm.begin(Verb::Pause).map(drop));
        let ends = scope.spawn(|| vmm.begin_end(Verb::Delete).map(drop));
        std::thread::sleep(std::time::Duration::from_millis(20));
        vmm.begin_to_leave();
        for waits in [begins, ends] {
            assert!(matches!(waits.join().unwrap(), Err(LifecycleError::Ending)));
        }
    });
    drop(at_work);
}
