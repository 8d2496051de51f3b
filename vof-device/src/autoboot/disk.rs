//! What on a disk can be started.

use std::sync::Arc;

use super::{Attempt, AttemptError, BootImage};
use crate::block::BlockDevice;
use crate::block::label::bootinfo::{self, BootInfoError};
use crate::block::label::{self, Arguments, LabelError, PartitionKind};
use crate::limits::{MAX_BOOTINFO_PARTITIONS, MAX_PREP_PARTITIONS};

/// A disk, and the path of its node.
pub(super) struct Disk<'a> {
    pub(super) path: &'a str,
    pub(super) disk: &'a Arc<dyn BlockDevice>,
}

impl Disk<'_> {
    /// What the arguments of a device specifier name of it.
    pub(super) fn attempts(&self, arguments: &str) -> Vec<Attempt> {
        match Arguments::parse(arguments) {
            Err(error) => {
                vec![Attempt::new(format!("{}:{arguments}", self.path), Err(error.into()))]
            }
            Ok(part) if part.path().is_some() => vec![self.image(&part, None)],
            Ok(part) => match part.partition() {
                Some(number) => self.on_partition(number),
                None => self.on_disk(),
            },
        }
    }

    /// All that it could be started from.
    fn on_disk(&self) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        attempts.extend(self.bootinfo(None));
        let partitions = match label::partitions(&**self.disk) {
            Ok(partitions) => partitions,
            Err(error) => {
                // A disk that cannot be read at all is told once.
                if attempts.is_empty() || !matches!(error, LabelError::Read(_)) {
                    attempts.push(Attempt::new(self.path, Err(error.into())));
                }
                return attempts;
            }
        };
        let (mut programs, others): (Vec<_>, Vec<_>) =
            partitions.into_iter().partition(|one| one.kind == PartitionKind::Prep);
        programs.sort_by_key(|one| (!one.is_active, one.number));
        for one in programs.iter().take(MAX_PREP_PARTITIONS) {
            attempts.push(self.image(&Arguments::of_partition(Some(one.number)), None));
        }
        // One that begins with the disk has the disk's file system.
        for one in others.iter().filter(|one| one.extent.start > 0).take(MAX_BOOTINFO_PARTITIONS) {
            attempts.extend(self.bootinfo(Some(one.number)));
        }
        if attempts.is_empty() {
            attempts.push(Attempt::new(self.path, Err(AttemptError::Nothing)));
        }
        attempts
    }

    fn on_partition(&self, number: u32) -> Vec<Attempt> {
        let part = Arguments::of_partition(Some(number));
        let is_program = label::partitions(&**self.disk).is_ok_and(|partitions| {
            let mut programs = partitions.iter().filter(|one| one.kind == PartitionKind::Prep);
            programs.any(|one| one.number == number)
        });
        let bootinfo = if is_program { None } else { self.bootinfo(Some(number)) };
        vec![bootinfo.unwrap_or_else(|| self.image(&part, None))]
    }

    /// What bootinfo.txt says, on a partition or on the whole disk; `None` where there is none.
    fn bootinfo(&self, partition: Option<u32>) -> Option<Attempt> {
        let part = Arguments::of_partition(partition);
        let name = self.specifier(&part.clone().with_path(bootinfo::PATH));
        match bootinfo::read(&**self.disk, self.path, partition) {
            Ok(boot) => Some(self.named_by_bootinfo(name, boot)),
            Err(BootInfoError::Label(
                LabelError::NoFileSystem
                | LabelError::NoFile
                | LabelError::NotAFile
                | LabelError::NoPartition { .. },
            )) => None,
            // Of that, the file is no matter.
            Err(BootInfoError::Label(error @ LabelError::Read(_))) => {
                Some(Attempt::new(self.specifier(&part), Err(error.into())))
            }
            Err(error) => Some(Attempt::new(name, Err(error.into()))),
        }
    }

    /// The file or the partition that a bootinfo.txt names: one of this disk.
    fn named_by_bootinfo(&self, name: String, boot: bootinfo::Boot) -> Attempt {
        let arguments = boot.specifier.strip_prefix(self.path).and_then(|rest| match rest {
            "" => Some(rest),
            _ => rest.strip_prefix(':'),
        });
        let part = match arguments.map(Arguments::parse) {
            Some(Ok(part)) if part.path().is_some() || part.partition().is_some() => part,
            Some(Err(error)) => return Attempt::new(boot.specifier, Err(error.into())),
            _ => return Attempt::new(name, Err(AttemptError::BootInfoDevice)),
        };
        self.image(&part, Some(boot.arguments).filter(|arguments| !arguments.is_empty()))
    }

    /// The program in a part of it.
    fn image(&self, part: &Arguments, arguments: Option<String>) -> Attempt {
        let bootpath = self.specifier(part);
        let found = label::find(&**self.disk, part).map_err(AttemptError::from);
        let image = found.map(|region| {
            BootImage::on_disk(bootpath.clone(), arguments, self.disk.clone(), region)
        });
        Attempt::new(bootpath, image)
    }

    /// The path with the arguments for a part, in the form that clients know.
    fn specifier(&self, part: &Arguments) -> String {
        let partition = part.partition().map_or_else(String::new, |number| number.to_string());
        let Some(path) = part.path() else {
            let colon = if partition.is_empty() { "" } else { ":" };
            return format!("{}{colon}{partition}", self.path);
        };
        let comma = if partition.is_empty() { "" } else { "," };
        let names: Vec<&str> = path.split(['\\', '/']).filter(|name| !name.is_empty()).collect();
        format!("{}:{partition}{comma}\\{}", self.path, names.join("\\"))
    }
}
