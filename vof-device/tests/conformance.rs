//! The documents that name tests are true: `docs/conformance.md` has a row for everything there
//! is, and what it names exists.

mod pseries;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pseries::machine;
use vof_device::test_utils::{methods, phrases};

const CONFORMANCE: &str = "docs/conformance.md";
const THREATS: &str = "docs/threat-model.md";
const NONE: u32 = u32::MAX;

/// A folder's package, and the features that its tests may need.
const PACKAGES: [(&str, &str, &[&str]); 6] = [
    ("arch-ppc64/", "arch-ppc64", &[]),
    ("firmware/", "vof-firmware", &[]),
    ("integration/devices/", "pseries-devices", &["test-utils", "vof"]),
    ("integration/interp/", "interp", &[]),
    ("integration/vmm/", "pseries-vmm", &[]),
    ("vof-device/", "vof-device", &["netboot", "serde", "test-utils"]),
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    let read = std::fs::read_to_string(workspace().join(path));
    read.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of the rows below a heading of a document, without the tables' heads.
fn rows(document: &str, heading: &str) -> Vec<Vec<String>> {
    let text = read(document);
    let sections = text.split("\n## ").filter(|section| section.starts_with(heading));
    let section: String = sections.collect();
    assert!(!section.is_empty(), "{document} has no section {heading}");
    let mut rows = Vec::new();
    let lines = section.lines().filter(|line| line.starts_with('|'));
    for line in lines.skip(2) {
        let line = line.trim_matches('|');
        rows.push(line.split(" | ").map(|cell| cell.trim().to_owned()).collect());
    }
    rows
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Whether a source file has a test function of that name.
fn has_test(source: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(at, line)| {
        line.starts_with(&function) && lines[at.saturating_sub(5)..at].contains(&"#[test]")
    })
}

/// The tests of a cell, `file: function, function` a line: file and function.
fn tests(cell: &str) -> Vec<(&str, &str)> {
    let mut tests = Vec::new();
    for line in cell.split("<br>") {
        let names = quoted(line);
        if let Some((&file, functions)) = names.split_first() {
            tests.extend(functions.iter().map(|&function| (file, function)));
        }
    }
    tests
}

/// Whether a command runs a test.
fn runs(command: &str, file: &str, function: &str) -> bool {
    let (folder, package, known) =
        PACKAGES.into_iter().find(|(folder, ..)| file.starts_with(folder)).unwrap();
    let inside = file.strip_prefix(folder).and_then(|file| file.strip_prefix("tests/"));
    let target = match inside {
        // A test is a file, or a folder of them.
        Some(file) => format!("--test {} ", file.split(['/', '.']).next().unwrap()),
        None => "--lib ".to_owned(),
    };
    let Some(rest) = command.strip_prefix(&format!("cargo test -p {package} ")) else {
        return false;
    };
    let options = rest.strip_prefix("--features ").and_then(|rest| rest.split_once(' '));
    let (features, rest) = options.unwrap_or(("", rest));
    let mut features: Vec<&str> = features.split(',').filter(|word| !word.is_empty()).collect();
    // All tests of the one package have clients.
    let has_clients = features.contains(&"test-utils");
    features.retain(|feature| !known.contains(feature));
    if !features.is_empty() || (package == "vof-device" && inside.is_some() && !has_clients) {
        return false;
    }
    let mut filters = rest.strip_prefix(&target).into_iter().flat_map(|rest| rest.split(' '));
    filters.any(|filter| filter != "--" && function.contains(filter))
}

const SECTIONS: [&str; 11] = [
    "The argument array",
    "Services",
    "Methods",
    "Phrases",
    "Paths",
    "Nodes",
    "Disk labels",
    "Platform and entry",
    "The processor in software",
    "PCI functions and virtio",
    "Absent",
];

#[test]
fn every_service_is_found_by_test() {
    let machine = machine();
    let client = machine.client();
    let services: Vec<&str> = machine.vof().calls().into_iter().map(|(name, _)| name).collect();
    for service in services {
        assert_eq!(client.one("test", &[service.into()]), 0, "{service}");
    }
}

#[test]
fn everything_there_is_has_one_row() {
    let machine = machine();
    let first_cells = |heading: &str| -> Vec<String> {
        rows(CONFORMANCE, heading).into_iter().map(|row| row[0].clone()).collect()
    };
    let expect = |heading: &str, mut expected: Vec<String>| {
        let mut found = first_cells(heading);
        let (known, named) = (expected.len(), found.len());
        found.sort();
        expected.sort();
        let (found, expected): (BTreeSet<_>, BTreeSet<_>) =
            (found.into_iter().collect(), expected.into_iter().collect());
        let missing: Vec<_> = expected.difference(&found).collect();
        let surplus: Vec<_> = found.difference(&expected).collect();
        assert!(missing.is_empty(), "{heading} has no row {missing:?}");
        assert!(surplus.is_empty(), "{heading} has rows of what is not there: {surplus:?}");
        assert_eq!(known, named, "{heading} has two rows of something");
    };
    let services = machine.vof().calls().iter().map(|(name, _)| format!("`{name}`")).collect();
    expect("Services", services);
    expect("Methods", methods().map(|(package, name)| format!("`{package}` `{name}`")).collect());
    expect("Phrases", phrases().map(|phrase| format!("`{phrase}`")).collect());
}

#[test]
fn files_tests_and_commands_exist() {
    let mut count = 0;
    for heading in SECTIONS {
        for row in rows(CONFORMANCE, heading) {
            let [what, clause, promise, source, test, command] = row.as_slice() else {
                panic!("{heading}: {row:?} has not six cells");
            };
            for cell in [clause, promise, source, test, command] {
                assert!(!cell.is_empty(), "{heading}, {what}: a cell is empty");
            }
            for file in quoted(source) {
                assert!(workspace().join(file).is_file(), "{what}: there is no {file}");
            }
            let commands = quoted(command);
            let tests = tests(test);
            assert!(!tests.is_empty(), "{what} has no test");
            for (file, function) in &tests {
                assert!(has_test(&read(file), function), "{what}: no test {function} in {file}");
                assert!(
                    commands.iter().any(|command| runs(command, file, function)),
                    "{what}: no command runs {function} of {file}"
                );
            }
            for command in commands {
                assert!(
                    tests.iter().any(|(file, function)| runs(command, file, function)),
                    "{what}: {command} runs no test of the row"
                );
            }
            count += 1;
        }
    }
    assert!(count > 80, "the tables are not read");
}

/// As service, method, phrase, RTAS call and device.
#[test]
fn what_the_document_calls_absent_is_absent() {
    let machine = machine();
    let client = machine.client();
    let rtas = client.phandle("/rtas");
    let mut count = 0;
    for row in rows(CONFORMANCE, "Absent") {
        for name in quoted(&row[0]) {
            assert_eq!(client.one("test", &[name.into()]), NONE, "{name} is a service");
            assert!(methods().all(|(_, method)| method != name), "{name} is a method");
            assert!(phrases().all(|phrase| phrase != name), "{name} is a phrase");
            assert_eq!(client.finddevice(name), None, "{name} is a device");
            assert_eq!(client.getprop(rtas, name), None, "{name} is an RTAS call");
            count += 1;
        }
    }
    assert!(count > 10, "the table is not read");
}

/// The sources of the workspace, without tests.
fn sources(folder: &Path, found: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Whether a word is a constant's name.
fn is_constant(word: &str) -> bool {
    word.len() > 3
        && word.starts_with(|first: char| first.is_ascii_uppercase())
        && word
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

#[test]
fn the_threat_model_names_what_exists() {
    let document = read(THREATS);
    let mut code = String::new();
    for (folder, ..) in PACKAGES {
        sources(&workspace().join(folder).join("src"), &mut code);
    }
    for folder in ["integration/interp/src", "integration/devices/src"] {
        sources(&workspace().join(folder), &mut code);
    }
    // The fuzz targets are a package of their own, which need not be there.
    let fuzzers = std::fs::read_to_string(workspace().join("integration/fuzz/Cargo.toml"));
    let (mut constants, mut shown, mut limits) = (0, 0, BTreeSet::new());
    for line in document.lines().filter(|line| line.starts_with('|')) {
        for word in quoted(line).into_iter().filter(|word| is_constant(word)) {
            let is_there = code.contains(&format!("const {word}: "));
            assert!(is_there, "there is no constant {word}");
            limits.insert(word.to_owned());
            constants += 1;
        }
        let last = line.trim_matches('|').rsplit(" | ").next().unwrap_or_default();
        for part in last.trim().split("<br>") {
            let names = quoted(part);
            if let Some(targets) = part.strip_prefix("fuzz ") {
                for target in quoted(targets) {
                    let row = format!("name = \"{target}\"");
                    let is_there = fuzzers.as_ref().map_or(true, |text| text.contains(&row));
                    assert!(is_there, "there is no fuzz target {target}");
                }
            } else if names.first().is_some_and(|file| file.ends_with(".rs")) {
                for (file, function) in tests(part) {
                    assert!(has_test(&read(file), function), "no test {function} in {file}");
                    shown += 1;
                }
            }
        }
    }
    assert!(constants > 30 && shown > 100, "the tables are not read");
    let source = read("vof-device/src/limits.rs");
    for line in source.lines() {
        let name = line.strip_prefix("pub const ").and_then(|rest| rest.split(':').next());
        if let Some(name) = name {
            assert!(limits.contains(name), "{THREATS} does not tell of {name}");
        }
    }
}

/// What checks the documents would notice.
#[test]
fn missing_tests_and_wrong_commands_are_noticed() {
    let source = "    /// Doc.\n    #[test]\n    fn a_test() {}\n\nfn helper() {}\n";
    assert!(has_test(source, "a_test"));
    for other in ["a_tes", "test", "helper2", "b_test"] {
        assert!(!has_test(source, other), "{other}");
    }
    let command = "cargo test -p vof-device --features test-utils --test control chain_";
    assert!(runs(command, "vof-device/tests/control.rs", "chain_frees"));
    assert!(!runs(command, "vof-device/tests/control.rs", "boot_restarts"));
    assert!(!runs(command, "vof-device/tests/methods.rs", "chain_frees"));
    assert!(!runs(command, "vof-device/src/claims/tests.rs", "chain_frees"));
    for (features, does) in [("netboot,test-utils", true), ("netboot", false), ("x", false)] {
        let command = format!("cargo test -p vof-device --features {features} --test network load");
        assert_eq!(runs(&command, "vof-device/tests/network.rs", "load_ends"), does, "{features}");
    }
    assert_eq!(quoted("a `b` c `d e`"), ["b", "d e"]);
}
