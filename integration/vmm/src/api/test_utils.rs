//! The API without a process: for fuzzers.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime;
use tokio::sync::Notify;

use super::connection::{Answerer, serve};
use super::timed::Activity;
use super::workers::Workers;
use crate::lifecycle::Vmm;
use crate::prepare::RunOptions;
use crate::resize::Control;

/// Has a client send `bytes` to a VMM whose machines never start, and then hang up. Gives all that is
/// answered.
///
/// # Errors
/// The host has no room for it.
pub fn answers(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let vmm = Vmm::new(RunOptions::default(), Control::new());
    let (machines, workers) = (vmm.clone(), Workers::start()?);
    let machines = thread::Builder::new().spawn(move || machines.refuse_all())?;
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let answerer = Answerer { vmm: vmm.clone(), workers };
    let answers = runtime.block_on(async {
        let (client, server) = UnixStream::pair()?;
        let activity = Activity::new(Arc::new(Notify::new()));
        let served = serve(server, activity, answerer, std::future::pending());
        let (mut from, mut to) = client.into_split();
        let asks = async move {
            // One who is sent away in the middle has no more to say.
            let _ = to.write_all(bytes).await;
            drop(to);
        };
        let hears = async move {
            let mut answers = Vec::new();
            match from.read_to_end(&mut answers).await {
                // So it ends, behind all answers, where not all that was said has been read.
                Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
                _ => Ok(answers),
            }
        };
        tokio::join!(served, asks, hears).2
    });
    vmm.shut_down_vmm();
    // It does not panic.
    let _ = machines.join();
    answers
}
