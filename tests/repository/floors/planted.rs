//! A circle is found in every way in which one file can depend on another, and reported with files and names.

use super::graph::Graph;
use super::sources::Sources;

fn graph(files: &[(&str, &str)]) -> Graph {
    let sources: Sources = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let graph = Graph::of(&sources);
    assert!(graph.unresolved.is_empty(), "{:#?}", graph.unresolved);
    graph
}

/// Asserts that exactly these dependencies tie the one circle.
fn assert_circle(files: &[(&str, &str)], ties: &[&str]) {
    let graph = graph(files);
    assert_eq!(graph.circles().len(), 1, "{:#?}", graph.edges);
    let report = graph.report();
    let found: Vec<&str> = report.lines().skip(1).map(str::trim).collect();
    assert_eq!(found, ties);
}

// What the other file of each circle says.
const BACK: (&str, &str) = ("b.rs", "use crate::a::A;\npub struct B(A);\npub fn b() {}");

#[test]
fn through_a_use() {
    assert_circle(
        &[("lib.rs", "mod a;\nmod b;"), ("a.rs", "use super::b::{self, B as Other};\npub struct A;"), BACK],
        &["a.rs -> b.rs: B", "b.rs -> a.rs: A"],
    );
}

#[test]
fn through_a_path_in_a_body() {
    let a = "use crate::b;\npub struct A;\nfn f() { if true { b::b() } }";
    assert_circle(&[("lib.rs", "mod a;\nmod b;"), ("a.rs", a), BACK], &["a.rs -> b.rs: b", "b.rs -> a.rs: A"]);
}

#[test]
fn through_a_re_export() {
    let a = "use crate::front::Renamed;\npub struct A(Renamed);";
    let front = ("front.rs", "pub use crate::b::B as Renamed;");
    assert_circle(
        &[("lib.rs", "mod a;\nmod b;\nmod front;"), ("a.rs", a), BACK, front],
        &["a.rs -> b.rs: B", "b.rs -> a.rs: A"],
    );
}

#[test]
fn through_a_macro() {
    let called = "pub struct A;\nfn f() { let x = vec![(A, crate::b::b())]; println!(\"{}\", x.b); }";
    assert_circle(&[("lib.rs", "mod a;\nmod b;"), ("a.rs", called), BACK], &["a.rs -> b.rs: b", "b.rs -> a.rs: A"]);
    let defined = "pub struct A;\nmacro_rules! m { ($x:expr) => { { use $crate::b::{b as c, B}; $x.B } } }";
    assert_circle(&[("lib.rs", "mod a;\nmod b;"), ("a.rs", defined), BACK], &["a.rs -> b.rs: B, b", "b.rs -> a.rs: A"]);
    let shared = ("b.rs", "use crate::a::A;\nmacro_rules! shared { () => {} }\nstruct B(A);");
    let user = ("a.rs", "pub struct A;\nfn f() { shared!() }");
    let order = "#[macro_use]\nmod b;\nmod a;";
    assert_circle(&[("lib.rs", order), user, shared], &["a.rs -> b.rs: shared", "b.rs -> a.rs: A"]);
}

#[test]
fn through_a_glob() {
    let a = "use super::b::*;\npub struct A;\nfn f() { b() }";
    assert_circle(&[("lib.rs", "mod a;\nmod b;"), ("a.rs", a), BACK], &["a.rs -> b.rs: b", "b.rs -> a.rs: A"]);
}

#[test]
fn through_an_attribute() {
    let a = "#[derive(Deserialize)]\npub struct A { #[serde(default = \"crate::b::b\")] x: u8 }";
    assert_circle(&[("lib.rs", "mod a;\nmod b;"), ("a.rs", a), BACK], &["a.rs -> b.rs: b", "b.rs -> a.rs: A"]);
}

#[test]
fn through_types_patterns_and_impls() {
    for code in [
        "fn f(x: Option<Vec<crate::b::B>>) {}",
        "fn f() -> impl Into<crate::b::B> { todo() }",
        "fn f(x: X) { match x { crate::b::B { .. } => {} } }",
        "impl crate::b::B { fn f(self) {} }",
        "trait T where Self: Into<crate::b::B> {}",
        "type T = <crate::b::B as Iterator>::Item;",
        "fn f() { x::<crate::b::B>(); }",
        "fn f() { use crate::b; fn g(x: b::B) {} }",
        "mod inner { use super::super::b; fn f(x: b::B) {} }",
        "#[cfg(feature = \"x\")] fn f(x: crate::b::B) {}",
        "#[serde(bound = \"T: Into<super::b::B> + Clone\")] struct S<T>(T);",
    ] {
        let a = format!("pub struct A;\n{code}");
        assert_circle(&[("lib.rs", "mod a;\nmod b;"), ("a.rs", &a), BACK], &["a.rs -> b.rs: B", "b.rs -> a.rs: A"]);
    }
}

#[test]
fn through_the_file_of_a_module_that_uses_its_children() {
    assert_circle(
        &[
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod b;\npub use b::B;\npub struct A;"),
            ("a/b.rs", "pub struct B(super::A);"),
        ],
        &["a/b.rs -> a/mod.rs: A", "a/mod.rs -> a/b.rs: B"],
    );
}

#[test]
fn through_several_files_and_in_a_program() {
    assert_circle(
        &[
            ("bin/tool/main.rs", "mod a;\nmod b;\nmod c;\nfn main() {}"),
            ("bin/tool/a.rs", "use crate::b::B;\npub struct A(B);"),
            ("bin/tool/b.rs", "use crate::c::C;\npub struct B(C);"),
            ("bin/tool/c.rs", "pub enum C { X }\nfn f() { crate::a::A::new() }"),
        ],
        &[
            "bin/tool/a.rs -> bin/tool/b.rs: B",
            "bin/tool/b.rs -> bin/tool/c.rs: C",
            "bin/tool/c.rs -> bin/tool/a.rs: A",
        ],
    );
}

#[test]
fn a_tree_without_a_circle_passes() {
    let graph = graph(&[
        ("lib.rs", "//! [`plan`]\npub mod a;\npub mod plan;\npub mod tests;\nmod x;\nmod y;"),
        // The module `plan` and the function `plan` share a name, in two places.
        ("a/mod.rs", "mod plan;\nmod user;\npub use plan::plan;\npub use self::user::User;"),
        (
            "a/plan.rs",
            "use std::fmt;\nuse crate::plan::{Plan, plan as make};\npub fn plan() -> Plan { make(); fmt::x() }",
        ),
        // A module alone, a method and a foreign crate are no dependency; nor is what only tests have.
        ("a/user.rs", "use super::plan;\npub struct User;\nfn f(x: X) { plan::plan(); x.tests(); serde::tests() }"),
        ("plan.rs", "pub struct Plan;\npub fn plan() {}\n#[cfg(test)]\nmod tests { use crate::a::User; }"),
        // Two globs that lead to each other.
        ("x.rs", "use super::y::*;\nfn f() { z(); }"),
        ("y.rs", "use super::x::*;\nfn f() { z(); }"),
        ("tests.rs", "use crate::a;\npub(in crate::tests) fn f() { a::User; a::plan() }"),
    ]);
    assert_eq!(graph.report(), "");
    let ties: Vec<String> = graph.ties().map(|(user, used, _)| format!("{user} -> {used}")).collect();
    assert_eq!(
        ties,
        [
            "a/mod.rs -> a/plan.rs",
            "a/mod.rs -> a/user.rs",
            "a/plan.rs -> plan.rs",
            "a/user.rs -> a/plan.rs",
            "tests.rs -> a/plan.rs",
            "tests.rs -> a/user.rs",
        ]
    );
}

#[test]
fn through_a_module_that_an_attribute_names() {
    let a = "pub struct A { #[serde(with = \"super::b\")] x: u8 }";
    let b = ("b.rs", "use crate::a::A;\npub fn serialize(_: A) {}");
    assert_circle(&[("lib.rs", "mod a;\nmod b;"), ("a.rs", a), b], &["a.rs -> b.rs: serialize", "b.rs -> a.rs: A"]);
}

#[test]
fn code_that_hides_what_it_uses_is_reported() {
    for (code, hidden) in [
        ("use super::b::*;", "a.rs: use super::b::*"),
        ("include!(\"x.in\");", "a.rs: include!"),
        ("#[path = \"b.rs\"] mod b;", "a.rs: #[path]"),
        ("macro_rules! m { ($x:ident) => { pub type T = crate::$x::B; } }", "a.rs: a variable of a macro in a path"),
        ("macro_rules! m { ($x:ident) => { use super::super::$x as y; } }", "a.rs: a variable of a macro in a path"),
        ("impl super::b::B { fn f(&self) {} }", "a.rs: impl super::b::B, a type of another file"),
        ("use crate::b::B as Other;\nimpl<T> Other { fn f(&self) {} }", "a.rs: impl Other, a type of another file"),
    ] {
        let sources = [("lib.rs", "mod a;\nmod b;"), ("a.rs", code), ("b.rs", "pub struct B;"), ("a/b.rs", "")];
        let graph = Graph::of(&sources.map(|(path, text)| (path.to_owned(), text.to_owned())).into());
        assert_eq!(graph.hidden.iter().collect::<Vec<_>>(), [hidden], "{code}");
    }
    // Neither the crate's own root in a macro, nor tests, nor a trait for a type of another file hide anything.
    let code = "macro_rules! m { ($x:expr) => { $crate::b::b($x); $x::b() } }\n#[cfg(test)]\nmod tests { use super::*; }\n\
                impl Clone for super::b::B { }";
    let graph = graph(&[("lib.rs", "mod a;\nmod b;"), ("a.rs", code), ("b.rs", "pub struct B;\npub fn b() {}")]);
    assert!(graph.hidden.is_empty(), "{:#?}", graph.hidden);
}

#[test]
fn a_path_that_cannot_be_resolved_is_reported() {
    for code in ["use crate::b::Missing;", "fn f() { crate::c() }", "fn f() { x!(crate::c::d) }", "use super::b::X;"] {
        let sources = [("lib.rs", "mod a;\nmod b;"), ("a.rs", code), ("b.rs", "")];
        let graph = Graph::of(&sources.map(|(path, text)| (path.to_owned(), text.to_owned())).into());
        assert_eq!(graph.unresolved.len(), 1, "{code}");
    }
}
