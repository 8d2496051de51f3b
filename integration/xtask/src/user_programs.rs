//! Programs of a guest's users, in C: built for the guest, and put into its initial RAM disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cpio::Archive;
use crate::failure::{Failure, Result};
use crate::folders;
use crate::guest;
use crate::packages::{self, Tool};
use crate::program::{line, output_of};

/// A program whose source is `guest/NAME.c` in this package.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UserProgram {
    pub(crate) name: &'static str,
    /// What the compiler is told besides.
    pub(crate) options: &'static [&'static str],
}

impl UserProgram {
    /// Where the program is in the guest.
    pub(crate) fn path(&self) -> String {
        format!("/bin/{}", self.name)
    }

    fn build(&self, folder: &Path) -> Result<Vec<u8>> {
        compile("powerpc64le-linux-gnu-gcc", self.options, self.name, folder)
    }
}

/// Compiles and links `guest/NAME.c` of this package, with the C library inside, in a folder for
/// what is made meanwhile.
pub(crate) fn compile(
    compiler: &str,
    options: &[&str],
    name: &str,
    folder: &Path,
) -> Result<Vec<u8>> {
    let source = folders::workspace().join(format!("integration/xtask/guest/{name}.c"));
    if !source.is_file() {
        return Err(Failure::new(format!("there is no {}", source.display())));
    }
    let program = folder.join("program");
    let mut compiler = Command::new(compiler);
    compiler.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-static", "-s"]);
    compiler.args(options).arg("-o").arg(&program).arg(source);
    let said = output_of(&mut compiler)?;
    if !said.is_empty() {
        return Err(Failure::new(format!("{} said: {said}", line(&compiler))));
    }
    folders::read(&program)
}

/// Runs all programs of a disk.
pub(crate) const EACH: &str = "/bin/each";

/// The guest's initial RAM disk with programs in `/bin` besides. With `autorun=/bin/each` on the
/// kernel's command line, the guest runs one after the other, tells the status of each, and switches
/// itself off.
pub(crate) fn initramfs(programs: &[UserProgram]) -> Result<PathBuf> {
    packages::ensure(&[Tool::PowerCompiler, Tool::PowerLibrary])?;
    let guest = guest::make(false)?;
    let folder = folders::TemporaryFolder::make(&guest::folder(), "programs")?;
    let mut archive = Archive::default();
    for program in programs {
        archive.program(program.path().trim_start_matches('/'), &program.build(folder.path())?);
    }
    archive.program(EACH.trim_start_matches('/'), each(programs).as_bytes());
    let disk = guest.with(&[archive.finish()])?;
    let names: Vec<&str> = programs.iter().map(|program| program.name).collect();
    let file = guest::folder().join(format!("with-{}.cpio.gz", names.join("-")));
    folders::write(&file, &disk)?;
    Ok(file)
}

fn each(programs: &[UserProgram]) -> String {
    let run = |program: &UserProgram| {
        let path = program.path();
        format!("{path}\necho \"GUEST-RAN {path}: $?\"\n")
    };
    "#!/bin/sh\n".to_owned() + &programs.iter().map(run).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_a_source_is_told() {
        let program = UserProgram { name: "no-such-program", options: &[] };
        let failure = program.build(&std::env::temp_dir()).unwrap_err().to_string();
        assert!(failure.ends_with("integration/xtask/guest/no-such-program.c"), "{failure}");
        assert_eq!(program.path(), "/bin/no-such-program");
    }
}
