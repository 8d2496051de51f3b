//! What can be asked for: one table.

use hyper::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::answer::ApiError;
use crate::config::{Body, DiskConfig, FsConfig, NetConfig, VmConfig, VsockConfig};
use crate::counters::Counters;
use crate::devices::{DeviceConfig, PciDeviceInfo};
use crate::lifecycle::{
    LifecycleError, Ping, ReceiveMigration, RemoveDevice, Resize, Restore, SendMigration, Snapshot,
    VmInfo, Vmm,
};

/// Where all paths begin.
pub(super) const ROOT: &str = "/api/v1/";

/// The text that is the answer, JSON mostly; none is a done without a word.
pub(super) type Answer = Result<Option<String>, ApiError>;

/// A path.
#[derive(Debug)]
pub(super) struct Route {
    /// Its last part, which is the verb.
    pub(super) name: &'static str,
    /// What it does.
    pub(super) summary: &'static str,
    pub(super) act: Act,
    /// What its body is.
    pub(super) takes: Option<SchemaOf>,
    /// What its answer is.
    pub(super) gives: Gives,
    /// Statuses of errors, and when they are.
    pub(super) fails: &'static [(u16, &'static str)],
}

/// Of a type, with what it refers to in the generator.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// How it is done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// At once, waiting for nothing: GET.
    Tell(fn(&Vmm) -> Answer),
    /// With the document of the API: GET.
    Describe,
    /// By one of the threads for that, as it may have to wait: GET.
    Ask(fn(&Vmm) -> Answer),
    /// By one of the threads for that: PUT.
    Do(fn(&Vmm, &[u8]) -> Answer),
    /// The same of what ends the VMM, which is told so before: PUT.
    Leave(fn(&Vmm) -> Answer),
}

/// What an answer is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gives {
    /// 204.
    Nothing,
    /// 200.
    Json(SchemaOf),
    /// 200, as text.
    Text,
    /// 200 where the machine runs, else 204.
    JsonIfRunning(SchemaOf),
}

impl Route {
    pub(super) fn method(&self) -> Method {
        match self.act {
            Act::Tell(_) | Act::Describe | Act::Ask(_) => Method::GET,
            Act::Do(_) | Act::Leave(_) => Method::PUT,
        }
    }
}

/// The route of a path.
pub(super) fn find(path: &str) -> Option<&'static Route> {
    match path.strip_prefix(ROOT) {
        Some(name) => ROUTES.iter().find(|route| route.name == name),
        None => Some(&METRICS).filter(|route| route.name == path),
    }
}

/// What programs that watch many machines look for, where they look for it.
static METRICS: Route = Route {
    name: "/metrics",
    summary: "Tells what vm.counters tells, as Prometheus reads it",
    act: Act::Ask(|vmm| Ok(Some(vmm.metrics()))),
    takes: None,
    gives: Gives::Text,
    fails: &[],
};

const NOT_CREATED: (u16, &str) = (404, "no VM is created");
const WRONG_STATE: (u16, &str) = (405, "the VM is in another state");
const INVALID: (u16, &str) = (400, "what is asked for cannot be");
const BUSY: (u16, &str) = (409, "something that takes long is under way");
const FAILED: (u16, &str) = (500, "the host failed");

const DEVICE: &[(u16, &str)] = &[
    INVALID,
    NOT_CREATED,
    WRONG_STATE,
    (409, "another device has the same id, path or address; or something is under way"),
    FAILED,
];

#[rustfmt::skip]
pub(super) const ROUTES: &[Route] = &[
    tell("vmm.ping", "Tells that the VMM is there, and what it is", |vmm| json(&vmm.ping()), schema::<Ping>, &[]),
    tell("vm.info", "Tells what the VM is, and its state", |vmm| told("vm.info", vmm.info()), schema::<VmInfo>, &[NOT_CREATED]),
    asking::<Counters>("vm.counters", "Tells what the VM and its devices have done", |vmm| told("vm.counters", vmm.counters()), &[NOT_CREATED, WRONG_STATE]),
    Route { act: Act::Leave(|vmm| { vmm.shut_down_vmm(); Ok(None) }), ..plain("vmm.shutdown", "Ends the VM, and the VMM", |_, _| Ok(None), &[]) },
    taking::<VmConfig>("vm.create", "Makes a VM of a configuration; it does not run yet", |vmm, body| {
        done("vm.create", vmm.create(read("vm.create", body)?))
    }, &[INVALID, (405, "a VM is created already"), (409, "devices have something in common"), FAILED]),
    plain("vm.delete", "Forgets the VM, which is shut down before", |vmm, _| done("vm.delete", vmm.delete()), &[BUSY, FAILED]),
    plain("vm.boot", "Starts the VM", |vmm, _| done("vm.boot", vmm.boot()), &[INVALID, NOT_CREATED, WRONG_STATE, BUSY, FAILED]),
    plain("vm.pause", "Has the VM stand still", |vmm, _| done("vm.pause", vmm.pause()), &[NOT_CREATED, WRONG_STATE, BUSY, FAILED]),
    plain("vm.resume", "Has the VM go on", |vmm, _| done("vm.resume", vmm.resume()), &[NOT_CREATED, WRONG_STATE, BUSY, FAILED]),
    plain("vm.shutdown", "Switches the VM off at once; it stays created", |vmm, _| done("vm.shutdown", vmm.shut_down()), &[NOT_CREATED, WRONG_STATE, BUSY, FAILED]),
    plain("vm.reboot", "Starts the VM again, whatever its guest is at", |vmm, _| done("vm.reboot", vmm.reboot()), &[NOT_CREATED, WRONG_STATE, BUSY, FAILED]),
    plain("vm.power-button", "Asks the guest to shut down", |vmm, _| done("vm.power-button", vmm.press_power_button()), &[NOT_CREATED, WRONG_STATE, BUSY, FAILED]),
    taking::<Resize>("vm.resize", "Gives the VM more or fewer CPUs, or memory", |vmm, body| {
        done("vm.resize", vmm.resize(&read("vm.resize", body)?))
    }, &[INVALID, NOT_CREATED, WRONG_STATE, BUSY, FAILED]),
    adding::<DiskConfig>("vm.add-disk", "Gives the VM a disk", |vmm, body| add::<DiskConfig>("vm.add-disk", vmm, body)),
    adding::<NetConfig>("vm.add-net", "Gives the VM a network interface", |vmm, body| add::<NetConfig>("vm.add-net", vmm, body)),
    adding::<FsConfig>("vm.add-fs", "Gives the VM a folder of the host", |vmm, body| add::<FsConfig>("vm.add-fs", vmm, body)),
    adding::<VsockConfig>("vm.add-vsock", "Gives the VM sockets between guest and host", |vmm, body| add::<VsockConfig>("vm.add-vsock", vmm, body)),
    taking::<RemoveDevice>("vm.remove-device", "Takes a device from the VM: its guest is asked for it", |vmm, body| {
        done("vm.remove-device", vmm.remove_device(&read("vm.remove-device", body)?))
    }, &[INVALID, (404, "no VM is created, or there is no such device"), WRONG_STATE, BUSY, FAILED]),
    taking::<Snapshot>("vm.snapshot", "Saves the VM, which is paused, in a folder", |vmm, body| {
        done("vm.snapshot", vmm.snapshot(&read("vm.snapshot", body)?))
    }, &[INVALID, NOT_CREATED, WRONG_STATE, BUSY, FAILED]),
    taking::<Restore>("vm.restore", "Makes a VM of one that was saved; it is paused, unless it is to be resumed", |vmm, body| {
        done("vm.restore", vmm.restore(&read("vm.restore", body)?))
    }, &[INVALID, (405, "a VM is created already"), BUSY, FAILED]),
    taking::<SendMigration>("vm.send-migration", "Sends the VM to another VMM, where it goes on", |vmm, body| {
        done("vm.send-migration", vmm.send_migration(&read("vm.send-migration", body)?))
    }, &[INVALID, NOT_CREATED, WRONG_STATE, BUSY, FAILED]),
    taking::<ReceiveMigration>("vm.receive-migration", "Waits for a VM that another VMM sends, and has it go on here", |vmm, body| {
        done("vm.receive-migration", vmm.receive_migration(&read("vm.receive-migration", body)?))
    }, &[INVALID, (405, "a VM is created already"), BUSY, FAILED]),
    Route {
        name: "vmm.openapi",
        summary: "Tells what can be asked for: this document",
        act: Act::Describe,
        takes: None,
        gives: Gives::Json(|_| schemars::json_schema!({ "type": "object" })),
        fails: &[],
    },
];

const fn tell(
    name: &'static str,
    summary: &'static str,
    tell: fn(&Vmm) -> Answer,
    gives: SchemaOf,
    fails: &'static [(u16, &'static str)],
) -> Route {
    let (act, gives) = (Act::Tell(tell), Gives::Json(gives));
    Route { name, summary, act, takes: None, gives, fails }
}

const fn asking<T: JsonSchema>(
    name: &'static str,
    summary: &'static str,
    ask: fn(&Vmm) -> Answer,
    fails: &'static [(u16, &'static str)],
) -> Route {
    let (act, gives) = (Act::Ask(ask), Gives::Json(schema::<T>));
    Route { name, summary, act, takes: None, gives, fails }
}

const fn plain(
    name: &'static str,
    summary: &'static str,
    act: fn(&Vmm, &[u8]) -> Answer,
    fails: &'static [(u16, &'static str)],
) -> Route {
    Route { name, summary, act: Act::Do(act), takes: None, gives: Gives::Nothing, fails }
}

const fn taking<T: JsonSchema>(
    name: &'static str,
    summary: &'static str,
    act: fn(&Vmm, &[u8]) -> Answer,
    fails: &'static [(u16, &'static str)],
) -> Route {
    let takes = Some(schema::<T> as SchemaOf);
    Route { name, summary, act: Act::Do(act), takes, gives: Gives::Nothing, fails }
}

const fn adding<T: JsonSchema>(
    name: &'static str,
    summary: &'static str,
    act: fn(&Vmm, &[u8]) -> Answer,
) -> Route {
    let route = taking::<T>(name, summary, act, DEVICE);
    Route { gives: Gives::JsonIfRunning(schema::<PciDeviceInfo>), ..route }
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn add<T: Body + Into<DeviceConfig>>(name: &'static str, vmm: &Vmm, body: &[u8]) -> Answer {
    let added = vmm.add_device(read::<T>(name, body)?);
    match added.map_err(|error| ApiError::Verb(name, error))? {
        Some(info) => json(&info),
        None => Ok(None),
    }
}

fn read<T: Body>(name: &'static str, body: &[u8]) -> Result<T, ApiError> {
    T::from_body(body).map_err(|error| ApiError::Body(name, error))
}

fn done(name: &'static str, result: Result<(), LifecycleError>) -> Answer {
    result.map(|()| None).map_err(|error| ApiError::Verb(name, error))
}

fn told<T: Serialize>(name: &'static str, result: Result<T, LifecycleError>) -> Answer {
    json(&result.map_err(|error| ApiError::Verb(name, error))?)
}

fn json(value: &impl Serialize) -> Answer {
    serde_json::to_string(value).map(Some).map_err(ApiError::Unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once() {
        for route in ROUTES {
            assert_eq!(ROUTES.iter().filter(|other| other.name == route.name).count(), 1);
            assert_eq!(find(&format!("{ROOT}{}", route.name)).unwrap().name, route.name);
            let asks = route.name.starts_with("vm.") || route.name.starts_with("vmm.");
            assert!(asks && !route.summary.ends_with('.'), "{route:?}");
        }
        assert_eq!(find("/metrics").unwrap().name, "/metrics");
        for path in
            ["/api/v1/vm.add-device", "/api/v1/metrics", "/api/v1//metrics", "vm.boot", "", "/"]
        {
            assert!(find(path).is_none(), "{path}");
        }
    }
}
