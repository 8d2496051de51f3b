#![no_main]

vof_fuzz::fuzz!("device_states");
