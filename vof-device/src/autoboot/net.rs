//! What a network has to be started.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Attempt, AttemptError, BootImage};
use crate::network::NetworkDevice;
use crate::network::netboot::{self, Event, Limits, Request};

/// How programs are fetched.
#[derive(Default)]
pub(super) struct Networks<'a> {
    pub(super) limits: Limits,
    pub(super) watch: Option<Box<Watch<'a>>>,
}

/// Is told of what goes on with the network whose device has this path, and can end that.
type Watch<'a> = dyn FnMut(&str, &Event) -> ControlFlow<()> + 'a;

impl Networks<'_> {
    /// Fetches what the arguments of a device specifier name, or else the server.
    pub(super) fn attempt(
        &mut self,
        path: &str,
        network: &Arc<dyn NetworkDevice>,
        arguments: &str,
    ) -> Attempt {
        let specifier = |arguments: &str| match arguments {
            "" => path.to_owned(),
            _ => format!("{path}:{arguments}"),
        };
        let mut watch = |event: &Event| match &mut self.watch {
            Some(watch) => watch(path, event),
            None => ControlFlow::Continue(()),
        };
        let request = Request::from_arguments(arguments);
        let fetched = netboot::fetch(network.clone(), &request, &self.limits, &mut watch);
        let image = fetched
            .map(|image| BootImage::from_network(specifier(&image.loaded.arguments()), image));
        Attempt::new(specifier(arguments), image.map_err(AttemptError::from))
    }
}
