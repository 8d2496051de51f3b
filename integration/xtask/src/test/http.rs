//! A web server of the host's: what a guest fetches from it through its network.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crate::failure::{Attempt, Result};

/// Longer lines than this nobody here sends.
const LINE_BYTES_MAX: u64 = 4096;

/// A server of the files of a folder, on this machine only. It ends with this process.
pub(super) struct Server {
    port: u16,
}

impl Server {
    /// Starts to serve the files below `folder`.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.attempt(|| "listen on a port of this machine".into())?;
        let address = listener.local_addr().attempt(|| "find the port".into())?;
        let folder: Arc<Path> = folder.into();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let folder = folder.clone();
                // A client who goes away before the end knows it.
                thread::spawn(move || serve(&client, &folder));
            }
        });
        Ok(Self { port: address.port() })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

/// Answers the requests of one connection, up to the first that wants it closed (RFC 9112).
fn serve(client: &TcpStream, folder: &Path) -> io::Result<()> {
    let mut lines = BufReader::new(client);
    loop {
        let request = line(&mut lines)?;
        if request.is_empty() {
            return Ok(());
        }
        let mut is_last = request.ends_with("HTTP/1.0");
        loop {
            let field = line(&mut lines)?.to_ascii_lowercase();
            match field.as_str() {
                "" => break,
                "connection: close" => is_last = true,
                _ => {}
            }
        }
        answer(client, &request, folder)?;
        if is_last {
            return Ok(());
        }
    }
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    io::Read::take(from, LINE_BYTES_MAX).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn answer(mut client: &TcpStream, request: &str, folder: &Path) -> io::Result<()> {
    let found = path(request, folder).and_then(|path| fs::File::open(path).ok());
    let found = found.filter(|file| file.metadata().is_ok_and(|metadata| metadata.is_file()));
    let Some(mut file) = found else {
        return client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    };
    let bytes = file.metadata()?.len();
    client.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").as_bytes())?;
    if request.starts_with("GET ") {
        io::copy(&mut file, &mut client)?;
    }
    Ok(())
}

/// The file that `GET /a/b HTTP/1.1` is for.
fn path(request: &str, folder: &Path) -> Option<PathBuf> {
    let mut words = request.split(' ');
    let is_known = matches!(words.next()?, "GET" | "HEAD");
    let path = words.next()?.strip_prefix('/')?;
    let stays_inside = path.split('/').all(|part| !part.is_empty() && part != "..");
    (is_known && stays_inside).then(|| folder.join(path))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::folders::TemporaryFolder;

    #[test]
    fn files_of_the_folder_are_served_and_no_others() {
        let folder = TemporaryFolder::make(&std::env::temp_dir(), "xtask-http-test").unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), "what is in it").unwrap();
        let server = Server::start(folder.path()).unwrap();
        let ask = |request: &str| {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
            client.write_all(request.as_bytes()).unwrap();
            let mut said = String::new();
            client.read_to_string(&mut said).unwrap();
            said
        };
        let said = ask("GET /a/b HTTP/1.0\r\nHost: x\r\n\r\n");
        assert_eq!(said, "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nwhat is in it");
        let said = ask("HEAD /a/b HTTP/1.1\r\n\r\nGET /a/b HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert_eq!(said.matches("200 OK").count(), 2);
        assert_eq!(said.matches("what is in it").count(), 1);
        for path in ["/", "/a", "/a/../a/b", "//etc/passwd", "a/b", "/c"] {
            let said = ask(&format!("GET {path} HTTP/1.0\r\n\r\n"));
            assert!(said.starts_with("HTTP/1.1 404 "), "{path}: {said}");
        }
    }
}
