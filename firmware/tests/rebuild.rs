//! The images that are shipped are what their source says.

use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "needs GNU binutils for powerpc64; `cargo xtask test` installs and uses them"]
fn tools_images_rebuild_to_the_same_bytes() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("firmware-rebuild");
    let built = Command::new("sh")
        .arg(crate_folder.join("guest/build.sh"))
        .arg(&folder)
        .output()
        .expect("cannot run sh");
    let complaint = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "build.sh failed: {complaint}");
    for image in ["vof.bin", "rtas.bin", "vof.map"] {
        let shipped = std::fs::read(crate_folder.join("image").join(image)).unwrap();
        let rebuilt = std::fs::read(folder.join(image)).unwrap();
        assert!(shipped == rebuilt, "{image} is not what its source builds: {rebuilt:02x?}");
    }
}
