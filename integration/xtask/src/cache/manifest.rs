//! Which files are kept, and their digests: what `sha256sum` prints.

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) sha256: String,
    pub(super) file: String,
}

/// The lines of a manifest. What is none is passed over.
pub(super) fn parse(text: &str) -> Vec<Line> {
    let lines = text.lines().filter_map(|line| line.split_once("  "));
    lines.map(|(sha256, file)| Line { sha256: sha256.into(), file: file.into() }).collect()
}

/// The text of a manifest.
pub(super) fn text_of(lines: &[Line]) -> String {
    lines.iter().map(|Line { sha256, file }| format!("{sha256}  {file}\n")).collect()
}

/// Whether a name is what a pattern, with `*` for any text, stands for.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.into_iter().any(|at| matches(rest, &name[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_tell_a_kernel_from_its_debug_symbols() {
        let pattern = "linux-image-6.1.*-powerpc64le_*_ppc64el.deb";
        assert!(matches(pattern, "linux-image-6.1.0-50-powerpc64le_6.1.176-1_ppc64el.deb"));
        assert!(!matches(pattern, "linux-image-6.1.0-50-powerpc64le-dbg_6.1.176-1_ppc64el.deb"));
        assert!(!matches(pattern, "linux-image-6.12.0-1-powerpc64le_6.12.1-1_ppc64el.deb"));
        assert!(matches("*", "") && matches("a*", "a") && !matches("a", "ab"));
    }

    #[test]
    fn a_manifest_names_its_files() {
        let manifest = "00aa  a_1%3a2_all.deb\n11bb  b_1_all.deb\n";
        let lines = parse(manifest);
        assert_eq!(lines[1], Line { sha256: "11bb".into(), file: "b_1_all.deb".into() });
        assert_eq!(text_of(&lines), manifest);
        assert_eq!(parse("<html>no list</html>\n"), []);
    }
}
