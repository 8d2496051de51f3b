//! The thread that has all clients.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{self, Runtime};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet, yield_now};
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

/// How often that is told.
const TELL_EVERY: Duration = Duration::from_secs(60);

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

async fn serve_all(socket: &UnixListener, answerer: &Answerer, mut stopped: watch::Receiver<bool>) {
    let mut clients = Clients::default();
    // The one who is served as soon as there is room.
    let mut next: Option<UnixStream> = None;
    let mut refusals = Refusals::default();
    loop {
        if clients.have_room() {
            if let Some(stream) = next.take() {
                let mut stopped = stopped.clone();
                let stop = async move { drop(stopped.changed().await) };
                clients.add(|activity| serve(stream, activity, answerer.clone(), stop));
            }
        }
        let (waits, next_room) = (next.is_some(), clients.next_room());
        tokio::select! {
            biased;
            _ = stopped.changed() => break,
            _ = clients.tasks.join_next(), if !clients.tasks.is_empty() => {}
            () = clients.rests.notified(), if waits => {}
            () = until(next_room), if waits => {
                clients.make_room().await;
            }
            accepted = socket.accept(), if !waits => match accepted {
                Ok((stream, _)) => next = Some(stream),
                Err(error) => {
                    refusals.tell(&error);
                    if !(lacks_descriptors(&error) && clients.make_room().await) {
                        sleep(NO_ROOM_WAIT).await;
                    }
                }
            },
        }
    }
    let all = async { while clients.tasks.join_next().await.is_some() {} };
    let _ = timeout(LAST_ANSWERS, all).await;
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Whether somebody could be let in if somebody else went.
fn lacks_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Those who are being served.
#[derive(Default)]
struct Clients {
    tasks: JoinSet<()>,
    all: Vec<Client>,
    /// Told when one of them asks for nothing any more.
    rests: Arc<Notify>,
}

struct Client {
    activity: Activity,
    task: AbortHandle,
}

impl Clients {
    /// Whether there can be one more.
    fn have_room(&mut self) -> bool {
        self.all.retain(|client| !client.task.is_finished());
        self.all.len() < MAX_CLIENTS
    }

    fn add<T: Future<Output = ()> + Send + 'static>(&mut self, serve: impl FnOnce(Activity) -> T) {
        let activity = Activity::new(self.rests.clone());
        let task = self.tasks.spawn(serve(activity.clone()));
        self.all.push(Client { activity, task });
    }

    /// When one of them makes room for another one.
    fn next_room(&self) -> Option<Instant> {
        self.all.iter().filter_map(|client| client.activity.makes_room_at()).min()
    }

    /// Ends the one that is to make room first, if it is time, and gives whether it did. Its descriptor is
    /// closed then.
    async fn make_room(&mut self) -> bool {
        // Who has asked by now is heard first: the runtime looks who has, and has them read.
        yield_now().await;
        yield_now().await;
        let idle = self.all.iter().enumerate();
        let idle =
            idle.filter_map(|(number, client)| Some((client.activity.makes_room_at()?, number)));
        let Some((room, number)) = idle.min() else { return false };
        if room > Instant::now() {
            return false;
        }
        let Client { task, .. } = self.all.swap_remove(number);
        task.abort();
        while !task.is_finished() {
            let _ = self.tasks.join_next().await;
        }
        true
    }
}

/// Those who were not let in, so that a crowd does not fill the log.
#[derive(Default)]
struct Refusals {
    told: Option<Instant>,
}

impl Refusals {
    fn tell(&mut self, error: &io::Error) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            log::warn!("a client of the API was not let in: {error}");
        }
    }
}
