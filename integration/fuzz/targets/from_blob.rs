#![no_main]

vof_fuzz::fuzz!("from_blob");
