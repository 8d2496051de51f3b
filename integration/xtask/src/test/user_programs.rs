//! The steps that run programs of a guest's users on the processor in software.

use crate::failure::Result;
use crate::guest;
use crate::user_programs::{self, EACH, UserProgram};

use super::boots::{shows, shows_times};
use super::log::Log;
use super::software;

/// Programs, and what each shows when all is as it should be.
type Programs = &'static [(UserProgram, &'static str)];

const WORDS: Programs = &[
    (UserProgram { name: "instructions", options: &[] }, "instructions: 31 of 31 as"),
    (UserProgram { name: "steps", options: &[] }, "steps: all where they should be"),
    // Its signal handlers run with any registers, so that nothing may be asked of them.
    (
        UserProgram { name: "words", options: &["-fno-stack-protector", "-no-pie"] },
        "words: 1000000 of 1000000 executed",
    ),
];

/// The same sums with the instructions of libgcc's choice and with those of the program.
const SUMS: Programs = &[
    (UserProgram { name: "float128", options: &["-mfloat128"] }, SUMS_ANSWER),
    (
        UserProgram {
            name: "float128-power9",
            options: &["-mcpu=power9", "-mfloat128", "-mfloat128-hardware"],
        },
        SUMS_ANSWER,
    ),
];

/// 1 + … + 1000, (2^56 + 1)^2, a third, -1/4, a third as a double; 2^40 is less than 2^56.
const SUMS_ANSWER: &str = "float128: sum 500500 square 406f0000000000000200000000000001 \
     third 3ffd5555555555555555555555555555 negative bffd0000000000000000000000000000 \
     double 0x1.5555555555555p-2 order 101";

pub(super) fn words(log: &mut Log) -> Result<()> {
    run(log, WORDS)
}

pub(super) fn float128(log: &mut Log) -> Result<()> {
    run(log, SUMS)
}

fn run(log: &mut Log, programs: Programs) -> Result<()> {
    let all: Vec<UserProgram> = programs.iter().map(|(program, _)| *program).collect();
    let disk = user_programs::initramfs(&all)?;
    let kernel = guest::make(false)?.kernel;
    // What the kernel has to say would get into the midst of what a program says.
    let task = format!("loglevel=1 autorun={EACH}");
    let console = software::run(log, &kernel, &disk, &task, &[])?;
    for (program, answer) in programs {
        shows(&console, &[&format!("GUEST-RAN {}: 0\n", program.path())])?;
        shows_times(
            &console,
            answer,
            programs.iter().filter(|(_, other)| other == answer).count(),
        )?;
    }
    Ok(())
}
