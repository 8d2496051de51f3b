#![no_main]

vof_fuzz::fuzz!("moves");
