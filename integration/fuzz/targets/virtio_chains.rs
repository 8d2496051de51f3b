#![no_main]

vof_fuzz::fuzz!("virtio_chains");
