//! The thread that has all clients.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::runtime::{self, Runtime};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::connection::{Answerer, serve};
use super::place::{Listener, SocketError};
use super::timed::Activity;
use super::workers::Workers;
use crate::confine::{self, Role};
use crate::lifecycle::Vmm;

/// How many clients there can be at one time. Another one waits until one of them goes, or has asked for
/// nothing for some time, which goes then.
const MAX_CLIENTS: usize = 64;

/// How long answers are written for when the process ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How long nobody is let in where the host has no room for another one.
const NO_ROOM_WAIT: Duration = Duration::from_millis(100);

/// The thread, until it is dropped. The socket is there for as long.
#[derive(Debug)]
pub(crate) struct Server {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    _listener: Listener,
}

impl Server {
    /// Serves clients of `vmm`.
    ///
    /// # Errors
    /// [`SocketError::Thread`].
    pub(crate) fn start(listener: Listener, vmm: Vmm) -> Result<Self, SocketError> {
        let workers = Workers::start().map_err(SocketError::Thread)?;
        let socket = listener.duplicate().map_err(SocketError::Thread)?;
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(SocketError::Thread)?;
        let (stop, stopped) = watch::channel(false);
        let thread = thread::Builder::new().name("api".to_owned());
        let answerer = Answerer { vmm, workers };
        let thread = thread
            .spawn(move || {
                confine::begin(Role::Api);
                run(&runtime, socket, &answerer, stopped);
            })
            .map_err(SocketError::Thread)?;
        Ok(Self { stop, thread: Some(thread), _listener: listener })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    runtime: &Runtime,
    socket: StdListener,
    answerer: &Answerer,
    stopped: watch::Receiver<bool>,
) {
    let served: io::Result<()> = runtime.block_on(async {
        let socket = UnixListener::from_std(socket)?;
        serve_all(&socket, answerer, stopped).await;
        Ok(())
    });
    if let Err(error) = served {
        log::error!("the API is not served: {error}");
    }
}

/// A client that is being served.
struct Client {
    activity: Activity,
    task: AbortHandle,
}

async fn serve_all(socket: &UnixListener, answerer: &Answerer, mut stopped: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    let mut clients: Vec<Client> = Vec::new();
    let rests = Arc::new(Notify::new());
    loop {
        clients.retain(|client| !client.task.is_finished());
        let next_room = next_room(&clients);
        let has_room = clients.len() < MAX_CLIENTS;
        let may_come = has_room || next_room.is_some_and(|room| room <= Instant::now());
        tokio::select! {
            biased;
            _ = stopped.changed() => break,
            _ = tasks.join_next(), if !tasks.is_empty() => {}
            () = rests.notified(), if !may_come => {}
            () = until(next_room), if !may_come => {}
            accepted = socket.accept(), if may_come => match accepted {
                Ok((stream, _)) => {
                    if clients.len() >= MAX_CLIENTS {
                        drop_idle(&clients);
                    }
                    let activity = Activity::new(rests.clone());
                    let mut stopped = stopped.clone();
                    let stop = async move { let _ = stopped.changed().await; };
                    let served = serve(stream, activity.clone(), answerer.clone(), stop);
                    clients.push(Client { activity, task: tasks.spawn(served) });
                }
                Err(error) => {
                    log::warn!("a client of the API was not let in: {error}");
                    sleep(NO_ROOM_WAIT).await;
                }
            },
        }
    }
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = timeout(LAST_ANSWERS, all).await;
}

/// When one of them makes room for another one.
fn next_room(clients: &[Client]) -> Option<Instant> {
    clients.iter().filter_map(|client| client.activity.makes_room_at()).min()
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Ends the one that does so first.
fn drop_idle(clients: &[Client]) {
    let idle = clients.iter().filter_map(|client| Some((client.activity.makes_room_at()?, client)));
    if let Some((_, client)) = idle.min_by_key(|(room, _)| *room) {
        client.task.abort();
    }
}
