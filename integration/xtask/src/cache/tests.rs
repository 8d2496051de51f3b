//! A cache, and a repository of packages that is out of step with itself.

use super::*;
use crate::apt::POWER;
use crate::folders::TemporaryFolder;

/// A repository in a folder, and a cache in another.
struct Place {
    folder: TemporaryFolder,
}

impl Place {
    fn new(test: &str) -> Self {
        let folder = TemporaryFolder::make(&std::env::temp_dir(), &format!("xtask-{test}"));
        let place = Self { folder: folder.unwrap() };
        folders::make(&place.repository()).unwrap();
        folders::make(&place.cache().join("packages")).unwrap();
        place
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// Offers packages: names, versions, and whether their files are what the list says.
    fn offer(&self, packages: &[(&str, &str, bool)]) {
        let mut list = String::new();
        for (name, version, is_right) in packages {
            let file = format!("{name}_{version}_{POWER}.deb");
            let content = format!("{name} {version}");
            folders::write(&self.repository().join(&file), content.as_bytes()).unwrap();
            let mut sum = Command::new("sha256sum");
            let sum = output_of(sum.arg(&file).current_dir(self.repository())).unwrap();
            let digest = if *is_right { sum[..64].to_owned() } else { "0".repeat(64) };
            list.push_str(&format!(
                "Package: {name}\nVersion: {version}\nArchitecture: {POWER}\n\
                 Filename: ./{file}\nSize: {}\nSHA256: {digest}\n\n",
                content.len()
            ));
        }
        folders::write(&self.repository().join("Packages"), list.as_bytes()).unwrap();
    }

    /// Fetches with one more source that cannot be had, if told.
    fn fetch(&self, set: &PackageSet, refresh: bool, broken_source: bool) -> Result<String> {
        let open = |root: &Path, _| {
            let source = |path: &Path| format!("deb [trusted=yes] copy:{} ./\n", path.display());
            let mut sources = source(&self.repository());
            if broken_source {
                sources += &source(&self.folder.path().join("nothing"));
            }
            folders::make(&root.join("sources"))?;
            folders::write(&root.join("sources/test.list"), sources.as_bytes())?;
            Apt::of_sources(root)
        };
        let cache = Cache { folder: self.cache(), set, open: &open, pauses: &[] };
        let fetched = cache.fetch(refresh)?;
        for (line, file) in manifest::parse(&fetched.manifest).iter().zip(fetched.all()) {
            assert!(file.ends_with(&line.file) && file.is_file(), "{line:?}");
        }
        let files = manifest::parse(&fetched.manifest).into_iter().map(|line| line.file);
        Ok(files
            .map(|file| file.replace(&format!("_{POWER}.deb"), ""))
            .collect::<Vec<_>>()
            .join(" "))
    }

    fn damage(&self, file: &str) {
        let file = self.cache().join("packages").join(format!("{file}_{POWER}.deb"));
        assert!(file.is_file());
        folders::write(&file, b"damaged").unwrap();
    }
}

fn set(names: &[&'static str], is_one_build: bool) -> PackageSet {
    let part = |&name: &&'static str| Part::any(name, POWER);
    PackageSet {
        name: "test",
        releases: &[Release::Bookworm],
        what: "a test",
        parts: names.iter().map(part).collect(),
        is_one_build,
    }
}

/// A package whose file is not what its list says is passed over for an older one.
#[test]
fn another_version_is_fetched_where_the_newest_is_out_of_step() {
    let place = Place::new("cache-out-of-step");
    place.offer(&[("a", "2", false), ("a", "1", true), ("b", "3", true)]);
    assert_eq!(place.fetch(&set(&["a", "b"], false), false, false).unwrap(), "a_1 b_3");
    // Those of one build are of one version.
    let place = Place::new("cache-one-build");
    place.offer(&[("a", "2", true), ("a", "1", true), ("b", "2", false), ("b", "1", true)]);
    assert_eq!(place.fetch(&set(&["a", "b"], true), false, false).unwrap(), "a_1 b_1");
}

#[test]
fn a_list_that_cannot_be_had_does_no_harm_where_others_will_do() {
    let place = Place::new("cache-broken-list");
    place.offer(&[("a", "1", true)]);
    assert_eq!(place.fetch(&set(&["a"], false), false, true).unwrap(), "a_1");
    let failure = place.fetch(&set(&["a", "b"], false), false, true).unwrap_err().to_string();
    assert!(failure.contains("Not every package list could be had"), "{failure}");
    assert!(failure.contains("Bring these files"), "{failure}");
}

#[test]
fn what_the_cache_has_is_enough_whatever_the_mirror_does() {
    let place = Place::new("cache-kept");
    let two = set(&["a", "b"], false);
    place.offer(&[("a", "1", true), ("b", "1", true)]);
    assert_eq!(place.fetch(&two, false, false).unwrap(), "a_1 b_1");
    // Nobody is asked.
    place.offer(&[("a", "2", false), ("b", "2", true)]);
    assert_eq!(place.fetch(&two, false, false).unwrap(), "a_1 b_1");
    // What is newer and can be had is taken, and the other stays.
    assert_eq!(place.fetch(&two, true, true).unwrap(), "a_1 b_2");
    place.offer(&[]);
    assert_eq!(place.fetch(&two, true, false).unwrap(), "a_1 b_2");
    // An earlier version of this program needed less, or more.
    assert_eq!(place.fetch(&set(&["a"], false), false, false).unwrap(), "a_1");
    assert!(place.fetch(&two, false, false).is_ok_and(|kept| kept == "a_1 b_2"));
}

#[test]
fn what_is_missing_or_damaged_is_fetched_alone() {
    let place = Place::new("cache-missing");
    place.offer(&[("a", "1", true)]);
    assert_eq!(place.fetch(&set(&["a"], false), false, false).unwrap(), "a_1");
    // What is there is not on offer any more.
    place.offer(&[("b", "1", true)]);
    let two = set(&["a", "b"], false);
    assert_eq!(place.fetch(&two, false, false).unwrap(), "a_1 b_1");
    place.damage("b_1");
    assert_eq!(place.fetch(&two, false, false).unwrap(), "a_1 b_1");
    // What came of a set is kept, though not all of it could be had.
    place.damage("a_1");
    place.damage("b_1");
    place.fetch(&two, false, false).unwrap_err();
    place.offer(&[("a", "1", true)]);
    assert_eq!(place.fetch(&two, false, false).unwrap(), "a_1 b_1");
    // Of one build, all are fetched.
    place.damage("a_1");
    place.offer(&[("a", "2", true), ("b", "2", true)]);
    assert_eq!(place.fetch(&set(&["a", "b"], true), false, false).unwrap(), "a_2 b_2");
}

#[test]
fn a_list_that_is_missing_is_named_with_what_is() {
    let failure = without_lists(&Failure::new("no package x"), &Failure::new("update failed"));
    let failure = failure.to_string();
    assert!(failure.starts_with("no package x\n") && failure.contains(": update failed\n"));
}
