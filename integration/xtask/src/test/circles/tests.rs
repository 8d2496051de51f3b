//! Small crates, each file a line of text.

use std::path::Path;

use super::*;

/// The circles of a crate, as `a → b → a` without folders and endings.
fn circles(files: &[(&str, &str)]) -> Vec<String> {
    let read = |path: &Path| {
        let file = files.iter().find(|(name, _)| Path::new("src").join(name) == path);
        file.map(|(_, text)| (*text).to_owned())
    };
    let modules = modules::read(Path::new("src/lib.rs"), &read).unwrap();
    let imports = imports::of(&modules);
    let circles = circle::all(&imports);
    let told = circles.iter().map(|circle| circle::told(circle, &imports));
    let short = |text: String| text.lines().next().unwrap().replace("src/", "").replace(".rs", "");
    told.map(short).collect()
}

const TWO: (&str, &str) = ("lib.rs", "mod a; mod b;");

#[test]
fn two_files_that_import_each_other_are_a_circle() {
    let files = [
        TWO,
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use super::a::A; pub struct B;"),
    ];
    assert_eq!(circles(&files), ["a → b → a"]);
    let files = [TWO, ("a.rs", "use crate::b::B; pub struct A;"), ("b.rs", "pub struct B;")];
    assert!(circles(&files).is_empty());
}

#[test]
fn the_way_round_is_told_with_what_is_named() {
    let read = |path: &Path| {
        let text = match path.to_str()? {
            "lib.rs" => "mod a; mod b;",
            "a.rs" => "use crate::b::B; pub fn a() {}",
            "b.rs" => "pub struct B; fn b() { super::a::a() }",
            _ => return None,
        };
        Some(text.to_owned())
    };
    let imports = imports::of(&modules::read(Path::new("lib.rs"), &read).unwrap());
    let circles = circle::all(&imports);
    assert_eq!(
        circle::told(&circles[0], &imports),
        "a.rs → b.rs → a.rs\n    a.rs names crate::b::B\n    b.rs names super::a::a"
    );
}

#[test]
fn paths_in_code_types_and_macros_import_too() {
    for user in [
        "pub struct A; fn f() -> crate::b::B { todo() }",
        "pub struct A; fn f() { crate::b::f(); }",
        "pub struct A; fn f() { use crate::b::B; }",
        "pub struct A; impl crate::b::T for A {}",
        "pub struct A; fn f() { let _ = vec![Some(crate::b::f())]; }",
        "pub struct A; macro_rules! m { () => { $crate::b::f() } }",
        "pub struct A; use crate::b; fn f() { b::f(); }",
        "pub struct A; use crate::b::{self as other}; fn f() { other::f(); }",
        "pub struct A; use crate::b::*;",
    ] {
        let files = [
            TWO,
            ("a.rs", user),
            ("b.rs", "pub struct B; pub trait T {} pub fn f() { let _ = crate::a::A; }"),
        ];
        assert_eq!(circles(&files), ["a → b → a"], "{user}");
    }
}

#[test]
fn a_module_that_is_only_brought_in_is_not_imported() {
    let files = [TWO, ("a.rs", "use crate::b; pub struct A;"), ("b.rs", "use crate::a::A;")];
    assert!(circles(&files).is_empty());
}

#[test]
fn parents_and_children_may_import_each_other() {
    let files = [
        ("lib.rs", "mod a; pub struct Root;"),
        ("a/mod.rs", "mod b; pub use b::B; pub struct A;"),
        ("a/b.rs", "mod c; use super::A; pub struct B;"),
        ("a/b/c.rs", "use crate::{Root, a::{A, B}};"),
    ];
    assert!(circles(&files).is_empty());
}

#[test]
fn names_count_for_the_file_that_defines_them() {
    // `b` imports what is a child of `a`, which imports nothing of `b`.
    let files = [
        ("lib.rs", "mod a; mod b; pub use a::Deep;"),
        ("a/mod.rs", "mod deep; mod user; pub use deep::*;"),
        ("a/deep.rs", "pub struct Deep;"),
        ("a/user.rs", "use crate::b::B;"),
        ("b.rs", "use crate::{a::Deep as D, Deep}; pub struct B;"),
    ];
    assert!(circles(&files).is_empty());
    let mut files = files;
    files[3].1 = "use crate::b::B; pub struct Deep;";
    files[1].1 = "mod deep; mod user; pub use user::*;";
    assert_eq!(circles(&files), ["a/user → b → a/user"]);
}

#[test]
fn what_a_macro_makes_counts_for_the_module() {
    let files =
        [TWO, ("a.rs", "make!(); use crate::b::B;"), ("b.rs", "pub struct B; use crate::a::made;")];
    assert_eq!(circles(&files), ["a → b → a"]);
}

#[test]
fn macros_for_all_are_of_the_file_that_has_them() {
    let files = [
        TWO,
        ("a.rs", "#[macro_export] macro_rules! m { () => {} } use crate::b::B;"),
        ("b.rs", "pub struct B; crate::m!();"),
    ];
    assert_eq!(circles(&files), ["a → b → a"]);
}

#[test]
fn what_is_for_tests_is_left_out() {
    for tests in [
        "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }",
        "pub struct B; #[cfg(test)] mod tests;",
        "pub struct B; #[cfg(all(unix, test))] use crate::a::A;",
        "pub struct B; impl B { #[cfg(test)] fn f() { crate::a::f() } }",
    ] {
        let files =
            [TWO, ("a.rs", "use crate::b::B; pub struct A; pub fn f() {}"), ("b.rs", tests)];
        assert!(circles(&files).is_empty(), "{tests}");
    }
    let other = "pub struct B; #[cfg(any(test, feature = \"f\"))] use crate::a::A;";
    let files = [TWO, ("a.rs", "use crate::b::B; pub struct A;"), ("b.rs", other)];
    assert_eq!(circles(&files), ["a → b → a"]);
}

#[test]
fn circles_come_from_short_to_long_and_once() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d; mod e;"),
        ("a.rs", "use crate::b::X as B; pub struct X;"),
        ("b.rs", "use crate::c::X as C; pub struct X;"),
        ("c.rs", "use crate::a::X as A; pub struct X;"),
        ("d.rs", "use crate::{a::X as A, e::X as E}; pub struct X;"),
        ("e.rs", "use crate::d::X as D; pub struct X;"),
    ];
    assert_eq!(circles(&files), ["d → e → d", "a → b → c → a"]);
}

#[test]
fn names_that_lead_back_to_themselves_end() {
    let files = [
        TWO,
        ("a.rs", "pub use crate::b::X; pub use crate::b::*; fn f() { X::new(); Y::new(); }"),
        (
            "b.rs",
            "pub use crate::a::X; pub use crate::a::*; pub mod x { pub fn x() {} } pub use self::x::x;",
        ),
    ];
    assert_eq!(circles(&files), ["a → b → a"]);
}

#[test]
fn a_file_can_be_given_by_its_path() {
    let files = [
        ("lib.rs", "#[path = \"other/name.rs\"] mod a; mod b;"),
        ("other/name.rs", "use crate::b::B; mod child; pub struct A;"),
        ("other/child.rs", ""),
        ("b.rs", "use crate::a::A; pub struct B;"),
    ];
    assert_eq!(circles(&files), ["b → other/name → b"]);
}

#[test]
fn what_is_not_there_or_not_rust_is_told() {
    let failure = |text: &'static str| {
        let read = move |path: &Path| (path == Path::new("lib.rs")).then(|| text.to_owned());
        modules::read(Path::new("lib.rs"), &read).unwrap_err().to_string()
    };
    assert_eq!(failure("mod a;"), "there is no a/mod.rs");
    assert!(failure("struct;").starts_with("cannot parse lib.rs: "));
}

#[test]
fn arrows_go_one_way() {
    let on = |name: &str| vec![name.to_owned(), "serde".to_owned()];
    let (up, down) = (on("vof-device"), on("arch-ppc64"));
    let members: [(&str, &[String]); 3] =
        [("arch-ppc64", &up), ("vof-device", &[]), ("pseries-vmm", &up)];
    let told = against_the_arrows(&members).unwrap();
    assert!(told.starts_with("arch-ppc64 depends on vof-device; "), "{told}");
    let members: [(&str, &[String]); 3] =
        [("arch-ppc64", &[]), ("vof-device", &down), ("pseries-vmm", &up)];
    assert_eq!(against_the_arrows(&members), None);
}
