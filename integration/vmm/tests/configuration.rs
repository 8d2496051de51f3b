//! The configuration files: their schema, and the examples; and the document of the API.

use std::path::{Path, PathBuf};

use arch_ppc64::Machine;
use pseries_vmm::api;
use pseries_vmm::config::{self, VmConfig};

const SCHEMA: &str = "../../docs/machine.schema.json";

fn in_crate(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn schema_in_docs_is_current() {
    let current = config::schema() + "\n";
    let written = std::fs::read_to_string(in_crate(SCHEMA)).unwrap_or_default();
    assert!(
        written == current,
        "docs/machine.schema.json is not current; write it anew with\n  \
         cargo run -p pseries-vmm -- --config-schema > docs/machine.schema.json"
    );
}

#[test]
fn api_document_in_docs_is_current() {
    let current = api::document() + "\n";
    let written = std::fs::read_to_string(in_crate("../../docs/api.openapi.json"));
    assert!(
        written.unwrap_or_default() == current,
        "docs/api.openapi.json is not current; write it anew with\n  \
         cargo run -p pseries-vmm -- --api-document > docs/api.openapi.json"
    );
}

#[test]
fn examples_are_machines() {
    let mut examples = 0;
    for entry in std::fs::read_dir(in_crate("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        let config = VmConfig::from_file(&path).unwrap();
        config.check_layout().unwrap();
        config.check_devices().unwrap();
        Machine::new(&config).unwrap();
        let payload = &config.payload;
        assert!(payload.kernel.is_some() || payload.boot.is_some(), "{}", path.display());
        examples += 1;
    }
    assert!(examples >= 6);
}
