//! The numbers of calls: what a guest passes to say which one it makes.

/// Tokens of the calls that this platform knows by itself. They are for ever: guests keep them
/// over save and restore, and back ends tell them to their kernel. None is 0, KVM's sign for
/// "none".
#[rustfmt::skip]
const WELL_KNOWN: &[(&str, u32)] = &[
    ("query-cpu-stopped-state",  0x01),
    ("start-cpu",                0x02),
    ("stop-self",                0x03),
    ("get-time-of-day",          0x04),
    ("set-time-of-day",          0x05),
    ("display-character",        0x06),
    ("power-off",                0x07),
    ("system-reboot",            0x08),
    ("ibm,os-term",              0x09),
    ("event-scan",               0x0a),
    ("check-exception",          0x0b),
    ("ibm,get-system-parameter", 0x0c),
    ("ibm,set-system-parameter", 0x0d),
    ("ibm,set-xive",             0x0e),
    ("ibm,get-xive",             0x0f),
    ("ibm,int-on",               0x10),
    ("ibm,int-off",              0x11),
    ("read-pci-config",          0x12),
    ("write-pci-config",         0x13),
    ("ibm,read-pci-config",      0x14),
    ("ibm,write-pci-config",     0x15),
    ("ibm,change-msi",           0x16),
    ("ibm,query-interrupt-source-number", 0x17),
    ("nvram-fetch",              0x18),
    ("nvram-store",              0x19),
    ("get-sensor-state",         0x1a),
    ("set-indicator",            0x1b),
    ("ibm,configure-connector",  0x1c),
    ("get-power-level",          0x1d),
    ("set-power-level",          0x1e),
];

/// The first token of calls that are not well known: they are numbered as they come.
pub(super) const FIRST_OTHER: u32 = 0x1000;

/// The token of a well-known call, the same in every machine and every release; `None` for others,
/// whose tokens are those that [`Rtas::calls`](super::Rtas::calls) tells.
pub fn token_of(name: &str) -> Option<u32> {
    WELL_KNOWN.iter().find(|call| call.0 == name).map(|call| call.1)
}

/// The well-known calls by name and token.
pub fn calls() -> impl Iterator<Item = (&'static str, u32)> {
    WELL_KNOWN.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_distinct_and_not_zero() {
        let mut tokens: Vec<u32> = WELL_KNOWN.iter().map(|&(_, token)| token).collect();
        tokens.sort_unstable();
        assert!(tokens.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(tokens.iter().all(|token| (1..FIRST_OTHER).contains(token)));
        assert!(WELL_KNOWN.iter().all(|&(name, token)| token_of(name) == Some(token)));
        assert_eq!(token_of("ibm,suspend-me"), None);
    }
}
