//! `pseries-vmm` with a file, such as a named pipe, in which it is told to make the machine larger
//! and smaller while it runs, to plug devices and to unplug them, and to have it stand still.
//!
//! ```console
//! $ mkfifo control
//! $ cargo run -p pseries-vmm --example resize -- control --kernel vmlinux \
//!       --cpus boot=2,max=4 --memory size=512M,hotplug_size=1G &
//! $ echo cpus 4 >control
//! $ echo memory 1G >control
//! ```
//!
//! The lines are `cpus N` and `memory SIZE`, which say how many CPUs and how much memory the machine
//! is to have in all; `disk OPTIONS`, `net OPTIONS`, `rng OPTIONS`, `vsock OPTIONS` and `fs OPTIONS`,
//! which plug a device and say what it is called, `unplug ID`, which asks the guest for it, and
//! `gone ID`, which waits for that; `devices`; `info`; `pause` and `resume`; and `wait SECONDS`, which says how long the machine
//! has for each of the next ones. Each but the last has one line of answer, on standard error, once the guest has done
//! what it was asked for, has said no, or its time is over.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::ExitCode;
use std::time::Duration;

use pseries_vmm::config::{DiskConfig, FsConfig, NetConfig, RngConfig, Size, VsockConfig};
use pseries_vmm::pause::PauseError;
use pseries_vmm::resize::{Amount, Control, Info, ResizeError};
use pseries_vmm::{DeviceConfig, DeviceInfo, Removal, program, take_limits_as_errors};

fn main() -> ExitCode {
    take_limits_as_errors();
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let Some(path) = arguments.next() else {
        say("usage: resize FILE ARGUMENTS-OF-PSERIES-VMM...");
        return ExitCode::from(2);
    };
    let cli = match program::command_line(name.into_iter().chain(arguments)) {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    // Open for both, a pipe has no end when a writer leaves.
    let lines = match File::options().read(true).write(true).open(&path) {
        Ok(file) => BufReader::new(file),
        Err(error) => {
            say(&format!("cannot open {}: {error}", path.to_string_lossy()));
            return ExitCode::from(2);
        }
    };
    let control = Control::new();
    let machine = control.clone();
    // It ends with the process.
    std::thread::spawn(move || obey(lines, &machine));
    program::run(&cli, &control)
}

/// Obeys line after line.
fn obey(lines: impl BufRead, control: &Control) {
    let mut limit = Duration::from_secs(120);
    for line in lines.lines().map_while(Result::ok) {
        let line = line.trim();
        match line.split_once(' ') {
            Some(("wait", seconds)) => match seconds.parse() {
                Ok(seconds) => limit = Duration::from_secs(seconds),
                Err(error) => say(&format!("{line}: {error}")),
            },
            Some(("cpus", cpus)) => match cpus.parse() {
                Ok(cpus) => say(&format!("{line}: {}", resize_cpus(control, cpus, limit))),
                Err(error) => say(&format!("{line}: {error}")),
            },
            Some(("memory", size)) => match size.parse() {
                Ok(size) => say(&format!("{line}: {}", resize_memory(control, size, limit))),
                Err(error) => say(&format!("{line}: {error}")),
            },
            Some((kind @ ("disk" | "net" | "rng" | "vsock" | "fs"), options)) => {
                say(&format!("{line}: {}", plug(control, kind, options)));
            }
            Some(("unplug", id)) => say(&format!("{line}: {}", unplug(control, id))),
            Some(("gone", id)) => say(&format!("{line}: {}", gone(control, id, limit))),
            None if line == "devices" => say(&format!("devices: {}", devices(control))),
            None if line == "pause" => say(&format!("pause: {}", result(control.pause(limit)))),
            None if line == "resume" => say(&format!("resume: {}", result(control.resume()))),
            None if line == "info" => say(&format!("info: {}", describe(control.info()))),
            _ if line.is_empty() => {}
            _ => say(&format!(
                "{line}: not one of cpus N, memory SIZE, disk|net|rng|vsock|fs OPTIONS, unplug ID, \
                 gone ID, devices, info, pause, resume, wait SECONDS"
            )),
        }
    }
}

fn result(result: Result<(), PauseError>) -> String {
    result.map_or_else(|error| chain(&error), |()| "done".to_owned())
}

fn plug(control: &Control, kind: &str, options: &str) -> String {
    let device = match kind {
        "disk" => DiskConfig::parse(options).map(DeviceConfig::Disk),
        "net" => NetConfig::parse(options).map(DeviceConfig::Net),
        "rng" => RngConfig::parse(options).map(DeviceConfig::Rng),
        "vsock" => VsockConfig::parse(options).map(DeviceConfig::Vsock),
        _ => FsConfig::parse(options).map(DeviceConfig::Fs),
    };
    match device.map(|device| control.add_device(device)) {
        Ok(Ok(place)) => format!("plugged {} at {}", place.id, place.bdf),
        Ok(Err(error)) => format!("refused: {}", chain(&error)),
        Err(error) => format!("refused: {}", chain(&error)),
    }
}

fn unplug(control: &Control, id: &str) -> String {
    match control.remove_device(id) {
        Ok(Removal::Asked) => "asked".to_owned(),
        Ok(_) => "done".to_owned(),
        Err(error) => format!("refused: {}", chain(&error)),
    }
}

/// Waits until there is no such device.
fn gone(control: &Control, id: &str, limit: Duration) -> String {
    let has = |devices: &[DeviceInfo]| devices.iter().any(|device| device.place.id == id);
    match control.wait_for_devices(limit, |devices| !has(devices)) {
        Ok(devices) if has(&devices) => "pending: the guest has not given it back".to_owned(),
        Ok(_) => "done".to_owned(),
        Err(error) => chain(&error),
    }
}

fn devices(control: &Control) -> String {
    match control.devices() {
        Ok(devices) => {
            let one = |device: &DeviceInfo| {
                format!("{} at {} {:?}", device.place.id, device.place.bdf, device.state)
            };
            devices.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        Err(error) => chain(&error),
    }
}

fn resize_cpus(control: &Control, cpus: u32, limit: Duration) -> String {
    let done = control
        .resize(Some(cpus), None)
        .and_then(|_| control.wait_until(limit, |info| !info.cpus.is_pending()));
    outcome(done.map(|info| info.cpus), cpus.into(), "CPUs")
}

fn resize_memory(control: &Control, Size(bytes): Size, limit: Duration) -> String {
    let done = control
        .resize(None, Some(bytes))
        .and_then(|_| control.wait_until(limit, |info| !info.memory.is_pending()));
    outcome(done.map(|info| info.memory), bytes, "bytes of memory")
}

fn outcome(amount: Result<Amount, ResizeError>, wanted: u64, what: &str) -> String {
    match amount {
        Err(error) => format!("refused: {}", chain(&error)),
        Ok(Amount { coming, going, present, .. }) if coming + going != 0 => format!(
            "pending: the guest has not taken {coming} and not given back {going} {what}, and has \
             {present}"
        ),
        Ok(Amount { present, .. }) if present == wanted => "done".to_owned(),
        Ok(Amount { present, refused, .. }) => {
            format!("refused: the guest keeps {refused} {what}, and has {present}")
        }
    }
}

fn describe(info: Result<Info, ResizeError>) -> String {
    let Info { cpus, memory, .. } = match info {
        Ok(info) => info,
        Err(error) => return chain(&error),
    };
    let amount = |name: &str, amount: Amount| {
        let mut text = format!("{name} {} of {}", amount.present, amount.max);
        for (what, count) in [("coming", amount.coming), ("going", amount.going)] {
            if count != 0 {
                text += &format!(" {what} {count}");
            }
        }
        text
    };
    format!("{} {}", amount("cpus", cpus), amount("memory", memory))
}

/// An error with its reasons, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        text += &format!(": {reason}");
        source = reason.source();
    }
    text
}

/// When nobody takes it there is nobody to tell.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "resize: {text}");
}
