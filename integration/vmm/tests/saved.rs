//! Machines that are saved at any moment, and go on in other processes.
#![cfg(feature = "vof")]

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use images::{DISK, Image, SMALL_PART_FIRST, small_disk};
use run::Run;
use run::folder::Folder;
use run::told::{self, Told};

mod images;
mod run;

/// Not a test, but the VMM of the others.
#[test]
#[ignore = "it is a program"]
fn vmm() {
    told::vmm();
}

/// Does the host's part of what the guest wants to see.
fn finish(run: &mut Run, disk: &Image) {
    run.expect("written\n");
    disk.write(SMALL_PART_FIRST * 512 + 0x20000, &[0x77; 512]);
    run.type_in("g");
}

/// In the middle of calls and of requests to a disk, each time in another process: what is read and
/// written is the same as if nothing had happened.
#[test]
fn a_guest_at_its_disk_goes_on_in_other_processes() {
    let disk = small_disk("saved");
    let untouched = small_disk("never-saved");
    let mut plain =
        Run::start("disks.elf", &format!("writes {DISK}"), &["--disk", &untouched.option()]);
    finish(&mut plain, &untouched);
    assert_eq!(plain.end().0.code(), Some(0));

    let folder = Folder::new("saved");
    let saved = folder.0.join("machine");
    let mut vmm =
        Told::start("first", "disks.elf", &format!("writes {DISK}"), &["--disk", &disk.option()]);
    let mut shown = String::new();
    for round in 0..12 {
        vmm.tell("pause");
        vmm.save(&saved);
        shown += &vmm.kill();
        vmm = Told::restore("next", &saved, "");
        std::thread::sleep(std::time::Duration::from_millis(round % 7));
    }
    let mut run = vmm.run;
    if !shown.contains("written\n") {
        run.expect("written\n");
    }
    disk.write(SMALL_PART_FIRST * 512 + 0x20000, &[0x77; 512]);
    run.type_in("g");
    let (status, last, _) = run.end();
    assert_eq!(status.code(), Some(0), "{shown:?} {last:?}");
    assert!(last.ends_with("disks got what it asked for\n"), "{shown:?} {last:?}");
    let same = disk.read(0, disk.bytes() as usize) == untouched.read(0, disk.bytes() as usize);
    assert!(same, "another machine wrote something else");
}

/// A machine that stands still in a folder, of a guest that looks at all of its RAM, and its folder.
fn saved_guest(name: &str, options: &[&str]) -> (Folder, PathBuf) {
    let folder = Folder::new(name);
    let saved = folder.0.join("machine");
    let mut vmm = Told::start(name, "leftover.elf", "", options);
    vmm.run.expect("start 1\n");
    vmm.tell("pause");
    vmm.save(&saved);
    vmm.kill();
    (folder, saved)
}

/// What is mapped over its RAM is nothing that the next client finds.
#[test]
fn a_machine_that_went_on_restarts_as_any_other() {
    let (_folder, saved) = saved_guest("restarts", &[]);
    for how in ["", ",prefault=on"] {
        let (status, shown, complaint) = Told::restore("restarted", &saved, how).end();
        assert_eq!(status, Some(0), "{shown:?} {complaint}");
        assert!(shown.ends_with("start 2\nnothing was left\n"), "{shown:?} {complaint}");
    }
    // The guest that wrote to all of that has changed nothing of what was saved.
    let (status, shown, _) = Told::restore("again", &saved, "").end();
    assert_eq!((status, shown.contains("nothing was left")), (Some(0), true));
}

/// One that stands still is saved again, and is what it was; and resized.
#[test]
fn a_machine_that_went_on_is_saved_again_and_resized() {
    let room = ["--memory", "size=256M,hotplug_size=512M", "--cpus", "boot=1,max=2"];
    let folder = Folder::new("resized");
    let (first, second) = (folder.0.join("first"), folder.0.join("second"));
    let mut vmm = Told::start("resized", "leftover.elf", "", &room);
    vmm.run.expect("start 1\n");
    vmm.tell(&format!("memory {}", 512 << 20));
    vmm.tell("pause");
    vmm.save(&first);
    vmm.kill();
    let mut vmm = Told::restore("resized", &first, ",resume=off");
    vmm.tell("pause");
    // Over itself, while its RAM is in what was there.
    vmm.save(&second);
    vmm.save(&first);
    vmm.save(&second);
    let state = |folder: &Path| fs::read_to_string(folder.join("state.json")).unwrap();
    let machine = |text: String| text.split_once("\"machine\":").unwrap().1.to_owned();
    assert_eq!(machine(state(&first)), machine(state(&second)));
    assert!(state(&first).contains(&format!("\"memory\":[{}]", 256 << 20)), "{}", state(&first));
    vmm.kill();
    for (bytes, is_there) in [(768_u64 << 20, true), (256 << 20, false)] {
        let mut vmm = Told::restore("resized-again", &second, ",resume=off");
        // The machine is there.
        vmm.tell("pause");
        vmm.tell(&format!("memory {bytes}"));
        vmm.save(&first);
        let has_more = state(&first).contains(&format!("{}]", 512 << 20));
        assert_eq!(has_more, is_there, "{}", state(&first));
        vmm.tell("resume");
        let (status, shown, complaint) = vmm.end();
        assert_eq!((status, shown.contains("nothing was left")), (Some(0), true), "{complaint}");
    }
}

/// A machine of 1 GiB takes as much as its guest has used.
#[test]
fn what_was_never_used_takes_no_room() {
    let memory = ["--memory", "size=1G"];
    for shared in ["", ",shared=on"] {
        let memory = [memory[0], &format!("{}{shared}", memory[1])];
        let folder = Folder::new("room");
        let saved = folder.0.join("machine");
        let disk = small_disk("room");
        let option = disk.option();
        let options = [&memory[..], &["--disk", &option]].concat();
        let mut vmm = Told::start("room", "disks.elf", &format!("writes {DISK}"), &options);
        vmm.run.expect("written\n");
        vmm.tell("pause");
        vmm.save(&saved);
        let file = fs::metadata(saved.join("memory-ranges")).unwrap();
        assert!(file.len() > 1 << 30, "it has room for all");
        assert!(file.blocks() * 512 < 8 << 20, "{} blocks", file.blocks());
        vmm.kill();
        let mut vmm = Told::restore("room", &saved, "");
        disk.write(SMALL_PART_FIRST * 512 + 0x20000, &[0x77; 512]);
        vmm.run.type_in("g");
        let (status, shown, complaint) = vmm.end();
        assert_eq!(status, Some(0), "{shown:?} {complaint}");
    }
}

/// The disk is full, or a limit is reached: the machine that was saved before is whole, and the one
/// that was to be saved goes on.
#[test]
fn what_was_saved_before_stays_until_all_is_written() {
    let folder = Folder::new("full");
    let saved = folder.0.join("machine");
    let mut vmm = Told::start("full", "leftover.elf", "", &[]);
    vmm.run.expect("start 1\n");
    vmm.tell("pause");
    vmm.save(&saved);
    vmm.tell("limit 4096");
    let before = state_of(&saved);
    let answer = vmm.order(&format!("save {}", saved.display()));
    assert!(
        answer.contains("cannot save the machine in") && answer.contains("too large"),
        "{answer}"
    );
    assert_eq!(state_of(&saved), before);
    let names: Vec<_> =
        fs::read_dir(&saved).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    // Nor is anything left where there was nothing.
    let other = folder.0.join("other");
    assert_ne!(vmm.order(&format!("save {}", other.display())), "done");
    assert!(!other.exists());
    // Nor is anything else written over.
    fs::create_dir(&other).unwrap();
    fs::write(other.join("config.json"), "mine").unwrap();
    let answer = vmm.order(&format!("save {}", other.display()));
    assert!(answer.contains("config.json is there already"), "{answer}");
    assert_eq!(fs::read_to_string(other.join("config.json")).unwrap(), "mine");
    vmm.tell("resume");
    let answer = vmm.order(&format!("save {}", saved.display()));
    assert!(answer.contains("not paused"), "{answer}");
    let (status, shown, complaint) = vmm.end();
    assert_eq!((status, shown.contains("nothing was left")), (Some(0), true), "{complaint}");
    let (status, shown, complaint) = Told::restore("full", &saved, "").end();
    assert_eq!((status, shown.contains("nothing was left")), (Some(0), true), "{complaint}");
}

fn state_of(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("state.json")).unwrap()
}

/// Whoever saves may end at any moment: what is in the folder is the old machine or the new one.
#[test]
fn a_folder_has_one_machine_whenever_its_writer_ended() {
    let (_first, old) = saved_guest("old", &[]);
    let (_second, new) = saved_guest("new", &[]);
    let folder = Folder::new("between");
    let names = ["memory-ranges", "config.json", "state.json"];
    let put = |from: &Path, name: &str, to: &str| {
        fs::copy(from.join(name), folder.0.join(to)).unwrap();
    };
    // In place of an old one, or where there was none.
    for (done, has_old) in (0..=3).map(|done| (done, true)).chain((1..3).map(|done| (done, false)))
    {
        let _ = fs::remove_dir_all(&folder.0);
        fs::create_dir_all(&folder.0).unwrap();
        for (number, name) in names.into_iter().enumerate() {
            if number < done {
                put(&new, name, name);
                continue;
            }
            put(&new, name, &format!("{name}.new"));
            if has_old {
                put(&old, name, name);
            }
        }
        let (status, shown, complaint) = Told::restore("between", &folder.0, "").end();
        assert_eq!((status, shown.contains("nothing was left")), (Some(0), true), "{complaint}");
        let opened = pseries_vmm::saved::SavedMachine::open(&folder.0).unwrap();
        let expected = if done == 0 { &old } else { &new };
        let expected = pseries_vmm::saved::SavedMachine::open(expected).unwrap();
        let text = |saved: &pseries_vmm::saved::SavedMachine| {
            serde_json::to_string(saved.state()).unwrap()
        };
        assert!(text(&opened) == text(&expected), "after {done} files");
    }
}

/// One that is whole under other names, as a writer that was killed leaves it, outlives a save that is
/// refused, one that fails, and another writer who is at it. So do the files of that one.
#[test]
fn who_saves_in_vain_takes_nothing_away() {
    let (folder, saved) = saved_guest("in-vain", &[]);
    let at = |name: &str| saved.join(name);
    let unfinish = || {
        for name in ["config.json", "state.json"] {
            fs::rename(at(name), at(&format!("{name}.new"))).unwrap();
        }
    };
    let mut vmm = Told::start("in-vain", "leftover.elf", "", &[]);
    vmm.run.expect("start 1\n");
    vmm.tell("pause");
    let save = format!("save {}", saved.display());
    unfinish();
    let memory = fs::read(at("memory-ranges")).unwrap();
    let writer = File::open(&saved).unwrap();
    fs::write(at("memory-ranges.new"), "of the other writer").unwrap();
    // SAFETY: of a descriptor of ours.
    assert_eq!(unsafe { libc::flock(writer.as_raw_fd(), libc::LOCK_EX) }, 0);
    let answer = vmm.order(&save);
    assert!(answer.contains("another machine is being saved there"), "{answer}");
    assert_eq!(fs::read(at("memory-ranges.new")).unwrap(), b"of the other writer");
    drop(writer);
    let is_whole = || {
        assert!(pseries_vmm::saved::SavedMachine::open(&saved).is_ok());
        assert!(fs::read(at("memory-ranges")).unwrap() == memory);
    };
    is_whole();
    // A folder where a file belongs is in the way before anything is changed.
    fs::create_dir(at("state.json")).unwrap();
    let answer = vmm.order(&save);
    assert!(answer.contains("state.json is there already"), "{answer}");
    fs::remove_dir(at("state.json")).unwrap();
    is_whole();
    vmm.tell("limit 4096");
    assert_ne!(vmm.order(&save), "done");
    is_whole();
    vmm.kill();
    // Nobody waits for the other end of a pipe.
    let mut vmm = Told::restore("in-vain", &saved, ",resume=off");
    vmm.tell("pause");
    let answer = vmm.order(&format!("save {}", folder.pipe("pipe")));
    assert!(answer.contains("Not a directory"), "{answer}");
    unfinish();
    vmm.save(&saved);
    assert!(!at("state.json.new").exists());
    assert!(fs::read(at("memory-ranges")).unwrap() != memory);
    assert!(pseries_vmm::saved::SavedMachine::open(&saved).is_ok());
    vmm.kill();
}

/// What is wrong with a saved machine, and which words say so.
type Wrong = (&'static str, Box<dyn Fn(&Path)>, &'static [&'static str]);

/// Each is refused by name, with the status of what the user has to put right, and nothing of it runs.
#[test]
fn what_cannot_go_on_is_refused_by_name() {
    let disk = small_disk("refused");
    let (_folder, saved) = saved_guest("refused", &["--disk", &disk.option()]);
    let (_other_folder, other) = saved_guest("other", &[]);
    let change = |name: &'static str, from: &'static str, to: &'static str| -> Box<dyn Fn(&Path)> {
        Box::new(move |folder: &Path| {
            let text = fs::read_to_string(folder.join(name)).unwrap();
            assert!(text.contains(from), "no {from} in {name}");
            fs::write(folder.join(name), text.replacen(from, to, 1)).unwrap();
        })
    };
    let cut = |name: &'static str, to: u64| -> Box<dyn Fn(&Path)> {
        Box::new(move |folder: &Path| {
            let file = File::options().write(true).open(folder.join(name)).unwrap();
            let bytes = file.metadata().unwrap().len();
            file.set_len(if to == 0 { bytes / 2 } else { to }).unwrap();
        })
    };
    let remove = |name: &'static str| -> Box<dyn Fn(&Path)> {
        Box::new(move |folder: &Path| fs::remove_file(folder.join(name)).unwrap())
    };
    let others = |name: &'static str| -> Box<dyn Fn(&Path)> {
        let other = other.clone();
        Box::new(move |folder: &Path| {
            fs::copy(other.join(name), folder.join(name)).unwrap();
        })
    };
    let kernel: &'static str = Box::leak(run::program("leftover.elf").display().to_string().into());
    let wrong: Vec<Wrong> = vec![
        ("cut memory", cut("memory-ranges", 0), &["memory-ranges", "was cut"]),
        ("no memory", cut("memory-ranges", 1), &["memory-ranges", "was cut"]),
        ("memory of another", others("memory-ranges"), &["memory-ranges", "another machine"]),
        ("state of another", others("state.json"), &["memory-ranges", "another machine"]),
        ("cut state", cut("state.json", 0), &["state.json", "EOF"]),
        ("no JSON", cut("state.json", 1), &["state.json"]),
        (
            "tampered state",
            change("state.json", "\"boot_count\":1", "\"boot_count\":7"),
            &["state.json", "checksum"],
        ),
        (
            "later form",
            change("state.json", "\"format\":1", "\"format\":9"),
            &["state.json", "form 9", "reads form 1"],
        ),
        ("no state", remove("state.json"), &["state.json", "No such file"]),
        ("no memory file", remove("memory-ranges"), &["memory-ranges", "No such file"]),
        ("no configuration", remove("config.json"), &["config.json", "No such file"]),
        ("no JSON configuration", cut("config.json", 0), &["config.json", "EOF"]),
        ("less memory", change("config.json", "67108864", "134217728"), &["memory: ", "0x4000000"]),
        (
            "other processor",
            change("config.json", "POWER9", "POWER8"),
            &["processor: ", "POWER9", "POWER8"],
        ),
        ("no kernel", change("config.json", kernel, "/nowhere/kernel"), &["/nowhere/kernel"]),
        ("no disk", change("config.json", "refused-", "absent-"), &["absent-", "No such file"]),
        (
            "one device more",
            change("config.json", "\"disks\":", "\"rng\": {\"src\": \"/dev/zero\"}, \"disks\":"),
            &["rng0"],
        ),
    ];
    let before = disk.read(0, disk.bytes() as usize);
    for (name, spoil, words) in wrong {
        let folder = Folder::new("spoiled");
        for file in ["config.json", "state.json", "memory-ranges"] {
            fs::copy(saved.join(file), folder.0.join(file)).unwrap();
        }
        spoil(&folder.0);
        let (status, shown, complaint) = Told::restore("spoiled", &folder.0, "").end();
        assert_eq!((status, shown.contains("start")), (Some(2), false), "{name}: {complaint}");
        for word in words {
            assert!(complaint.contains(word), "{name}: no {word:?} in {complaint}");
        }
    }
    assert!(disk.read(0, disk.bytes() as usize) == before, "somebody wrote to the disk");
    let (status, _, complaint) =
        Told::of_arguments("spoiled", &["--restore", "source_url=file:///nowhere/at/all"]).end();
    assert_eq!(status, Some(2), "{complaint}");
    assert!(complaint.contains("/nowhere/at/all/memory-ranges"), "{complaint}");
}

/// A file that is cut while a machine has its memory in it ends the machine, not more.
#[test]
fn memory_that_is_cut_meanwhile_ends_the_machine() {
    let (_folder, saved) = saved_guest("lost", &[]);
    let mut vmm = Told::restore("lost", &saved, ",resume=off");
    // The machine is there.
    vmm.tell("pause");
    let memory = File::options().read(true).write(true).open(saved.join("memory-ranges")).unwrap();
    memory.set_len(0).unwrap();
    vmm.tell("resume");
    let (status, _, complaint) = vmm.end();
    assert_eq!(status, Some(1), "{complaint}");
    assert!(complaint.contains("has become shorter"), "{complaint}");
    // Once it is read, nobody needs the file.
    let (_folder, saved) = saved_guest("kept", &[]);
    let mut vmm = Told::restore("kept", &saved, ",resume=off,prefault=on");
    vmm.tell("pause");
    let memory = File::options().write(true).open(saved.join("memory-ranges")).unwrap();
    memory.write_all_at(&[0xff; 4096], 0).unwrap();
    memory.set_len(0).unwrap();
    vmm.tell("resume");
    let (status, shown, complaint) = vmm.end();
    assert_eq!((status, shown.contains("nothing was left")), (Some(0), true), "{complaint}");
}
