//! Debian packages by `apt-get` with a private root: the machine's own sources and keys are used,
//! nothing of the machine is changed, and nobody has to be root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Attempt, Failure, Result};
use crate::folders;
use crate::program::{is_present, output_of, run};

/// Debian's name of the architecture that guests and the emulated host are of.
pub(crate) const POWER: &str = "ppc64el";

/// A release of Debian that packages come from, whichever the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// Debian 12.
    Bookworm,
    /// What newer releases have, built for Debian 12.
    Backports,
    /// Debian 13.
    Trixie,
}

impl Release {
    /// Its name in package sources.
    pub(crate) fn codename(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Backports => "bookworm-backports",
            Self::Trixie => "trixie",
        }
    }

    /// Its name for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Bookworm => "Debian 12 (bookworm)",
            Self::Backports => "Debian 12's backports (bookworm-backports)",
            Self::Trixie => "Debian 13 (trixie)",
        }
    }
}

/// An apt of its own: package lists and settings in a private folder.
#[derive(Debug)]
pub(crate) struct Apt {
    config: PathBuf,
}

/// A package file, as the signed package lists describe it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) file: String,
    pub(crate) sha256: String,
}

impl Signed {
    /// The package as apt is asked for it: `name:architecture=version`.
    pub(crate) fn package(&self) -> Option<String> {
        let mut parts = self.file.strip_suffix(".deb")?.split('_');
        let (name, version) = (parts.next()?, parts.next()?.replace("%3a", ":"));
        let architecture = parts.next()?;
        parts.next().is_none().then(|| format!("{name}:{architecture}={version}"))
    }
}

impl Apt {
    /// Whether this machine has apt at all.
    pub(crate) fn is_present() -> bool {
        is_present("apt-get") && is_present("apt-config") && is_present("apt-cache")
    }

    /// Sets a private root up, or takes up the one that is there.
    pub(crate) fn open(root: &Path, release: Release) -> Result<Self> {
        copy_sources(&root.join("sources"), release)?;
        Self::of_sources(root)
    }

    /// Takes a private root whose sources are there.
    pub(crate) fn of_sources(root: &Path) -> Result<Self> {
        for folder in ["state/lists/partial", "cache/archives/partial", "none"] {
            folders::make(&root.join(folder))?;
        }
        folders::write(&root.join("status"), b"")?;
        let apt = Self { config: root.join("apt.conf") };
        let config = configuration(root, &machine_setting("dump", &[])?, &trust()?);
        folders::write(&apt.config, config.as_bytes())?;
        Ok(apt)
    }

    /// Fetches the package lists; apt checks their signatures.
    pub(crate) fn update(&self) -> Result<()> {
        run(self.command("apt-get").arg("update"))
    }

    /// The versions of a package on offer, newest first.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table = output_of(self.command("apt-cache").args(["madison", package]))?;
        Ok(second_column(&table))
    }

    /// A field of the record of each version on offer that has it, newest first.
    pub(crate) fn field(&self, package: &str, field: &str) -> Result<Vec<String>> {
        let mut values = Vec::new();
        for version in self.versions(package)? {
            let package = format!("{package}={version}");
            let record = output_of(self.command("apt-cache").args(["show", &package]))?;
            let value =
                record.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
            values.extend(value.map(str::to_owned));
        }
        Ok(values)
    }

    /// What the signed lists say about the file of a package (`name:architecture=version`).
    pub(crate) fn signed(&self, package: &str) -> Result<Signed> {
        let mut command = self.command("apt-get");
        let lines = output_of(command.args(["download", "--print-uris", package]))?;
        let mut files = lines.lines().filter(|line| line.starts_with('\'')).map(parse_uri);
        match (files.next().flatten(), files.next()) {
            (Some(file), None) => Ok(file),
            _ => Err(Failure::new(format!(
                "apt-get names no SHA-256 for {package}, but says:\n{lines}"
            ))),
        }
    }

    /// The files of packages of an architecture and of all that they depend on, on a machine that
    /// has nothing yet.
    pub(crate) fn closure(&self, packages: &[&str], architecture: &str) -> Result<Vec<Signed>> {
        let mut command = self.command("apt-get");
        command.args(["install", "--print-uris", "--yes", "--no-install-recommends", "-q=2"]);
        command.args(["--option", "Acquire::ForceHash=SHA256"]);
        command.args(["--option", &format!("APT::Architecture={architecture}")]);
        let lines = output_of(command.args(packages))?;
        let files = lines.lines().filter(|line| line.starts_with('\'')).map(|line| {
            parse_uri(line).ok_or_else(|| {
                Failure::new(format!("apt-get names no SHA-256 of a file, but says:\n{line}"))
            })
        });
        files.collect()
    }

    /// Downloads package files into a folder; apt checks them against the signed lists.
    pub(crate) fn download(&self, packages: &[String], folder: &Path) -> Result<()> {
        let mut command = self.command("apt-get");
        run(command.arg("download").args(packages).current_dir(folder))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C");
        command
    }
}

/// Debian's name of the architecture that this program runs on.
pub(crate) fn native() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        "powerpc64" => Ok(POWER),
        other => Err(Failure::new(format!(
            "this machine is {other}, for which there is no cross toolchain; use an x86-64, \
             AArch64 or POWER machine"
        ))),
    }
}

/// A private apt.conf. Read before every other file, it keeps apt from reading those: a machine's
/// hooks and pins are not for us. How to reach the archive (proxies, dates) is.
fn configuration(root: &Path, machine: &str, trust: &str) -> String {
    let access = machine.lines().filter(|line| {
        line.starts_with("Acquire::")
            && !line.starts_with("Acquire::IndexTargets")
            && !line.starts_with("Acquire::Languages")
    });
    let mut config = access.fold(String::new(), |config, line| config + line + "\n");
    let native = native().unwrap_or(POWER);
    let root = root.display();
    config.push_str(&format!(
        r#"Acquire::Languages "none";
Acquire::Retries "3";
APT::Architecture "{native}";
APT::Architectures {{ "{native}"; "{POWER}"; }};
// As root, apt would fetch as a helper user who cannot enter a home folder.
APT::Sandbox::User "";
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "{root}/none";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "{root}/none";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "{root}/sources";
{trust}"#
    ));
    config
}

/// The settings that name the machine's keys.
fn trust() -> Result<String> {
    let wanted = ["Trusted", "Dir::Etc::Trusted/f", "TrustedParts", "Dir::Etc::TrustedParts/d"];
    let shell = machine_setting("shell", &wanted)?;
    let settings = shell.lines().filter_map(|line| {
        let (name, path) = line.split_once('=')?;
        Some(format!("Dir::Etc::{name} \"{}\";\n", path.trim_matches('\'')))
    });
    Ok(settings.collect())
}

fn machine_setting(what: &str, names: &[&str]) -> Result<String> {
    output_of(Command::new("apt-config").env("LC_ALL", "C").arg(what).args(names))
}

/// Copies the machine's source lists, with the release's name changed where the machine runs
/// another one of Debian: the keys of one know the other.
fn copy_sources(folder: &Path, wanted: Release) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).attempt(|| format!("empty {}", folder.display()))?;
    }
    folders::make(folder)?;
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = debian_codename(&release);
    for source in source_files()? {
        let text = fs::read_to_string(&source)
            .attempt(|| format!("read the package sources in {}", source.display()))?;
        let Some(name) = source.file_name() else { continue };
        folders::write(&folder.join(name), with_release(&text, codename, wanted).as_bytes())?;
    }
    Ok(())
}

fn source_files() -> Result<Vec<PathBuf>> {
    let wanted = ["List", "Dir::Etc::SourceList/f", "Parts", "Dir::Etc::SourceParts/d"];
    let shell = machine_setting("shell", &wanted)?;
    let path = |name: &str| {
        let value = shell.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        PathBuf::from(value.unwrap_or_default().trim_matches('\''))
    };
    let mut files: Vec<PathBuf> = Vec::new();
    let list = path("List");
    if list.is_file() {
        files.push(list);
    }
    let parts = path("Parts");
    if parts.is_dir() {
        let entries = fs::read_dir(&parts).attempt(|| format!("list {}", parts.display()))?;
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
            path.extension().is_some_and(|ending| ending == "list" || ending == "sources")
        }));
    }
    Ok(files)
}

/// The codename of a Debian release, from os-release(5).
fn debian_codename(os_release: &str) -> Option<&str> {
    let value = |name: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"'))
    };
    value("VERSION_CODENAME").filter(|_| value("ID") == Some("debian"))
}

fn with_release(sources: &str, codename: Option<&str>, wanted: Release) -> String {
    let Some(codename) = codename.filter(|name| *name != wanted.codename()) else {
        return sources.into();
    };
    let suite = |word: &str| match word.strip_prefix(codename) {
        Some("") => wanted.codename().to_owned(),
        // Updates of a release; backports have none.
        Some(rest) if rest.starts_with('-') && wanted != Release::Backports => {
            format!("{}{rest}", wanted.codename())
        }
        _ => word.to_owned(),
    };
    let lines = sources.lines().map(|line| {
        let names_suites = line.starts_with("Suites:") || line.starts_with("deb");
        if !names_suites {
            return line.to_owned();
        }
        line.split_whitespace().map(suite).collect::<Vec<_>>().join(" ")
    });
    lines.fold(String::new(), |text, line| text + &line + "\n")
}

/// The versions of `apt-cache madison`: `package | version | source`.
fn second_column(table: &str) -> Vec<String> {
    let versions = table.lines().filter_map(|line| line.split('|').nth(1));
    versions.map(|version| version.trim().to_owned()).collect()
}

/// A line of `--print-uris`: `'address' file size SHA256:digest`.
fn parse_uri(line: &str) -> Option<Signed> {
    let mut words = line.rsplit(' ');
    let sha256 = words.next()?.strip_prefix("SHA256:")?;
    let file = words.nth(1)?;
    let digest = sha256.len() == 64 && sha256.bytes().all(|digit| digit.is_ascii_hexdigit());
    (digest && !file.contains('/')).then(|| Signed { file: file.into(), sha256: sha256.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_file_is_taken_from_the_signed_list() {
        let digest = "ef797a56697a0b6a82c1d704119ccaa85ab3486ccf805472de46c31971346702";
        let line =
            String::from("'http://a.example/pool/b%2b1.deb' b_1%3a1.35+b1_ppc64el.deb 965108 ");
        let signed = parse_uri(&format!("{line}SHA256:{digest}")).unwrap();
        assert_eq!(
            signed,
            Signed { file: "b_1%3a1.35+b1_ppc64el.deb".into(), sha256: digest.into() }
        );
        assert_eq!(parse_uri(&format!("{line}MD5Sum:{digest}")), None);
        assert_eq!(parse_uri(&format!("{line}SHA256:1234")), None);
        assert_eq!(parse_uri(&line), None);
        assert_eq!(parse_uri(&format!("'u' ../../x.deb 1 SHA256:{digest}")), None);
    }

    #[test]
    fn a_file_tells_its_package() {
        let package = |file: &str| Signed { file: file.into(), sha256: String::new() }.package();
        assert_eq!(package("b_1%3a1.35+b1_ppc64el.deb").unwrap(), "b:ppc64el=1:1.35+b1");
        assert_eq!(package("b_1.35_ppc64el.udeb"), None);
        assert_eq!(package("b_1_2_all.deb"), None);
    }

    #[test]
    fn versions_come_newest_first() {
        let table = " rustc-web | 1.96.0+dfsg1-1~deb12u2 | http://a.example bookworm/main\n \
                     rustc-web | 1.85.0+dfsg3-1~deb12u3 | http://a.example bookworm/main\n";
        assert_eq!(second_column(table), ["1.96.0+dfsg1-1~deb12u2", "1.85.0+dfsg3-1~deb12u3"]);
        assert_eq!(second_column("N: Unable to locate package\n"), Vec::<String>::new());
    }

    #[test]
    fn another_release_of_debian_is_asked_for_bookworm() {
        let trixie = "PRETTY_NAME=\"Debian 13\"\nVERSION_CODENAME=trixie\nID=debian\n";
        let codename = debian_codename(trixie);
        assert_eq!(codename, Some("trixie"));
        let sources = "Types: deb\nURIs: http://a.example/trixie\nSuites: trixie trixie-updates\n";
        let changed =
            "Types: deb\nURIs: http://a.example/trixie\nSuites: bookworm bookworm-updates\n";
        assert_eq!(with_release(sources, codename, Release::Bookworm), changed);
        let line = "deb http://a.example/debian trixie main\n";
        assert_eq!(
            with_release(line, codename, Release::Bookworm),
            "deb http://a.example/debian bookworm main\n"
        );
        let backports = with_release(sources, codename, Release::Backports);
        assert!(backports.ends_with("Suites: bookworm-backports trixie-updates\n"), "{backports}");
        let other = "ID=ubuntu\nVERSION_CODENAME=noble\n";
        assert_eq!(debian_codename(other), None);
        assert_eq!(
            with_release("deb http://a.example noble main", None, Release::Trixie),
            "deb http://a.example noble main"
        );
    }

    #[test]
    fn of_the_machines_settings_only_the_way_to_the_archive_is_kept() {
        let machine = "APT::Update::Post-Invoke:: \"rm -f /var/cache/apt/*.bin\";\n\
                       Acquire::http::Proxy \"http://proxy.example:3128\";\n\
                       Acquire::IndexTargets::deb::DEP-11::MetaKey \"big\";\n\
                       Dir::Cache \"/var/cache/apt\";\n";
        let config = configuration(Path::new("/home/u/.cache/x"), machine, "");
        assert!(config.contains("Acquire::http::Proxy \"http://proxy.example:3128\";"));
        for gone in ["Post-Invoke", "DEP-11", "/var/cache"] {
            assert!(!config.contains(gone), "{gone} in {config}");
        }
        assert!(config.contains("Dir::State \"/home/u/.cache/x/state\";"));
    }
}
