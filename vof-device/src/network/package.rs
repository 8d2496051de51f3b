//! A network device, a package of the type `network` (IEEE 1275 §3.7 and Annex A).

use std::fmt;
use std::sync::Arc;
#[cfg(feature = "netboot")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::device::{FRAME_BYTES_MIN, NetworkDevice};
#[cfg(feature = "netboot")]
use super::load::Loading;
use crate::args::Failed;
use crate::limits::{EMPTY_READ_WAIT, MAX_FRAME_WAIT};
use crate::package::{Buffer, Context, Instance, Package, Transfer};
#[cfg(feature = "netboot")]
use crate::package::{Progress, Stack, Throw};

/// All of them; the last takes the feature `netboot`.
pub(crate) const METHODS: [&str; 3] = ["read", "write", "load"];

/// How many reads in a row that find nothing are answered at once.
const EAGER_READS: u32 = 32;

/// A network for clients: `read` gives a frame, `write` sends one (IEEE 1275 §3.7: frames are
/// whole, addresses included, and without the check sequence).
///
/// - `open` takes any arguments: those are for loading programs, and a client may well make up some,
///   as GRUB does.
/// - `read` gives −2 where no frame has come, and never waits for one. Of a frame that is longer than
///   the buffer, the rest is lost.
/// - `write` gives the length of the frame, or −1 for what is none: shorter than an Ethernet header
///   or longer than [the longest](NetworkDevice::max_frame_bytes). Where the host takes none for
///   [`MAX_FRAME_WAIT`], the frame is lost, which is −1 as well.
/// - `load` (with the feature `netboot`) takes an address, puts the file there that the arguments of
///   `open` name, or that the network's DHCP server does, and leaves its length in bytes. A device
///   loads one file at a time: the last that was asked for. Who had asked before gets an error.
/// - All instances are the same station: a frame goes to the one that reads first. An instance keeps
///   nothing, so that nothing of it is saved.
///
/// Once the guest's own driver has the device, nothing comes any more (−1), and nothing goes.
#[derive(Clone)]
pub struct NetworkPackage {
    device: Arc<dyn NetworkDevice>,
    #[cfg(feature = "netboot")]
    loading: Arc<Loading>,
    #[cfg(feature = "netboot")]
    instances: Arc<AtomicU64>,
}

impl NetworkPackage {
    /// The package of this device.
    pub fn new(device: Arc<dyn NetworkDevice>) -> Self {
        Self {
            device,
            #[cfg(feature = "netboot")]
            loading: Arc::default(),
            #[cfg(feature = "netboot")]
            instances: Arc::default(),
        }
    }
}

impl fmt::Debug for NetworkPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkPackage").finish_non_exhaustive()
    }
}

impl Package for NetworkPackage {
    fn open(&self, arguments: &str) -> Result<Box<dyn Instance>, Failed> {
        let _ = arguments;
        Ok(Box::new(OpenNetwork {
            device: self.device.clone(),
            empty_reads: 0,
            waited: Duration::ZERO,
            loads: false,
            #[cfg(feature = "netboot")]
            loader: Loader {
                loading: self.loading.clone(),
                number: self.instances.fetch_add(1, Ordering::Relaxed),
                has_begun: false,
                arguments: arguments.into(),
            },
        }))
    }

    fn methods(&self) -> &[&'static str] {
        let [without @ .., _] = &METHODS;
        if cfg!(feature = "netboot") { &METHODS } else { without }
    }
}

struct OpenNetwork {
    device: Arc<dyn NetworkDevice>,
    /// How many reads in a row have found nothing.
    empty_reads: u32,
    /// How long the frame that is to be sent has waited for room.
    waited: Duration,
    /// It waits for a frame, and not for room.
    loads: bool,
    #[cfg(feature = "netboot")]
    loader: Loader,
}

/// What an instance loads programs with.
#[cfg(feature = "netboot")]
struct Loader {
    loading: Arc<Loading>,
    /// Of the instance.
    number: u64,
    /// The call that had no answer yet has its place, if nobody took it since.
    has_begun: bool,
    arguments: Box<str>,
}

#[cfg(feature = "netboot")]
impl Drop for Loader {
    fn drop(&mut self) {
        self.loading.abandon(self.number);
    }
}

impl OpenNetwork {
    /// The next frame, into the buffer.
    fn receive(&self, buffer: &Buffer<'_>) -> Result<Option<usize>, Failed> {
        let mut frame = vec![0; self.device.max_frame_bytes()];
        let Some(bytes) = self.device.receive(&mut frame).map_err(|_| Failed)? else {
            return Ok(None);
        };
        let frame = frame.get(..bytes.min(buffer.len())).unwrap_or(&frame);
        buffer.put(0, frame)?;
        Ok(Some(frame.len()))
    }
}

impl Instance for OpenNetwork {
    /// A client that waits for a frame asks again and again: it is made to sleep a little then.
    fn read(&mut self, _: &Context<'_>, buffer: &Buffer<'_>) -> Result<Transfer, Failed> {
        let mut received = self.receive(buffer)?;
        if received.is_none() && self.empty_reads >= EAGER_READS {
            self.device.wait(EMPTY_READ_WAIT);
            received = self.receive(buffer)?;
        }
        self.empty_reads = if received.is_some() { 0 } else { self.empty_reads.saturating_add(1) };
        Ok(received.map_or(Transfer::Nothing, Transfer::Done))
    }

    fn write(&mut self, _: &Context<'_>, buffer: &Buffer<'_>) -> Result<Transfer, Failed> {
        if !(FRAME_BYTES_MIN..=self.device.max_frame_bytes()).contains(&buffer.len()) {
            return Err(Failed);
        }
        let mut frame = vec![0; buffer.len()];
        buffer.get(0, &mut frame)?;
        match self.device.send(&frame) {
            Ok(false) if self.waited < MAX_FRAME_WAIT => Ok(Transfer::NotYet),
            sent => {
                self.waited = Duration::ZERO;
                if sent == Ok(true) { Ok(Transfer::Done(frame.len())) } else { Err(Failed) }
            }
        }
    }

    #[cfg(feature = "netboot")]
    fn method(
        &mut self,
        context: &Context<'_>,
        name: &str,
        stack: &mut Stack<'_>,
    ) -> Result<Progress, Throw> {
        if name != "load" {
            return Err(Throw::UNDEFINED_WORD);
        }
        // ( addr -- len )
        let at = stack.pop()?;
        let Loader { loading, number, has_begun, arguments } = &mut self.loader;
        match loading.poll(*number, &self.device, arguments, context, at, has_begun)? {
            Some(bytes) => stack.push(bytes).map(|()| Progress::Done),
            None => {
                self.loads = true;
                Ok(Progress::NotYet)
            }
        }
    }

    /// For a frame, or for room: that a frame comes says nothing of that.
    fn wait(&mut self, limit: Duration) {
        if std::mem::take(&mut self.loads) {
            return self.device.wait(limit);
        }
        std::thread::sleep(limit);
        self.waited += limit;
    }

    fn abandon(&mut self) {
        self.waited = Duration::ZERO;
        #[cfg(feature = "netboot")]
        {
            self.loader.has_begun = false;
            self.loader.loading.abandon(self.loader.number);
        }
    }
}
