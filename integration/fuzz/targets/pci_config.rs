#![no_main]

vof_fuzz::fuzz!("pci_config");
