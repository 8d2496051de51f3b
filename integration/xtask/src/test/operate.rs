//! Machines as they are operated: the scripts of the documents, a service, a container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::boot;
use crate::failure::{Attempt, Failure, Result};
use crate::folders::{self, TemporaryFolder};
use crate::guest::{self, NO_WATCHDOGS, QUICK};
use crate::program::{is_present, output_of, tool};

use super::log::Log;
use super::scripts;

/// The device files that every container has.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Programs and a guest, in a folder.
struct Place {
    folder: TemporaryFolder,
    programs: PathBuf,
}

impl Place {
    fn make(name: &str) -> Result<Self> {
        let guest = guest::make(false)?;
        let vmm = boot::build()?;
        // The path of a socket in it has to be short.
        let folder = TemporaryFolder::make(&std::env::temp_dir(), name)?;
        guest::take(&guest.kernel, &folder.path().join("vmlinux"))?;
        guest::take(&guest.initramfs, &folder.path().join("initramfs.cpio.gz"))?;
        let programs = vmm.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { folder, programs })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// bash in the folder, with the programs first of all, and a script. What it leaves behind ends
    /// with it.
    fn bash(&self, script: &str) -> Command {
        let mut bash = tool("bash");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut paths = vec![self.programs.clone()];
        paths.extend(std::env::split_paths(&path));
        let paths = std::env::join_paths(paths).unwrap_or(path);
        bash.current_dir(self.path()).env("PATH", paths).arg("-c");
        bash.arg(format!("trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n{script}"));
        bash.stdin(Stdio::null());
        bash
    }
}

/// What docs/api.md says is so.
pub(super) fn api(log: &mut Log) -> Result<()> {
    let document = folders::workspace().join("docs/api.md");
    let document = String::from_utf8_lossy(&folders::read(&document)?).into_owned();
    let scripts = scripts::of(&document);
    // On a slow machine with warnings, its console has lines in between.
    let place = Place::make("api-scripts")?;
    let text = scripts::joined(&scripts);
    let text = text.replace("cryptomgr.notests", &format!("cryptomgr.notests {NO_WATCHDOGS}"));
    let printed = log.run_with_input(&mut place.bash(&text), "");
    for file in ["vmm.log", "vmm2.log", "console.log", "events.json"] {
        log.add(format!("---- {file}\n").as_bytes())?;
        log.add(&fs::read(place.path().join(file)).unwrap_or_default())?;
    }
    scripts::check(&scripts, &printed?)
}

/// The unit's commands start a machine and shut it down.
pub(super) fn service(log: &mut Log) -> Result<()> {
    let unit = folders::workspace().join("integration/vmm/dist/pseries-vmm@.service");
    let unit = String::from_utf8_lossy(&folders::read(&unit)?).into_owned();
    let place = Place::make("service")?;
    write_configuration(&place, "etc/web1.json")?;
    for folder in ["run", "state"] {
        folders::make(&place.path().join(folder))?;
    }
    // The same commands with folders of this test.
    let here = place.path().display().to_string();
    let command = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key));
        let line = line.ok_or_else(|| Failure::new(format!("the unit has no {key}")))?;
        let line = line.replace("/usr/bin/", "").replace("%i", "web1");
        let line = line.replace("/etc/pseries-vmm/", &format!("{here}/etc/"));
        let line = line.replace("/var/lib/pseries-vmm/web1", &format!("{here}/state"));
        Ok::<_, Failure>(line.replace("/run/pseries-vmm/web1", &format!("{here}/run")))
    };
    let (start, stop) = (command("ExecStart=")?, command("ExecStop=-")?);
    let script = format!(
        "set -eu\n{start} > console.log 2> vmm.log & MAINPID=$!\n\
         until grep -q 'guest:' console.log; do kill -0 $MAINPID; sleep 0.2; done\n\
         {stop}\nwait $MAINPID\ngrep -a GUEST-SHUTS-DOWN console.log\n"
    );
    let done = log.run(&mut place.bash(&script));
    for file in ["vmm.log", "console.log"] {
        log.add(&fs::read(place.path().join(file)).unwrap_or_default())?;
    }
    done
}

/// The container's command runs a machine, in a root of its own that has nothing but what the image
/// has of it: programs and libraries, read-only.
pub(super) fn container(log: &mut Log) -> Result<()> {
    let file = folders::workspace().join("integration/vmm/dist/Containerfile");
    let file = String::from_utf8_lossy(&folders::read(&file)?).into_owned();
    let list = |key: &str| -> Result<Vec<String>> {
        let line = file.lines().find_map(|line| line.trim().strip_prefix(key));
        let list = line.and_then(|line| serde_json::from_str(line.trim()).ok());
        list.ok_or_else(|| Failure::new(format!("the Containerfile has no list {key}")))
    };
    let (entry, command) = (list("ENTRYPOINT")?, list("CMD")?);
    if !is_present("unshare") {
        return Err(Failure::new("there is no unshare(1), which is of the package util-linux"));
    }
    let place = Place::make("container")?;
    let root = place.path().join("root");
    for folder in ["vm", "run/vm", "dev", "proc", "tmp", "usr/bin"] {
        folders::make(&root.join(folder))?;
    }
    for program in ["pseries-vmm", "pseries-remote"] {
        install(&place.programs.join(program), &root)?;
    }
    for name in ["vmlinux", "initramfs.cpio.gz"] {
        guest::take(&place.path().join(name), &root.join("vm").join(name))?;
    }
    write_configuration(&place, "root/vm/machine.json")?;
    for device in DEVICES {
        folders::write(&root.join("dev").join(device), b"")?;
    }
    // Devices as a container has them, and nothing to be written but the folder of the socket.
    let inside = format!(
        "set -eu\nmount --bind root root\n\
         for device in {devices}; do mount --bind /dev/$device root/dev/$device; done\n\
         mount -t proc proc root/proc\nmount -t tmpfs tmpfs root/run/vm\n\
         mount -o remount,bind,ro root\nif touch root/tmp/x 2> /dev/null; then exit 1; fi\n\
         chroot root /bin/sh -c 'cd /vm && exec \"$0\" \"$@\"' {entry} {command} \
             > console.log 2> vmm.log & vmm=$!\n\
         until grep -q 'guest:' console.log; do kill -0 $vmm; sleep 0.2; done\n\
         remote='chroot root /usr/bin/pseries-remote --api-socket /run/vm/api.sock'\n\
         $remote ping\n$remote power-button\nwait $vmm\ngrep -a GUEST-SHUTS-DOWN console.log\n",
        devices = DEVICES.join(" "),
        entry = words(&entry),
        command = words(&command),
    );
    // A shell is in the image, too.
    install(Path::new("/bin/sh"), &root)?;
    let shell = words(&[inside]);
    let script = format!(
        "unshare --map-root-user --mount --pid --net --ipc --uts --fork --kill-child \
         bash -c {shell}"
    );
    let done = log.run(&mut place.bash(&script));
    for file in ["vmm.log", "console.log"] {
        log.add(&fs::read(place.path().join(file)).unwrap_or_default())?;
    }
    done
}

fn words(list: &[String]) -> String {
    let quoted = list.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''")));
    quoted.collect::<Vec<_>>().join(" ")
}

/// A machine without disks, whose files are in the folder where its VMM runs.
fn write_configuration(place: &Place, name: &str) -> Result<()> {
    let kernel = serde_json::json!({
        "memory": {"size": "256M"},
        "payload": {
            "kernel": "vmlinux",
            "initramfs": "initramfs.cpio.gz",
            "cmdline": format!("{QUICK} {NO_WATCHDOGS}"),
        },
    });
    let path = place.path().join(name);
    folders::make(path.parent().unwrap_or(&path))?;
    folders::write(&path, kernel.to_string().as_bytes())
}

/// Copies a program and the libraries that it needs, each to where it is here.
fn install(program: &Path, root: &Path) -> Result<()> {
    let copy = |from: &Path, to: &Path| -> Result<()> {
        folders::make(to.parent().unwrap_or(root))?;
        fs::copy(from, to).attempt(|| format!("copy {}", from.display())).map(drop)
    };
    let to = match program.starts_with("/bin") {
        true => root.join("bin"),
        false => root.join("usr/bin"),
    };
    copy(program, &to.join(program.file_name().unwrap_or_default()))?;
    let needed = output_of(tool("ldd").arg(program))?;
    // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, or the loader's path by itself.
    let paths = needed.split_whitespace().filter(|word| word.starts_with('/'));
    for path in paths {
        copy(Path::new(path), &root.join(path.trim_start_matches('/')))?;
    }
    Ok(())
}
