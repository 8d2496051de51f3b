//! GRUB on a terminal: its menu and its command line.

use std::process::Command;

use crate::failure::{Failure, Result};

use super::log::Log;
use super::pty::Pty;

pub(super) const UP: &str = "\x1b[A";
pub(super) const DOWN: &str = "\x1b[B";

/// What its command line begins with.
pub(super) const GRUB_PROMPT: &str = "grub> ";

/// A terminal with GRUB on it.
pub(super) struct GrubTerminal<'a> {
    pub(super) pty: Pty<'a>,
    entries: &'static [&'static str],
}

impl<'a> GrubTerminal<'a> {
    /// Starts a program that starts a GRUB whose menu has these entries.
    pub(super) fn start(
        command: &mut Command,
        entries: &'static [&'static str],
        log: &'a mut Log,
    ) -> Result<Self> {
        Ok(Self { pty: Pty::spawn(command, log)?, entries })
    }

    pub(super) fn type_in(&mut self, keys: &str) -> Result<()> {
        self.pty.type_in(keys)
    }

    pub(super) fn expect(&mut self, text: &str) -> Result<String> {
        self.pty.expect(text)
    }

    /// Waits for a menu that is drawn anew, with the first entry highlighted.
    pub(super) fn shows_menu(&mut self) -> Result<()> {
        self.shows_menu_of("2.")?;
        self.highlights(0)?;
        for entry in &self.entries[1..] {
            self.pty.expect(entry)?;
        }
        Ok(())
    }

    /// Waits for the headline of a menu, of a GRUB whose version starts so.
    pub(super) fn shows_menu_of(&mut self, version: &str) -> Result<()> {
        self.expect(&format!("GNU GRUB  version {version}")).map(drop)
    }

    /// Waits until an entry is highlighted: the rest of its line is, too.
    pub(super) fn highlights(&mut self, entry: usize) -> Result<()> {
        self.pty.expect(&format!("*{}  ", self.entries[entry])).map(drop)
    }

    /// Goes from the menu to the command line.
    pub(super) fn command_line(&mut self) -> Result<()> {
        self.type_in("c")?;
        self.expect(GRUB_PROMPT).map(drop)
    }

    /// What comes of a command.
    pub(super) fn answer(&mut self, command: &str) -> Result<String> {
        self.type_in(&format!("{command}\r"))?;
        self.expect("\n")?;
        self.expect(GRUB_PROMPT)
    }

    /// Types commands of which this has to come. GRUB moves the cursor between any two of the
    /// characters that it echoes, so what is typed is no answer.
    pub(super) fn answers(&mut self, commands: &[(&str, &[&str])]) -> Result<()> {
        for (command, answers) in commands {
            let said = self.answer(command)?;
            if let Some(missing) = answers.iter().find(|answer| !said.contains(**answer)) {
                return Err(Failure::new(format!(
                    "`{command}` does not show {missing:?}, but {said:?}"
                )));
            }
        }
        Ok(())
    }
}
