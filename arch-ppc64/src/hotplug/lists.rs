//! The properties that list connectors (LoPAPR §13.5.2).

use crate::fdt::{FdtError, NodeBuilder};

/// A connector in a list.
pub(crate) struct Listed {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) power_domain: u32,
}

/// The four properties of a node that lists connectors: each begins with how many there are.
pub(crate) fn list(
    node: &mut NodeBuilder<'_>,
    connectors: impl IntoIterator<Item = Listed>,
) -> Result<(), FdtError> {
    let connectors: Vec<Listed> = connectors.into_iter().collect();
    let count = connectors.len() as u32;
    let cells = |cell: fn(&Listed) -> u32| -> Vec<u32> {
        [count].into_iter().chain(connectors.iter().map(cell)).collect()
    };
    let texts = |text: fn(&Listed) -> &str| -> Vec<u8> {
        let texts = connectors.iter().flat_map(|one| text(one).bytes().chain([0]));
        count.to_be_bytes().into_iter().chain(texts).collect()
    };
    node.cells("ibm,drc-indexes", &cells(|one| one.index))?
        .bytes("ibm,drc-names", &texts(|one| &one.name))?
        .bytes("ibm,drc-types", &texts(|one| one.kind))?
        .cells("ibm,drc-power-domains", &cells(|one| one.power_domain))?;
    Ok(())
}
