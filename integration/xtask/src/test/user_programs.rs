//! The step that runs programs of a guest's users on the processor in software.

use crate::failure::Result;
use crate::guest;
use crate::user_programs::{self, UserProgram};

use super::boots::shows;
use super::log::Log;
use super::software;

/// Programs, and what each shows when all is as it should be.
const PROGRAMS: &[(UserProgram, &str)] = &[
    (UserProgram { name: "instructions", options: &[] }, "instructions: 31 of 31 as"),
    (UserProgram { name: "steps", options: &[] }, "steps: all where they should be"),
    // Its signal handlers run with any registers, so that nothing may be asked of them.
    (
        UserProgram { name: "words", options: &["-fno-stack-protector", "-no-pie"] },
        "words: 1000000 of 1000000 executed",
    ),
];

pub(super) fn words(log: &mut Log) -> Result<()> {
    let programs: Vec<UserProgram> = PROGRAMS.iter().map(|(program, _)| *program).collect();
    let disk = user_programs::initramfs(&programs)?;
    let kernel = guest::make(false)?.kernel;
    for (program, answer) in PROGRAMS {
        let path = program.path();
        // What the kernel has to say would get into the midst of what the program says.
        let task = format!("loglevel=1 autorun={path}");
        let console = software::run(log, &kernel, &disk, &task, &[])?;
        shows(&console, &[answer, &format!("GUEST-RAN {path}: 0\n")])?;
    }
    Ok(())
}
