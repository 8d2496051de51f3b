//! Files by HTTP (RFC 9112), from any byte on (RFC 9110 §14).

use std::sync::Arc;
use std::time::Instant;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};

use super::{Files, Given};

const PORT: u16 = 80;

/// Those who may be served at a time.
const CONNECTIONS: usize = 8;

/// Longer requests nobody here makes.
const REQUEST_BYTES_MAX: usize = 8192;

pub(super) struct Server {
    files: Arc<Files>,
    connections: Vec<Connection>,
}

struct Connection {
    socket: SocketHandle,
    request: Vec<u8>,
    answer: Option<Answer>,
}

/// What is sent, and how much of it was.
struct Answer {
    name: String,
    head: Vec<u8>,
    file: Arc<[u8]>,
    from: usize,
    sent: usize,
    began: Instant,
    /// When something was sent last.
    last: Instant,
}

impl Server {
    pub(super) fn new(sockets: &mut SocketSet<'_>, files: Arc<Files>) -> Self {
        let connection = |_| {
            let buffer = |bytes| SocketBuffer::new(vec![0; bytes]);
            let socket = sockets.add(Socket::new(buffer(1 << 14), buffer(1 << 17)));
            Connection { socket, request: Vec::new(), answer: None }
        };
        Self { connections: (0..CONNECTIONS).map(connection).collect(), files }
    }

    pub(super) fn serve(&mut self, sockets: &mut SocketSet<'_>, tell: &mut dyn FnMut(Given)) {
        for connection in &mut self.connections {
            let socket = sockets.get_mut::<Socket<'_>>(connection.socket);
            connection.serve(socket, &self.files, tell);
        }
    }
}

impl Connection {
    fn serve(&mut self, socket: &mut Socket<'_>, files: &Files, tell: &mut dyn FnMut(Given)) {
        // The other end has closed it as well.
        if socket.state() == State::TimeWait {
            socket.abort();
        }
        if !socket.is_open() {
            self.request.clear();
            if let Some(answer) = self.answer.take() {
                tell(answer.given());
            }
            // It is closed, and the port is one.
            let _ = socket.listen(PORT);
            return;
        }
        while socket.can_recv() {
            let taken = socket.recv(|data| {
                self.request.extend_from_slice(data);
                (data.len(), ())
            });
            if taken.is_err() || self.request.len() > REQUEST_BYTES_MAX {
                return socket.abort();
            }
        }
        if self.answer.is_none() && self.request.windows(4).any(|end| end == b"\r\n\r\n") {
            self.answer = Some(answer(&String::from_utf8_lossy(&self.request), files));
        }
        let Some(answer) = &mut self.answer else {
            if socket.state() == State::CloseWait {
                socket.close();
            }
            return;
        };
        while socket.can_send() {
            let rest = answer.rest();
            let Ok(sent @ 1..) = socket.send_slice(rest) else { break };
            answer.sent += sent;
            answer.last = Instant::now();
        }
        if answer.rest().is_empty()
            && matches!(socket.state(), State::Established | State::CloseWait)
        {
            socket.close();
        }
    }
}

impl Answer {
    /// What of it was given: not all, to somebody who needs no more.
    fn given(&self) -> Given {
        Given {
            protocol: "HTTP",
            file: self.name.clone(),
            bytes: self.sent.saturating_sub(self.head.len()),
            time: self.last.duration_since(self.began),
        }
    }

    fn rest(&self) -> &[u8] {
        match self.sent.checked_sub(self.head.len()) {
            None => &self.head[self.sent..],
            Some(sent) => &self.file[self.from + sent..],
        }
    }
}

fn answer(request: &str, files: &Files) -> Answer {
    let mut words = request.split(' ');
    let is_get = words.next() == Some("GET");
    let name = words.next().unwrap_or_default().trim_start_matches('/').to_owned();
    let began = Instant::now();
    let Some(file) = files.get(&name).filter(|_| is_get) else {
        let head = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return Answer {
            name,
            head: head.to_vec(),
            file: [].into(),
            from: 0,
            sent: 0,
            began,
            last: began,
        };
    };
    let range = request.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        let start = value.trim().strip_prefix("bytes=")?.split('-').next()?;
        field.eq_ignore_ascii_case("range").then(|| start.parse::<usize>().ok())?
    });
    let bytes = file.len();
    let (from, status) = match range.filter(|&from| from < bytes) {
        None => (0, "200 OK".to_owned()),
        Some(from) => {
            let last = bytes - 1;
            (from, format!("206 Partial Content\r\nContent-Range: bytes {from}-{last}/{bytes}"))
        }
    };
    let left = bytes - from;
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {left}\r\nConnection: close\r\n\r\n");
    Answer { name, head: head.into_bytes(), file: file.clone(), from, sent: 0, began, last: began }
}
