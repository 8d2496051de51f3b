//! Requests to the API: of any bytes, and of known parts that were changed.

use pseries_vmm::api::test_utils::answers;
use serde_json::{Value, json};

use crate::Reach;
use crate::changes::change;
use crate::input::Input;

/// How many requests an input makes at most.
const REQUESTS_MAX: usize = 12;

/// What inputs reach: statuses, and things of connections.
const STATUSES: [u16; 7] = [200, 204, 400, 404, 405, 409, 413];
const OTHERS: [&str; 5] = [
    "several answers on one connection",
    "a connection without an answer",
    "a machine is created and told of",
    "the VMM shuts down",
    "another status",
];
const SEVERAL: usize = STATUSES.len();
const NONE: usize = SEVERAL + 1;
const CREATED: usize = SEVERAL + 2;
const OVER: usize = SEVERAL + 3;
const OTHER: usize = SEVERAL + 4;

/// What no input reaches: more than a fuzzer sends, and what nobody is to be told.
pub const BEYOND: &[&str] = &["status 409", "status 413", "another status"];

const PATHS: [&str; 23] = [
    "vmm.ping",
    "vm.info",
    "vmm.shutdown",
    "vm.create",
    "vm.delete",
    "vm.boot",
    "vm.pause",
    "vm.resume",
    "vm.shutdown",
    "vm.reboot",
    "vm.power-button",
    "vm.resize",
    "vm.add-disk",
    "vm.add-net",
    "vm.add-fs",
    "vm.add-vsock",
    "vm.remove-device",
    "vm.snapshot",
    "vm.restore",
    "vm.send-migration",
    "vm.receive-migration",
    "vmm.openapi",
    "vm.counters",
];

/// See [`Target::goals`](crate::Target::goals).
pub fn goals() -> Vec<String> {
    let statuses = STATUSES.iter().map(|status| format!("status {status}"));
    statuses.chain(OTHERS.map(str::to_owned)).collect()
}

/// `data` is a byte, and all that a client sends where that is odd; else requests, which are put
/// together of known parts.
pub fn run(data: &[u8]) -> Reach {
    let mut input = Input::new(data);
    let bytes = match input.byte() & 1 {
        1 => input.rest().to_vec(),
        _ => requests(&mut input),
    };
    let said = answers(&bytes).expect("room for it");
    look(&said)
}

/// Requests one behind the other, the last of which may be cut off.
fn requests(input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..REQUESTS_MAX {
        if input.is_empty() {
            break;
        }
        request(input, &mut bytes);
    }
    bytes
}

fn request(input: &mut Input<'_>, bytes: &mut Vec<u8>) {
    let flags = input.byte();
    let method = match flags & 7 {
        0 => "GET",
        1 => "POST",
        _ => "PUT",
    };
    let number = usize::from(input.byte()) % PATHS.len();
    let method = if flags & 0x80 == 0 { usual_method(number) } else { method };
    let body = body(number, input);
    let path = PATHS[number];
    bytes.extend_from_slice(format!("{method} /api/v1/{path} HTTP/1.1\r\nHost: x\r\n").as_bytes());
    match flags >> 3 & 3 {
        0 | 1 => {
            let length = body.len();
            bytes.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
            bytes.extend_from_slice(&body);
        }
        2 => {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
            for chunk in body.chunks(usize::from(input.byte()).max(1)) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        _ => {
            // It says what is not so.
            let length = input.u16();
            bytes.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
            bytes.extend_from_slice(input.bytes(16));
            bytes.extend_from_slice(b"\r\n\r\n");
            bytes.extend_from_slice(&body);
        }
    }
}

fn usual_method(number: usize) -> &'static str {
    match PATHS[number] {
        "vmm.ping" | "vm.info" | "vmm.openapi" | "vm.counters" => "GET",
        _ => "PUT",
    }
}

/// What is asked for, as it is or changed.
fn body(number: usize, input: &mut Input<'_>) -> Vec<u8> {
    let Some(mut body) = usual_body(PATHS[number]) else { return input.bytes(1).to_vec() };
    let changes = input.byte();
    if changes & 0x80 != 0 {
        return input.bytes(usize::from(changes & 0x7f)).to_vec();
    }
    for _ in 0..changes & 3 {
        change(&mut body, input, 1 << 40);
    }
    body.to_string().into_bytes()
}

fn usual_body(path: &str) -> Option<Value> {
    Some(match path {
        "vm.create" => json!({
            "cpus": {"boot_vcpus": 2, "max_vcpus": 4},
            "memory": {"size": 512_u64 << 20, "hotplug_size": 1_u64 << 30},
            "payload": {"kernel": "/vmlinux", "cmdline": "console=hvc0"},
            "disks": [{"path": "/disk", "readonly": true, "id": "disk"}],
            "net": [{"tap": "tap0", "mac": "52:54:00:12:34:56"}],
            "rng": {"src": "/dev/urandom"},
            "fs": [{"tag": "fs", "socket": "/fs"}],
            "vsock": {"cid": 3, "socket": "/vsock"},
            "serial": {"mode": "Null"},
        }),
        "vm.resize" => json!({"desired_vcpus": 3, "desired_ram": 1_u64 << 30}),
        "vm.add-disk" => json!({"path": "/other", "id": "other"}),
        "vm.add-net" => json!({"tap": "tap1"}),
        "vm.add-fs" => json!({"tag": "other", "socket": "/other"}),
        "vm.add-vsock" => json!({"cid": 4, "socket": "/other"}),
        "vm.remove-device" => json!({"id": "disk"}),
        "vm.snapshot" => json!({"destination_url": "file:///nowhere"}),
        "vm.restore" => json!({"source_url": "file:///nowhere", "resume": true}),
        "vm.send-migration" => json!({"destination_url": "unix:/nowhere", "downtime_ms": 100}),
        "vm.receive-migration" => json!({"receiver_url": "unix:/nowhere"}),
        _ => return None,
    })
}

/// Each answer is HTTP; one with a body has JSON, and errors have their reasons.
fn look(mut said: &[u8]) -> Reach {
    let mut reach = Reach::NONE;
    let mut count = 0;
    if said.is_empty() {
        reach.add(NONE);
    }
    while !said.is_empty() {
        let end = said.windows(4).position(|four| four == b"\r\n\r\n").expect("an end of a head");
        let head = std::str::from_utf8(&said[..end]).expect("a head of text");
        said = &said[end + 4..];
        let status: u16 = head
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5)?.parse().ok())
            .unwrap_or_else(|| panic!("no status: {head}"));
        if status == 100 {
            continue;
        }
        count += 1;
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        let (body, rest) = said.split_at_checked(length).expect("a body that is whole");
        said = rest;
        let text = String::from_utf8_lossy(body);
        let is_over = text.contains("the VMM shuts down");
        assert!(status < 500 || is_over, "this is no fault of the host's: {head}\n{text}");
        // What hyper itself refuses has no body.
        if !body.is_empty() {
            let body: Value = serde_json::from_slice(body).expect("JSON");
            if status >= 400 {
                let reasons = body.as_array().expect("reasons");
                assert!(!reasons.is_empty() && reasons.iter().all(Value::is_string), "{body}");
            } else if body["state"] == "Created" {
                reach.add(CREATED);
            }
        }
        match STATUSES.iter().position(|known| *known == status) {
            Some(known) => reach.add(known),
            None if is_over => reach.add(OVER),
            None => reach.add(OTHER),
        }
    }
    if count > 1 {
        reach.add(SEVERAL);
    }
    reach
}
