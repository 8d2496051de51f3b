//! The guest program that uses the counter is what its source says.

use std::path::Path;

#[path = "../../vmm/tests/run/rebuild.rs"]
mod rebuild;

#[test]
#[ignore = "needs GNU binutils and C for powerpc64; `cargo xtask test` installs and uses them"]
fn tools_programs_rebuild_to_the_same_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
    rebuild::check(&folder, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests"));
}
