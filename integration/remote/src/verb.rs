//! What a verb is as a request.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use pseries_vmm::config::MAX_CONFIG_BYTES;
use serde_json::{Value, json};

use crate::cli::{Resize, SendMigration, Verb};
use crate::error::Error;
use crate::request::{Answer, PING, Request};

impl Verb {
    /// The request that this is. A file that is to be sent is read.
    ///
    /// # Errors
    /// [`Error::File`] when that cannot be read.
    pub(crate) fn request(&self) -> Result<Request, Error> {
        Ok(match self {
            Self::Ping => PING,
            Self::ShutdownVmm => Request::put("/api/v1/vmm.shutdown"),
            Self::Create { file } => {
                let body = Some(configuration(file)?);
                Request { body, ..Request::put("/api/v1/vm.create") }
            }
            Self::Boot => Request::put("/api/v1/vm.boot").long(),
            Self::Info => Request::get("/api/v1/vm.info"),
            Self::Counters { prometheus: false } => Request::get("/api/v1/vm.counters"),
            Self::Counters { prometheus: true } => {
                Request { answer: Answer::Text, ..Request::get("/metrics") }
            }
            Self::Pause => Request::put("/api/v1/vm.pause"),
            Self::Resume => Request::put("/api/v1/vm.resume"),
            Self::Reboot => Request::put("/api/v1/vm.reboot").long(),
            Self::Shutdown => Request::put("/api/v1/vm.shutdown"),
            Self::Delete => Request::put("/api/v1/vm.delete"),
            Self::PowerButton => Request::put("/api/v1/vm.power-button"),
            Self::Resize(Resize { cpus, memory }) => {
                let memory = memory.map(|size| size.0);
                let body = given([("desired_vcpus", json!(cpus)), ("desired_ram", json!(memory))]);
                Request::put("/api/v1/vm.resize").with(&body)
            }
            Self::AddDisk { disk } => Request::put("/api/v1/vm.add-disk").with(&device(disk)?),
            Self::AddNet { net } => Request::put("/api/v1/vm.add-net").with(&device(net)?),
            Self::AddFs { fs } => Request::put("/api/v1/vm.add-fs").with(&device(fs)?),
            Self::AddVsock { vsock } => Request::put("/api/v1/vm.add-vsock").with(&device(vsock)?),
            Self::RemoveDevice { id } => {
                Request::put("/api/v1/vm.remove-device").with(&json!({"id": id.as_str()}))
            }
            Self::Snapshot { folder } => {
                let body = json!({"destination_url": folder_url(folder)?});
                Request::put("/api/v1/vm.snapshot").with(&body).long()
            }
            Self::Restore { from } => {
                let body = given([
                    ("source_url", json!(folder_url(&from.source_url)?)),
                    ("resume", json!(from.resume)),
                    ("prefault", json!(from.prefault)),
                ]);
                Request::put("/api/v1/vm.restore").with(&body).long()
            }
            Self::SendMigration(SendMigration { to, local, downtime }) => {
                let body = given([
                    ("destination_url", json!(meeting_url(&to.destination_url)?)),
                    ("local", json!(if *local { Some(true) } else { to.local })),
                    ("downtime_ms", json!(downtime.or(to.downtime_ms))),
                    ("timeout_s", json!(to.timeout_s)),
                    ("timeout_strategy", json!(to.timeout_strategy)),
                ]);
                Request::put("/api/v1/vm.send-migration").with(&body).long()
            }
            Self::ReceiveMigration { from } => {
                let body = json!({"receiver_url": meeting_url(&from.receiver_url)?});
                Request::put("/api/v1/vm.receive-migration").with(&body).long()
            }
        })
    }
}

/// An object of what was said; null was not.
fn given<const N: usize>(keys: [(&str, Value); N]) -> Value {
    let said = keys.into_iter().filter(|(_, value)| !value.is_null());
    said.map(|(key, value)| (key.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()
}

/// A device as the VMM reads it. It runs in another folder than this program: paths are absolute.
fn device(config: &impl serde::Serialize) -> Result<Value, Error> {
    let mut value = serde_json::to_value(config).map_err(|source| Error::Body { source })?;
    for key in ["path", "socket"] {
        let Some(Value::String(path)) = value.get_mut(key) else { continue };
        *path = absolute(path)?;
    }
    Ok(value)
}

/// The URL of a folder that is named by one, or by its path.
fn folder_url(folder: &str) -> Result<String, Error> {
    // Whatever else is before ":" is for the VMM to refuse.
    if folder.starts_with("file:") || folder.contains("://") {
        return Ok(folder.to_owned());
    }
    Ok(format!("file://{}", absolute(folder)?))
}

/// The URL of a place where two VMMs meet. Neither runs where this program does.
fn meeting_url(url: &str) -> Result<String, Error> {
    match url.strip_prefix("unix:") {
        // What has no path is for the VMM to refuse.
        Some(path) if !path.is_empty() && !path.starts_with('/') => {
            Ok(format!("unix:{}", absolute(path)?))
        }
        _ => Ok(url.to_owned()),
    }
}

fn absolute(path: &str) -> Result<String, Error> {
    let lost = |source| Error::File { path: path.into(), source };
    let whole = std::path::absolute(path).map_err(lost)?;
    let no_text = || io::Error::new(io::ErrorKind::InvalidData, "its folder is no text in UTF-8");
    whole.into_os_string().into_string().map_err(|_| lost(no_text()))
}

/// The text of a configuration, for the VMM to read.
fn configuration(path: &Path) -> Result<String, Error> {
    let lost = |source| Error::File { path: path.to_owned(), source };
    let mut text = Vec::new();
    // What is longer the VMM does not take: one byte more shows that.
    let limit = MAX_CONFIG_BYTES + 1;
    if path == Path::new("-") {
        let input = io::stdin();
        if input.is_terminal() {
            return Err(Error::NothingToCreate);
        }
        input.take(limit).read_to_end(&mut text).map_err(lost)?;
    } else {
        let file = File::open(path).map_err(lost)?;
        file.take(limit).read_to_end(&mut text).map_err(lost)?;
    }
    if text.len() as u64 == limit {
        let why = format!("it is longer than {MAX_CONFIG_BYTES} bytes");
        return Err(lost(io::Error::new(io::ErrorKind::InvalidData, why)));
    }
    let no_text = |_| lost(io::Error::new(io::ErrorKind::InvalidData, "it is no text in UTF-8"));
    String::from_utf8(text).map_err(no_text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn request(arguments: &str) -> Request {
        let line = format!("pseries-remote --api-socket s {arguments}");
        let cli = Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"));
        cli.verb.request().unwrap()
    }

    #[test]
    fn verbs_are_requests() {
        for (arguments, method, path) in [
            ("ping", "GET", "/api/v1/vmm.ping"),
            ("shutdown-vmm", "PUT", "/api/v1/vmm.shutdown"),
            ("boot", "PUT", "/api/v1/vm.boot"),
            ("info", "GET", "/api/v1/vm.info"),
            ("counters", "GET", "/api/v1/vm.counters"),
            ("counters --prometheus", "GET", "/metrics"),
            ("pause", "PUT", "/api/v1/vm.pause"),
            ("resume", "PUT", "/api/v1/vm.resume"),
            ("reboot", "PUT", "/api/v1/vm.reboot"),
            ("shutdown", "PUT", "/api/v1/vm.shutdown"),
            ("delete", "PUT", "/api/v1/vm.delete"),
            ("power-button", "PUT", "/api/v1/vm.power-button"),
        ] {
            let request = request(arguments);
            assert_eq!((request.method, request.path, request.body), (method, path, None));
        }
    }

    #[test]
    fn arguments_are_bodies() {
        let here = std::env::current_dir().unwrap();
        let here = here.to_str().unwrap();
        for (arguments, path, body) in [
            ("resize --cpus 4", "resize", json!({"desired_vcpus": 4})),
            (
                "resize --memory 2G --cpus 1",
                "resize",
                json!({"desired_vcpus": 1, "desired_ram": 1_u64 << 31}),
            ),
            ("remove-device disk0", "remove-device", json!({"id": "disk0"})),
            ("snapshot a/b", "snapshot", json!({"destination_url": format!("file://{here}/a/b")})),
            ("snapshot file:///x", "snapshot", json!({"destination_url": "file:///x"})),
            ("restore /x", "restore", json!({"source_url": "file:///x"})),
            (
                "restore source_url=file:///x,resume=on,prefault=off",
                "restore",
                json!({"source_url": "file:///x", "resume": true, "prefault": false}),
            ),
            ("send-migration unix:/x", "send-migration", json!({"destination_url": "unix:/x"})),
            (
                "send-migration tcp:[::1]:1,timeout_s=9 --local --downtime 50",
                "send-migration",
                json!({"destination_url": "tcp:[::1]:1", "local": true, "downtime_ms": 50,
                    "timeout_s": 9}),
            ),
            (
                "send-migration unix:a/b,timeout_strategy=ignore",
                "send-migration",
                json!({"destination_url": format!("unix:{here}/a/b"),
                    "timeout_strategy": "Ignore"}),
            ),
            ("receive-migration unix:", "receive-migration", json!({"receiver_url": "unix:"})),
            (
                "receive-migration receiver_url=tcp:0.0.0.0:9",
                "receive-migration",
                json!({"receiver_url": "tcp:0.0.0.0:9"}),
            ),
        ] {
            let request = request(arguments);
            assert_eq!((request.method, request.path), ("PUT", &*format!("/api/v1/vm.{path}")));
            let sent: Value = serde_json::from_str(&request.body.unwrap()).unwrap();
            assert_eq!(sent, body, "{arguments}");
        }
    }

    #[test]
    fn devices_are_what_the_vmm_reads() {
        use pseries_vmm::config::{Body, DiskConfig, FsConfig, NetConfig, VsockConfig};
        let body = |arguments: &str| request(arguments).body.unwrap().into_bytes();
        let here = std::env::current_dir().unwrap().display().to_string();
        let disk = DiskConfig::from_body(&body("add-disk path=a.raw,readonly=on,id=x")).unwrap();
        let whole = format!("path={here}/a.raw,readonly=on,id=x");
        assert_eq!(disk, DiskConfig::parse(&whole).unwrap());
        let net = NetConfig::from_body(&body("add-net tap=tap0,mac=52:54:00:00:00:01")).unwrap();
        assert_eq!(net, NetConfig::parse("tap=tap0,mac=52:54:00:00:00:01").unwrap());
        let fs = FsConfig::from_body(&body("add-fs tag=t,socket=/s")).unwrap();
        assert_eq!(fs, FsConfig::parse("tag=t,socket=/s").unwrap());
        let vsock = VsockConfig::from_body(&body("add-vsock cid=9,socket=v")).unwrap();
        assert_eq!(vsock, VsockConfig::parse(&format!("cid=9,socket={here}/v")).unwrap());
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (arguments, words) in [
            ("resize", "--cpus"),
            ("resize --cpus many", "a number from 1 to 2048"),
            ("resize --memory lots", "a size is"),
            ("add-disk a.raw", "key=value"),
            ("add-net mac=52:54:00:00:00:01", "\"tap\" and \"socket\""),
            ("remove-device a/b", "an id has"),
            ("restore resume=on", "\"source_url\" is missing"),
            ("restore /x,resume=soon", "resume=soon"),
            ("snapshot ", "the path of the folder is empty"),
            ("restore ", "the path of the folder is empty"),
            ("send-migration unix:/x,fast=on", "\"fast\""),
            ("send-migration unix:/x,downtime_ms=x", "downtime_ms=x: a number of milliseconds"),
            ("send-migration unix:/x --downtime x", "a number of milliseconds"),
            ("send-migration unix:/x,timeout_strategy=x", "cancel and ignore"),
            ("boot now", "now"),
            ("fly", "fly"),
            ("ping --timeout 0", "a number from 1 to 86400"),
            ("ping --timeout x", "a number from 1 to 86400"),
        ] {
            let line = format!("pseries-remote --api-socket s {arguments}");
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert!(error.to_string().contains(words), "{arguments}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
