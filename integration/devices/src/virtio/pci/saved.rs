//! A function as it is saved.

use std::sync::atomic::Ordering;

use arch_ppc64::platform::{SaveState, StateError, StateValue};
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemory};

use super::setup::{
    ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK, QueueSetup, Setup, VERSION_1,
};
use super::signals::{ISR_BITS, NO_VECTOR, Told};
use super::threads::Wait;
use super::{MESSAGE_CONTROL, Run, State, VirtioPci};
use crate::pci::{ConfigSpace, VectorState};
use crate::virtio::saved::check_version;

const STATUS_BITS: u8 = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | FAILED;

/// What is saved of a function: its registers, what its driver has set up, and the device.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionState {
    /// The number of the device in virtio.
    kind: u16,
    config: Vec<u8>,
    vectors: Vec<VectorState>,
    isr: u8,
    generation: u8,
    needs_reset: bool,
    status: u8,
    device_feature_select: u32,
    driver_feature_select: u32,
    features: u64,
    configuration_vector: u16,
    queue_select: u16,
    queues: Vec<QueueState>,
    device: DeviceState,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueState {
    max_size: u16,
    size: u16,
    enabled: bool,
    descriptors: u64,
    driver: u64,
    device: u64,
    vector: u16,
    /// How many of its buffers were used; none is with the device.
    used: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceState {
    version: u32,
    state: StateValue,
}

/// A state that was checked.
struct Checked {
    config: ConfigSpace,
    vectors: Vec<VectorState>,
    told: Told,
    setup: Setup,
    used: Vec<u16>,
    /// The device was at work.
    is_due: bool,
    device: DeviceState,
}

impl<M: GuestAddressSpace + Send + Sync> SaveState for VirtioPci<M> {
    fn save(&self) -> Result<StateValue, StateError> {
        let state = self.state();
        let used = self.used(&state)?;
        let device = self.device();
        let Told { isr, generation, needs_reset, configuration_vector, queue_vectors } =
            self.signals.told();
        let setup = &state.setup;
        let queues = setup.queues.iter().zip(queue_vectors).zip(used);
        let queues = queues.map(|((queue, vector), used)| QueueState {
            max_size: queue.max_size,
            size: queue.size,
            enabled: queue.enabled,
            descriptors: queue.descriptors,
            driver: queue.driver,
            device: queue.device,
            vector,
            used,
        });
        StateValue::of(&FunctionState {
            kind: device.kind().id,
            config: self.config().state(),
            vectors: self.signals.msix().state(),
            isr,
            generation,
            needs_reset,
            status: setup.status,
            device_feature_select: setup.device_feature_select,
            driver_feature_select: setup.driver_feature_select,
            features: setup.features,
            configuration_vector,
            queue_select: setup.queue_select,
            queues: queues.collect(),
            device: DeviceState { version: device.state_version(), state: device.save()? },
        })
    }

    /// Where the device itself refuses its state, all of it is as after a reset by the driver.
    fn restore(&self, version: u32, state: &StateValue) -> Result<(), StateError> {
        check_version(version, self.version())?;
        let saved = self.check(state.get()?)?;
        let mut state = self.state();
        match state.run {
            Run::Active(_) if !state.rests => return Err(StateError::Running),
            Run::Ending { .. } => return Err(StateError::Running),
            _ => {}
        }
        // What rests ends at once.
        self.reset_device(&mut state, Wait::ForEver);
        self.device().restore(saved.device.version, &saved.device.state)?;
        let mut control = [0; 2];
        saved.config.read(self.places.msix + MESSAGE_CONTROL, &mut control);
        let is_pin_disabled = saved.config.is_intx_disabled();
        *self.config() = saved.config;
        state.setup = saved.setup;
        self.signals.msix().restore(&saved.vectors);
        self.signals.restore(saved.told);
        self.signals.set_control(u16::from_le_bytes(control), is_pin_disabled);
        if saved.is_due {
            state.run = Run::Due(saved.used);
            state.rests = true;
        }
        Ok(())
    }
}

impl<M: GuestAddressSpace> VirtioPci<M> {
    /// How many buffers of each queue were used.
    fn used(&self, state: &State) -> Result<Vec<u16>, StateError> {
        let queues = &state.setup.queues;
        match &state.run {
            Run::Idle => Ok(vec![0; queues.len()]),
            Run::Due(used) => {
                Ok(used.iter().copied().chain(std::iter::repeat(0)).take(queues.len()).collect())
            }
            Run::Active(_) if state.rests => {
                let memory = self.memory.memory();
                let used = |queue| used_of(&*memory, queue);
                queues.iter().map(used).collect()
            }
            Run::Active(_) | Run::Ending { .. } => Err(StateError::Running),
        }
    }

    fn check(&self, saved: FunctionState) -> Result<Checked, StateError> {
        let refused = |message: String| Err(StateError::Value(message));
        let kind = self.device().kind().id;
        if saved.kind != kind {
            let there = saved.kind;
            return refused(format!("it is a virtio device {there}, and this one is a {kind}"));
        }
        let config = self.config().with_state(&saved.config)?;
        self.signals.msix().check_state(&saved.vectors)?;
        let FunctionState { isr, status, features, needs_reset, .. } = saved;
        if isr & !ISR_BITS != 0 {
            return refused(format!("{isr:#x} in the ISR register"));
        }
        if status & !STATUS_BITS != 0 || status & (DRIVER_OK | FEATURES_OK) == DRIVER_OK {
            return refused(format!("a device status of {status:#x}"));
        }
        if status & FEATURES_OK != 0 && features & VERSION_1 == 0 {
            return refused(format!("features {features:#x}, without those of version 1"));
        }
        let missing = features & !self.offered;
        if status & FEATURES_OK != 0 && missing != 0 {
            return refused(format!("its driver took features {missing:#x}, which are not here"));
        }
        let own = self.state().setup.queues.len();
        if saved.queues.len() != own {
            return refused(format!("{} queues, and not {own}", saved.queues.len()));
        }
        let vectors = saved.queues.iter().map(|queue| queue.vector);
        let wrong = vectors
            .chain([saved.configuration_vector])
            .find(|&vector| vector != NO_VECTOR && usize::from(vector) >= saved.vectors.len());
        if let Some(vector) = wrong {
            return refused(format!("a vector {vector} of {}", saved.vectors.len()));
        }
        let mut setup = self.state().setup.clone();
        for (number, (own, saved)) in setup.queues.iter_mut().zip(&saved.queues).enumerate() {
            let most = own.max_size;
            if saved.max_size != most {
                let there = saved.max_size;
                return refused(format!(
                    "queue {number} has up to {there} descriptors, not {most}"
                ));
            }
            if !saved.size.is_power_of_two() || saved.size > most {
                return refused(format!("queue {number} has {} descriptors", saved.size));
            }
            *own = QueueSetup {
                max_size: most,
                size: saved.size,
                enabled: saved.enabled,
                descriptors: saved.descriptors,
                driver: saved.driver,
                device: saved.device,
            };
        }
        setup = Setup {
            status,
            device_feature_select: saved.device_feature_select,
            driver_feature_select: saved.driver_feature_select,
            features,
            queue_select: saved.queue_select,
            queues: setup.queues,
        };
        let used: Vec<u16> = saved.queues.iter().map(|queue| queue.used).collect();
        let is_due = status & DRIVER_OK != 0 && !needs_reset;
        if is_due && !config.is_bus_master() {
            return refused("it is active, and may not access memory".to_owned());
        }
        if let (true, Err(queue)) = (is_due, setup.active_queues(&*self.memory.memory(), &used)) {
            return refused(format!("queue {queue} is not in memory, or not aligned"));
        }
        let told = Told {
            isr,
            generation: saved.generation,
            needs_reset,
            configuration_vector: saved.configuration_vector,
            queue_vectors: saved.queues.iter().map(|queue| queue.vector).collect(),
        };
        let FunctionState { vectors, device, .. } = saved;
        Ok(Checked { config, vectors, told, setup, used, is_due, device })
    }
}

/// How many buffers of a queue its driver got back. Nobody works on it.
fn used_of<M: GuestMemory>(memory: &M, queue: &QueueSetup) -> Result<u16, StateError> {
    if !queue.enabled {
        return Ok(0);
    }
    let at = GuestAddress(queue.device.wrapping_add(2));
    let used: u16 = memory.load(at, Ordering::Acquire).map_err(|error| {
        StateError::Value(format!("a used ring at {:#x}: {error}", queue.device))
    })?;
    Ok(u16::from_le(used))
}
