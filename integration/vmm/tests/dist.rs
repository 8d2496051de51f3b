//! What is in `dist/`: the unit is one that systemd understands, and asks for little; the container's
//! files name what there is.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The most that systemd-analyze(1) may find a service exposed, in tenths: "OK" is below 50, and a service
/// without any settings has 96.
const EXPOSURE: u32 = 25;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("dist").join(name)).unwrap()
}

/// The unit of one machine, in a folder, with programs that are there.
fn instance(test: &str) -> PathBuf {
    let unit = file("pseries-vmm@.service").replace("%i", "web1");
    let program = env!("CARGO_BIN_EXE_pseries-vmm");
    let unit = unit.replace("/usr/bin/pseries-vmm", program);
    let unit = unit.replace("/usr/bin/pseries-remote", program);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("pseries-vmm@web1.service");
    fs::write(&path, unit).unwrap();
    path
}

/// Runs systemd-analyze(1), where it is there.
fn analyze(arguments: &[&str], unit: &Path) {
    match Command::new("systemd-analyze").args(arguments).arg(unit).output() {
        Ok(output) => {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(output.status.success(), "{arguments:?}: {said}");
            assert!(!said.contains("Unknown key"), "{arguments:?}: {said}");
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("systemd-analyze is not there: {error}");
        }
        Err(error) => panic!("systemd-analyze: {error}"),
    }
}

#[test]
fn the_unit_is_understood() {
    analyze(&["verify"], &instance("dist-verify"));
}

#[test]
fn the_unit_is_confined() {
    let threshold = format!("--threshold={EXPOSURE}");
    analyze(&["security", "--offline=true", &threshold], &instance("dist-security"));
}

/// systemd.syntax(7), as far as it is used: also where there is no systemd.
#[test]
fn the_unit_has_its_keys_once() {
    let unit = file("pseries-vmm@.service");
    let (mut section, mut seen) = ("", Vec::new());
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
        assert!(["Unit", "Service", "Install"].contains(&section), "{line}");
        assert!(key.chars().all(|c| c.is_ascii_alphanumeric()), "{line}");
        assert!(key == "DeviceAllow" || !seen.contains(&(section, key)), "{line} is there twice");
        seen.push((section, key));
        // What is emptied is so on purpose.
        assert!(
            !value.is_empty() || ["CapabilityBoundingSet", "AmbientCapabilities"].contains(&key)
        );
    }
    for key in ["ExecStart", "ExecStop", "NoNewPrivileges", "ProtectSystem", "SystemCallFilter"] {
        assert!(seen.contains(&("Service", key)), "{key}");
    }
}

/// The arguments are those of the program: it gets as far as the configuration, which is not there.
#[test]
fn commands_have_arguments_that_there_are() {
    let unit = file("pseries-vmm@.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let of_service = start.replace("%i", "no-such-machine");
    let container = file("Containerfile");
    let list = |key: &str| -> Vec<String> {
        let line = container.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        serde_json::from_str(line).unwrap()
    };
    let of_container = [list("ENTRYPOINT "), list("CMD ")].concat();
    let of_service: Vec<String> = of_service.split(' ').map(str::to_owned).collect();
    for command in [of_service, of_container] {
        let (program, arguments) = command.split_first().unwrap();
        assert_eq!(program, "/usr/bin/pseries-vmm");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let vmm = Command::new(env!("CARGO_BIN_EXE_pseries-vmm"))
            .args(arguments.iter().map(|word| word.replace("path=/run/", "path=./no-such-folder/")))
            .current_dir(folder)
            .output()
            .unwrap();
        let said = String::from_utf8(vmm.stderr).unwrap();
        assert_eq!(vmm.status.code(), Some(2), "{said}");
        assert!(said.contains("configuration file") && said.contains(".json"), "{said}");
    }
}

/// Files that are copied into the image are those that are built.
#[test]
fn the_image_has_what_is_built() {
    let container = file("Containerfile");
    for package in ["pseries-vmm", "pseries-remote"] {
        assert!(container.contains(&format!("-p {package}")), "{package} is not built");
        assert!(container.contains(&format!("/src/target/release/{package} ")), "{package}");
    }
    // The image of Rust is the oldest that builds it.
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let image = format!("rust:{}-", version.trim_matches('"'));
    assert!(container.contains(&image), "{image}");
    let compose = file("compose.yaml");
    assert!(compose.contains("dockerfile: integration/vmm/dist/Containerfile"));
}
