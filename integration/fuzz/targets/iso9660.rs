#![no_main]

vof_fuzz::fuzz!("iso9660");
