//! The RTAS calls about connectors (LoPAPR §7.3.5 and §13.5.3).

use super::Hotplug;
use super::connectors::{Notice, Refusal, State, is_physical};
use super::resource::{Resource, TYPE_SHIFT, TYPE_SLOT};
use crate::rtas::{RtasCall, RtasHandler, RtasInvocation, RtasOutcome, RtasStatus};
use crate::vcpu::CpuState;

const GET_SENSOR: usize = 0;
const SET_INDICATOR: usize = 1;
const CONFIGURE: usize = 2;
const GET_POWER: usize = 3;
const SET_POWER: usize = 4;
const CALLS: &[RtasCall] = &[
    RtasCall::new("get-sensor-state", &[2], 2),
    RtasCall::new("set-indicator", &[3], 1),
    RtasCall::new("ibm,configure-connector", &[2], 1),
    RtasCall::new("get-power-level", &[1], 2),
    RtasCall::new("set-power-level", &[2], 2),
];

// Sensors and indicators (§13.5.3.3 and §13.5.3.4, the tables of those defined).
const ISOLATION_STATE: u32 = 9001;
const ALLOCATION_STATE: u32 = 9003;
const DR_ENTITY_SENSE: u32 = 9003;
/// The lamp of a slot: off, on, identify, action.
const DR_INDICATOR: u32 = 9002;
const DR_INDICATOR_LAST: u32 = 3;

/// The level of a power domain that is on (§7.3.6).
const FULL_ON: u32 = 100;

/// "No such sensor implemented", "no such indicator implemented" (§7.3.5).
const NONE_SUCH: RtasStatus = RtasStatus(-3);
/// "Valid outstanding translation": the only one for what the guest still uses.
const IN_USE: RtasStatus = RtasStatus(-9001);

impl RtasHandler for Hotplug {
    fn calls(&self) -> &[RtasCall] {
        CALLS
    }

    fn call(&self, number: usize, invocation: &mut RtasInvocation<'_>) -> RtasOutcome {
        let status = match number {
            GET_SENSOR => self.sensor(invocation),
            SET_INDICATOR => self.set_indicator(invocation.inputs),
            CONFIGURE => self.configure(invocation),
            GET_POWER | SET_POWER => self.power(invocation),
            _ => RtasStatus::PARAMETER_ERROR,
        };
        status.into()
    }
}

impl Hotplug {
    /// Inputs: sensor, connector. Output: "DR entity present", "unusable", or of a slot "DR connector
    /// empty". "For DR connectors of
    /// logical DR entities, the DR connector must be allocated to the OS to return" the first
    /// (§13.5.3.3); what is not there is unusable as well, and cannot be made usable.
    fn sensor(&self, call: &mut RtasInvocation<'_>) -> RtasStatus {
        const EMPTY: u32 = 0;
        const PRESENT: u32 = 1;
        const UNUSABLE: u32 = 2;
        let (&[sensor, index], [value, ..]) = (call.inputs, &mut *call.outputs) else {
            return RtasStatus::PARAMETER_ERROR;
        };
        let connectors = self.connectors();
        if sensor != DR_ENTITY_SENSE || connectors.resource(index).is_none() {
            return NONE_SUCH;
        }
        *value = match connectors.entity(index) {
            None if is_physical(index) => EMPTY,
            None => UNUSABLE,
            Some(entity) if entity.state == State::Unusable => UNUSABLE,
            Some(_) => PRESENT,
        };
        RtasStatus::SUCCESS
    }

    /// Inputs: indicator, connector, state (§13.5.3.4).
    fn set_indicator(&self, inputs: &[u32]) -> RtasStatus {
        let &[indicator, index, state] = inputs else { return RtasStatus::PARAMETER_ERROR };
        let done: Result<Option<Notice>, Refusal> = match (indicator, state) {
            (ISOLATION_STATE, 0) => self.isolate(index),
            (ISOLATION_STATE, 1) => self.connectors().unisolate(index),
            (ALLOCATION_STATE, 0) => self.connectors().allocate(index, false),
            (ALLOCATION_STATE, 1) => self.connectors().allocate(index, true),
            // There is no lamp to be seen, and whoever looks after slots switches it as he goes.
            (DR_INDICATOR, 0..=DR_INDICATOR_LAST) if self.is_slot(index) => Ok(None),
            // Nothing is there to be exchanged or recovered. "Logical connectors do not have
            // associated dr-indicators" (9002; §13.7.4.2).
            _ => Err(Refusal::NoIndicator),
        };
        match done {
            Ok(notice) => {
                self.tell(false, notice);
                RtasStatus::SUCCESS
            }
            Err(Refusal::NoIndicator) => NONE_SUCH,
            Err(Refusal::InUse) => IN_USE,
        }
    }

    /// A core is isolated once its threads are stopped: the lock is held from the look at them until
    /// then, and none can be started meanwhile.
    fn isolate(&self, index: u32) -> Result<Option<Notice>, Refusal> {
        let shared = &*self.0;
        let mut connectors = self.connectors();
        let is_idle = match connectors.resource(index) {
            Some(Resource::Core(first)) => {
                let mut threads = shared.machine.topology().core(first);
                threads.all(|cpu| matches!(shared.cpus.state(cpu), None | Some(CpuState::Stopped)))
            }
            _ => true,
        };
        connectors.isolate(index, is_idle)
    }

    /// Whether it is the connector of a slot.
    fn is_slot(&self, index: u32) -> bool {
        is_physical(index) && self.connectors().resource(index).is_some()
    }

    /// Input: a domain, and the level that it is to have. Output: the level that it has. Each slot is a
    /// domain of its own, which is always on; what is plugged into it may come and go then. The other
    /// connectors are live-insertion ones, of domain -1, which these calls are not made with
    /// (§13.5.2.5).
    fn power(&self, call: &mut RtasInvocation<'_>) -> RtasStatus {
        let (Some(&domain), [level, ..]) = (call.inputs.first(), &mut *call.outputs) else {
            return RtasStatus::PARAMETER_ERROR;
        };
        if domain >= 1 << TYPE_SHIFT || !self.is_slot(TYPE_SLOT << TYPE_SHIFT | domain) {
            return RtasStatus::PARAMETER_ERROR;
        }
        *level = FULL_ON;
        RtasStatus::SUCCESS
    }
}
