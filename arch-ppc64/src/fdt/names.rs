//! Which names nodes and properties can have (Devicetree specification v0.4, §2.2, but for the
//! length).

/// Whether a node below the root can have this name (§2.2.1).
pub(super) fn is_node_name(name: &str) -> bool {
    let is_char = |c: u8| c.is_ascii_alphanumeric() || b",._+-".contains(&c);
    let (base, unit) = match name.split_once('@') {
        Some((base, unit)) => (base, Some(unit)),
        None => (name, None),
    };
    base.starts_with(|c: char| c.is_ascii_alphabetic())
        && base.bytes().all(is_char)
        && unit.is_none_or(|unit| !unit.is_empty() && unit.bytes().all(is_char))
}

/// Whether a property can have this name (§2.2.4.1).
pub(super) fn is_property_name(name: &str) -> bool {
    let is_char = |c: u8| c.is_ascii_alphanumeric() || b",._+?#-".contains(&c);
    !name.is_empty() && name.bytes().all(is_char)
}
