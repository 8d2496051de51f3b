//! The program against servers that are none, or bad ones: each has a named end, and none is waited
//! for longer than was said.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// A socket of one test, where nobody listens yet.
fn socket(test: &str) -> PathBuf {
    // The path of a socket is short.
    let folder = std::env::temp_dir().join(format!("remote-{}-{test}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder.join("api")
}

/// Whoever comes to the socket gets this, one after the other, each on a thread of its own. What came
/// is told.
fn serve(
    test: &str,
    answer: impl Fn(usize, UnixStream, String) + Send + Sync + Clone + 'static,
) -> (PathBuf, Receiver<String>) {
    let path = socket(test);
    let listener = UnixListener::bind(&path).unwrap();
    let (send, requests) = channel();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (send, answer) = (send.clone(), answer.clone());
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let request = request(&mut stream);
                let _ = send.send(request.clone());
                answer(number, stream, request);
            });
        }
    });
    (path, requests)
}

/// A request, head and body.
fn request(stream: &mut UnixStream) -> String {
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    loop {
        let Ok(count @ 1..) = stream.read(&mut bytes) else { return text };
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return text;
        }
    }
}

fn says(text: &'static str) -> impl Fn(usize, UnixStream, String) + Send + Sync + Clone + 'static {
    move |_, mut stream, _| {
        let _ = stream.write_all(text.as_bytes());
    }
}

/// Keeps the connection until the other side ends it.
fn keep(mut stream: UnixStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

fn command(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pseries-remote"));
    command.arg("--api-socket").arg(socket).args(arguments).stdin(Stdio::null());
    command
}

fn run(socket: &Path, arguments: &[&str]) -> (i32, String, String) {
    ended(command(socket, arguments).output().unwrap())
}

fn ended(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Asserts that it ends with status 1 and words on standard error, in one line.
fn fails(socket: &Path, arguments: &[&str], words: &[&str]) {
    let (status, stdout, stderr) = run(socket, arguments);
    assert_eq!((status, &*stdout), (1, ""), "{stderr}");
    assert!(stderr.starts_with("pseries-remote: ") && stderr.lines().count() == 1, "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "no {word:?} in {stderr}");
    }
}

#[test]
fn answers_are_shown_and_requests_are_complete() {
    let (path, requests) =
        serve("shown", says("HTTP/1.1 200 \r\nContent-Length: 9\r\n\r\n{\"pid\":1}"));
    assert_eq!(run(&path, &["ping"]), (0, "{\"pid\":1}\n".to_owned(), String::new()));
    let request = requests.recv().unwrap();
    assert!(request.starts_with("GET /api/v1/vmm.ping HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: localhost\r\n"), "{request}");
    // In pieces, as servers may.
    let chunks =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n2\r\n2]\r\n0\r\n\r\n";
    let (path, _) = serve("pieces", says(chunks));
    assert_eq!(run(&path, &["info"]), (0, "[12]\n".to_owned(), String::new()));
    // Up to the end of the connection.
    let (path, _) = serve("to-the-end", says("HTTP/1.0 200 OK\r\n\r\npseries_vmm_up 1\n"));
    let counters = run(&path, &["counters", "--prometheus"]);
    assert_eq!(counters, (0, "pseries_vmm_up 1\n".to_owned(), String::new()));
    let (path, requests) = serve("done", says("HTTP/1.1 204 No Content\r\n\r\n"));
    assert_eq!(run(&path, &["resize", "--cpus", "3"]), (0, String::new(), String::new()));
    let request = requests.recv().unwrap();
    assert!(request.starts_with("PUT /api/v1/vm.resize HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("content-type: application/json\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"desired_vcpus\":3}"), "{request}");
}

/// The VMM runs in another folder.
#[test]
fn paths_are_from_where_the_program_runs() {
    let (path, requests) = serve("paths", says("HTTP/1.1 204 No Content\r\n\r\n"));
    let folder = path.parent().unwrap().canonicalize().unwrap();
    for (arguments, body) in [
        (["send-migration", "unix:m.sock"], "{\"destination_url\":\"unix:HERE/m.sock\"}"),
        (["receive-migration", "unix:m.sock"], "{\"receiver_url\":\"unix:HERE/m.sock\"}"),
        (["receive-migration", "unix:///m.sock"], "{\"receiver_url\":\"unix:///m.sock\"}"),
        (["snapshot", "saved"], "{\"destination_url\":\"file://HERE/saved\"}"),
    ] {
        let mut command = command(&path, &arguments);
        assert!(command.current_dir(&folder).status().unwrap().success(), "{arguments:?}");
        let (body, request) =
            (body.replace("HERE", folder.to_str().unwrap()), requests.recv().unwrap());
        assert!(request.ends_with(&format!("\r\n\r\n{body}")), "{request}");
    }
}

#[test]
fn configurations_come_from_files_and_from_standard_input() {
    let (path, requests) = serve("create", says("HTTP/1.1 204 No Content\r\n\r\n"));
    let file = path.with_file_name("machine.json");
    fs::write(&file, "{\"cpus\": {\"boot_vcpus\": 2}}").unwrap();
    assert_eq!(run(&path, &["create", file.to_str().unwrap()]).0, 0);
    assert!(requests.recv().unwrap().ends_with("\r\n\r\n{\"cpus\": {\"boot_vcpus\": 2}}"));
    for arguments in [&["create"][..], &["create", "-"]] {
        let stdin = fs::File::open(&file).unwrap();
        assert!(command(&path, arguments).stdin(stdin).status().unwrap().success());
        assert!(requests.recv().unwrap().ends_with("\r\n\r\n{\"cpus\": {\"boot_vcpus\": 2}}"));
    }
    // What cannot be sent is not.
    fs::write(&file, [b' '; (1 << 20) + 1]).unwrap();
    let binary = path.with_file_name("binary");
    fs::write(&binary, [0xff]).unwrap();
    let wrong: [(&str, &str); 3] = [
        (file.to_str().unwrap(), "longer than 1048576 bytes"),
        ("/nowhere/at/all", "No such file"),
        (binary.to_str().unwrap(), "UTF-8"),
    ];
    for (file, words) in wrong {
        let (status, _, stderr) = run(&path, &["create", file]);
        assert_eq!(status, 2, "{file}: {stderr}");
        assert!(stderr.contains(words), "{file}: {stderr}");
    }
    assert!(requests.try_recv().is_err());
}

#[test]
fn refusals_are_told_with_their_causes() {
    let (path, _) = serve(
        "refused",
        says(
            "HTTP/1.1 404 Not Found\r\nContent-Length: 41\r\n\r\n[\"cannot boot\",\"there is no VM\\u001b[2J\"]",
        ),
    );
    fails(
        &path,
        &["boot"],
        &["/api/v1/vm.boot: 404 Not Found: cannot boot: there is no VM\\u{1b}[2J"],
    );
    let (path, _) =
        serve("text", says("HTTP/1.1 500 Whatever\r\nContent-Length: 9\r\n\r\nno\u{9b}2J\nx\n"));
    fails(&path, &["pause"], &["500 Internal Server Error: no\\u{9b}2J\\nx"]);
    let (path, _) = serve("bare", says("HTTP/1.1 405 M\r\nContent-Length: 0\r\n\r\n"));
    fails(&path, &["resume"], &["/api/v1/vm.resume: 405 Method Not Allowed"]);
    let (path, _) = serve("elsewhere", says("HTTP/1.1 302 F\r\nLocation: /\r\n\r\n"));
    fails(&path, &["resume"], &["302 Found"]);
}

#[test]
fn a_socket_without_a_vmm_is_named() {
    let path = socket("nobody");
    fails(&path, &["ping"], &["there is no VMM at /", "No such file"]);
    drop(UnixListener::bind(&path).unwrap());
    fails(&path, &["ping"], &["there is no VMM at /", "refused"]);
    fails(Path::new("/dev/null"), &["ping"], &["there is no VMM at /dev/null: that is no socket"]);
    fails(Path::new("/tmp"), &["ping"], &["there is no VMM at /tmp: that is no socket"]);
    fails(Path::new(&"x".repeat(4000)), &["ping"], &["there is no VMM at"]);
}

#[test]
fn silence_has_an_end() {
    let (path, _) = serve("silent", |_, stream, _| keep(stream));
    let words = ["has not answered in 1 s", "--timeout"];
    fails(&path, &["ping", "--timeout", "1"], &words);
    // It does not even show that it is there.
    fails(&path, &["snapshot", "/x", "--timeout", "1"], &words);
    for (test, start) in [
        ("half-head", "HTTP/1.1 200 OK\r\nContent-"),
        ("half-body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"),
        ("half-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"),
    ] {
        let (path, _) = serve(test, move |_, mut stream, _| {
            let _ = stream.write_all(start.as_bytes());
            keep(stream);
        });
        fails(&path, &["info", "--timeout", "1"], &words);
    }
    // A byte now and then.
    let (path, _) = serve("drip", |_, mut stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    fails(&path, &["info", "--timeout", "1"], &words);
    // Nobody takes connections, and no more can wait.
    let path = socket("full");
    let _listener = UnixListener::bind(&path).unwrap();
    let waiting: Vec<UnixStream> = connect_all(&path);
    fails(&path, &["ping", "--timeout", "1"], &words);
    drop(waiting);
}

/// As many connections as can wait.
fn connect_all(path: &Path) -> Vec<UnixStream> {
    let (send, connections) = channel();
    let path = path.to_owned();
    // The one too many waits for ever.
    thread::spawn(move || {
        while let Ok(stream) = UnixStream::connect(&path) {
            if send.send(stream).is_err() {
                return;
            }
        }
    });
    let next = || connections.recv_timeout(Duration::from_secs(2)).ok();
    std::iter::from_fn(next).collect()
}

#[test]
fn what_takes_long_may_as_long_as_the_vmm_is_there() {
    let late = |_, mut stream: UnixStream, request: String| {
        if request.starts_with("PUT /api/v1/vm.snapshot") {
            thread::sleep(Duration::from_millis(3500));
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        } else {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        }
    };
    let (path, requests) = serve("long", late);
    assert_eq!(run(&path, &["--timeout", "1", "snapshot", "/x"]).0, 0);
    let all: Vec<String> = requests.try_iter().collect();
    assert!(all.len() > 1 && all[1].starts_with("GET /api/v1/vmm.ping"), "{all:?}");
    // The VMM ends while it is waited for, and its answer tells more.
    let (path, _) = serve("gone", |number, mut stream, _| match number {
        0 => {
            thread::sleep(Duration::from_millis(1500));
            let _ = stream.write_all(b"HTTP/1.1 500 E\r\nContent-Length: 8\r\n\r\n[\"full\"]");
        }
        _ => thread::sleep(Duration::from_millis(800)),
    });
    fails(&path, &["--timeout", "1", "snapshot", "/x"], &["500 Internal Server Error: full"]);
}

#[test]
fn garbage_is_named() {
    let (path, _) = serve("ssh", says("SSH-2.0-OpenSSH_9.2\r\n"));
    fails(&path, &["ping"], &["does not speak HTTP"]);
    let (path, _) = serve("html", says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"));
    fails(&path, &["ping"], &["the VMM's answer is not JSON"]);
    let (path, _) = serve("bye", |_, _, _| {});
    fails(&path, &["ping"], &["went away before its answer"]);
    let (path, _) = serve("cut", says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{"));
    fails(&path, &["ping"], &["went away before its answer"]);
    let (path, _) = serve("negative", says("HTTP/1.1 200 OK\r\nContent-Length: -6\r\n\r\n{}"));
    fails(&path, &["ping"], &["does not speak HTTP"]);
    let deep = "HTTP/1.1 200 OK\r\n\r\n[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[";
    let (path, _) = serve("deep", says(deep));
    fails(&path, &["ping"], &["the VMM's answer is not JSON"]);
    // Without end: in the head, in the body.
    let (path, _) = serve("headers", |_, mut stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X-More: and more and more and more and more\r\n").is_ok() {}
    });
    fails(&path, &["ping"], &["does not speak HTTP"]);
    let (path, _) =
        serve("line", |_, mut stream, _| while stream.write_all(&[b'H'; 4096]).is_ok() {});
    fails(&path, &["ping"], &["does not speak HTTP"]);
    for head in ["", "Content-Length: 99999999999\r\n"] {
        let (path, _) = serve(&format!("body-{}", head.len()), move |_, mut stream, _| {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n");
            while stream.write_all(&[b' '; 65536]).is_ok() {}
        });
        fails(&path, &["info"], &["longer than 16777216 bytes"]);
    }
    // Bytes that nobody chose.
    let mut state = 1_u64;
    for number in 0..64 {
        let bytes: Vec<u8> = (0..200)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 56) as u8
            })
            .collect();
        let start = ["", "HTTP/1.1 ", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\n"][number % 4];
        let (path, _) = serve(&format!("noise-{number}"), move |_, mut stream, _| {
            let _ = stream.write_all(&[start.as_bytes(), &bytes].concat());
        });
        fails(&path, &["info", "--timeout", "20"], &[]);
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let (path, _) = serve("output", says(answer));
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let (status, _, stderr) = ended(command(&path, &["ping"]).stdout(full).output().unwrap());
    assert_eq!(status, 1);
    assert!(stderr.contains("cannot write the answer"), "{stderr}");
    // Whoever is gone has read enough.
    let (reader, writer) = UnixStream::pair().unwrap();
    drop(reader);
    let writer = std::os::fd::OwnedFd::from(writer);
    assert_eq!(ended(command(&path, &["ping"]).stdout(writer).output().unwrap()).0, 0);
}

#[test]
fn an_interrupt_ends_it_as_one() {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    let (path, requests) = serve("interrupt", |_, stream, _| keep(stream));
    let mut command = command(&path, &["snapshot", "/x"]);
    // SAFETY: between fork and exec, this makes a system call only.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
    let mut child: Child = command.spawn().unwrap();
    requests.recv().unwrap();
    // SAFETY: names our own child, which nobody has waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGINT));
}

#[test]
fn wrong_arguments_have_a_status_of_their_own() {
    let (path, requests) = serve("wrong", |_, stream, _| keep(stream));
    for arguments in [&["fly"][..], &[], &["resize"], &["add-disk", "a.raw"]] {
        let (status, _, stderr) = run(&path, arguments);
        assert_eq!(status, 2, "{stderr}");
    }
    assert!(requests.try_recv().is_err());
    let help = Command::new(env!("CARGO_BIN_EXE_pseries-remote")).arg("--help").output().unwrap();
    let (status, text, _) = ended(help);
    assert_eq!(status, 0);
    for word in ["Exit status", "snapshot", "--timeout", "Examples"] {
        assert!(text.contains(word), "{text}");
    }
}
