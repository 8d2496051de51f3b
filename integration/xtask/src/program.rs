//! Other programs: run to their end, and their failure told with what they said.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Attempt, Failure, Result};

/// A progress line, on standard error: standard output belongs to what is run.
macro_rules! progress {
    ($($line:tt)*) => { $crate::program::say(format_args!($($line)*)) };
}
pub(crate) use progress;

/// Whether a line was begun whose end is still to come: what is said meanwhile starts another.
static LINE_IS_OPEN: AtomicBool = AtomicBool::new(false);

/// A line has been begun.
pub(crate) fn open_line() {
    LINE_IS_OPEN.store(true, Ordering::Relaxed);
}

/// There is no such line any more. Gives whether there was one.
pub(crate) fn end_line() -> bool {
    LINE_IS_OPEN.swap(false, Ordering::Relaxed)
}

/// See [`progress!`].
pub(crate) fn say(text: fmt::Arguments<'_>) {
    let start = if end_line() { "\n" } else { "" };
    eprintln!("{start}xtask: {text}");
}

/// Runs a program whose output is progress, and thus goes to standard error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = duplicate_of_stderr()?;
    if end_line() {
        eprintln!();
    }
    let status = command
        .stdin(Stdio::null())
        .stdout(shown)
        .status()
        .attempt(|| format!("run {}", name(command)))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("{} {}; see above", line(command), ended(status))))
}

/// Runs a program for its output.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().attempt(|| format!("run {}", name(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{} {}: {}", line(command), ended(output.status), said.trim_end())))
}

/// Runs a program on some input, for what it makes of it. What it says goes where the caller sends it.
pub(crate) fn filter(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().attempt(|| format!("run {}", name(command)))?;
    let mut pipe = child.stdin.take().expect("asked for above");
    let output = std::thread::scope(|scope| {
        // In a thread of its own, as it may stop reading until somebody reads from it. One that does
        // not read to the end has its reasons, and a status.
        scope.spawn(move || pipe.write_all(input));
        child.wait_with_output()
    });
    let output = output.attempt(|| format!("read what {} made", name(command)))?;
    if !output.status.success() {
        // What it said, if the caller took that.
        let said = String::from_utf8_lossy(&output.stderr);
        let failure = format!("{} {}\n{said}", line(command), ended(output.status));
        return Err(Failure::new(failure.trim_end()));
    }
    Ok(output.stdout)
}

/// How a program ended, to complete a sentence that starts with its name.
pub(crate) fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended in an unknown way".into(),
    }
}

/// Whether a program is on this machine.
pub(crate) fn is_present(program: &str) -> bool {
    find(program).is_some()
}

/// A program of the system's.
pub(crate) fn tool(program: &str) -> Command {
    find(program).map_or_else(|| Command::new(program), Command::new)
}

/// The folders of `PATH` searched for a program.
fn find(program: &str) -> Option<PathBuf> {
    // The system's own tools are often outside an ordinary user's PATH.
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let path = std::env::var_os("PATH")?;
    let places = std::env::split_paths(&path).chain(system).map(|folder| folder.join(program));
    places.into_iter().find(|place| place.is_file())
}

/// This Cargo, the one that runs the task.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The compiler that this Cargo runs.
pub(crate) fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// A command as somebody would type it, shortened to what tells it apart.
pub(crate) fn line(command: &Command) -> String {
    let mut line = name(command);
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&quoted(argument));
    }
    format!("`{line}`")
}

/// A word for the shell.
pub(crate) fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn name(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}

fn duplicate_of_stderr() -> Result<Stdio> {
    let fd = io::stderr().as_fd().try_clone_to_owned();
    Ok(fd.attempt(|| "duplicate standard error".into())?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_name_the_command_and_what_it_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'no such luck' >&2; exit 7"]);
        let failure = output_of(&mut command).unwrap_err().to_string();
        assert!(failure.starts_with("`sh -c 'echo '\\''no such luck'\\'' >&2; exit 7'` ended"));
        assert!(failure.ends_with("status 7: no such luck"), "{failure}");
        let failure = output_of(&mut Command::new("no-such-program")).unwrap_err();
        assert!(failure.to_string().starts_with("cannot run no-such-program: "), "{failure}");
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        let quoted = |word: &str| quoted(OsStr::new(word));
        assert_eq!(quoted("size=512M"), "size=512M");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
