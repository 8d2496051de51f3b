//! A network device as it is saved. What is under way in the network is the network's to lose.

use arch_ppc64::platform::{StateError, StateValue};
use serde::{Deserialize, Serialize};

use super::Net;
use crate::virtio::saved::check_version;

/// What is saved of it: what its driver knows of the network.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetState {
    mac: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtu: Option<u16>,
}

impl Net {
    pub(super) fn state(&self) -> Result<StateValue, StateError> {
        StateValue::of(&NetState { mac: self.config.mac.to_string(), mtu: self.config.mtu })
    }

    /// The station has the address that it had. When its driver has the device again, the network is
    /// told where the station is now.
    pub(super) fn take_up(&mut self, version: u32, state: &StateValue) -> Result<(), StateError> {
        check_version(version, 1)?;
        let NetState { mac, mtu } = state.get()?;
        if mtu != self.config.mtu {
            let text = |mtu: Option<u16>| mtu.map_or("none".to_owned(), |mtu| mtu.to_string());
            let (there, here) = (text(mtu), text(self.config.mtu));
            return Err(StateError::Value(format!("its MTU is {there}, and this one's {here}")));
        }
        let mac = mac.parse();
        self.config.mac = mac.map_err(|error| StateError::Value(format!("its MAC: {error}")))?;
        self.is_new_here = true;
        #[cfg(feature = "vof")]
        self.for_clients.set_config(self.config);
        Ok(())
    }
}
