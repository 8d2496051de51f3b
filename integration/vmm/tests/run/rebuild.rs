//! Guest programs are what their source says; for tests of this package and of others.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Builds the programs of a folder by its `build.sh`, into `scratch`: they are those of the folder.
pub(crate) fn check(folder: &Path, scratch: &Path) {
    let built = Command::new("sh").arg(folder.join("build.sh")).arg(scratch).output().unwrap();
    let complaint = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "build.sh failed: {complaint}");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut checked = 0;
    for name in names.filter(|name| name.to_string_lossy().ends_with(".elf")) {
        let shipped = fs::read(folder.join(&name)).unwrap();
        let rebuilt = fs::read(scratch.join(&name)).unwrap();
        let name = name.to_string_lossy();
        checked += 1;
        // Another compiler makes other code of the same source, and says which one it is.
        if shipped != rebuilt && compiler(&shipped) != compiler(&rebuilt) {
            eprintln!("{name} was built by {:?}", compiler(&shipped));
            continue;
        }
        assert!(shipped == rebuilt, "{name} is not what its source builds");
    }
    assert!(checked > 0, "{} has no programs", folder.display());
}

/// What the compiler left of itself in a program, in the section `.comment`.
fn compiler(program: &[u8]) -> Option<String> {
    let sign = b"GCC: (";
    let at = program.windows(sign.len()).position(|bytes| bytes == sign)?;
    let text = program[at..].split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}
