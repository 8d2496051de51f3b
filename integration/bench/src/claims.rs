//! Many claims at once.

use vof_device::test_utils::TestMachine;

use crate::guest::Client;
use crate::random::Random;

/// How many claims are live while the time is taken.
pub const LIVE: usize = 100_000;

/// A client with [`LIVE`] claims of random sizes and alignments, some of which it releases and
/// claims anew.
#[derive(Debug)]
pub struct Churn<'a> {
    client: Client<'a>,
    random: Random,
    live: Vec<(u32, u32)>,
}

impl<'a> Churn<'a> {
    /// Makes the claims.
    pub fn new(machine: &'a TestMachine) -> Self {
        let mut churn =
            Self { client: Client::new(machine), random: Random::default(), live: Vec::new() };
        while churn.live.len() < LIVE {
            churn.claim();
        }
        churn
    }

    /// Releases one claim and makes another: two calls.
    pub fn turn(&mut self) {
        let victim = self.random.below(LIVE as u32) as usize;
        let (at, size) = self.live.swap_remove(victim);
        self.client.release(at, size);
        self.claim();
    }

    /// The client.
    pub fn client(&mut self) -> &mut Client<'a> {
        &mut self.client
    }

    fn claim(&mut self) {
        let size = 1 + self.random.below(8192);
        let align = 1 << self.random.below(13);
        let at = self.client.claim(size, align);
        assert_ne!(at, u32::MAX, "there is memory enough");
        self.live.push((at, size));
    }
}
