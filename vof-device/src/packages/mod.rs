//! The interface's own packages. What a method takes and leaves is written as in IEEE 1275: the top
//! of the stack last.

mod console;
mod memory;
mod mmu;
mod real_address;
mod root;
mod rtas;

pub(crate) use console::ConsolePackage;
pub(crate) use memory::MemoryPackage;
pub(crate) use mmu::MmuPackage;
pub(crate) use root::RootPackage;
pub(crate) use rtas::RtasPackage;

/// The packages' names, and those of their methods.
#[cfg(any(test, feature = "test-utils"))]
pub(crate) fn method_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let packages: [(&str, &[&str]); 5] = [
        ("/", &root::METHODS),
        ("/rtas", &rtas::METHODS),
        ("memory", &memory::METHODS),
        ("mmu", &mmu::METHODS),
        ("console", &console::METHODS),
    ];
    packages.into_iter().flat_map(|(package, names)| names.iter().map(move |&name| (package, name)))
}
