//! "Where to find it" in CONTRIBUTING.md: each question has its answer in at most three places, and each place exists.

use std::fs;
use std::path::Path;

use regex::Regex;
use syn::{ImplItem, Item, TraitItem, Type};

use super::item::head;
use super::sources::repository;

const HEADING: &str = "Where to find it";
const QUESTIONS: usize = 7;
const MOST_PLACES: usize = 3;

/// A question, and the places in backticks that answer it.
struct Question {
    text: String,
    places: Vec<String>,
}

/// The questions below the heading, one for each item of the list.
fn questions(document: &str) -> Vec<Question> {
    let is_heading = |line: &&str| line.starts_with('#');
    let section = document.lines().skip_while(|line| !(is_heading(line) && line.ends_with(HEADING))).skip(1);
    let section: Vec<&str> = section.take_while(|line| !is_heading(line)).collect();
    let section = section.join("\n");
    let span = Regex::new("`([^`]+)`").unwrap();
    let items = Regex::new(r"(?m)^(?:[*-]|\d+\.) ").unwrap();
    let question = |item: &str| Question {
        text: item.split('`').next().unwrap().trim().to_owned(),
        places: span.captures_iter(item).map(|found| found[1].to_owned()).collect(),
    };
    items.split(&section).skip(1).map(question).collect()
}

/// What is wrong with the section in this document, for a repository with this root.
fn faults(document: &str, root: &Path) -> Vec<String> {
    let questions = questions(document);
    let mut faults = Vec::new();
    if questions.len() != QUESTIONS {
        faults.push(format!("{} questions, not {QUESTIONS}", questions.len()));
    }
    for Question { text, places } in questions {
        if !(1..=MOST_PLACES).contains(&places.len()) {
            faults.push(format!("{text} {} places, not one to {MOST_PLACES}", places.len()));
        }
        faults.extend(places.iter().filter_map(|place| missing(place, root)).map(|fault| format!("{text} {fault}")));
    }
    faults
}

/// Why a place does not exist. It has the form `path/of/a/file.rs::item`, or `...::Type::method`.
fn missing(place: &str, root: &Path) -> Option<String> {
    let Some((file, item)) = place.split_once(".rs::") else {
        return Some(format!("{place} is not file::item"));
    };
    let Ok(text) = fs::read_to_string(root.join(format!("{file}.rs"))) else {
        return Some(format!("{file}.rs is not a file"));
    };
    let items = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file}.rs: {error}")).items;
    let is_defined = items.iter().flat_map(defined).any(|name| name == item);
    (!is_defined).then(|| format!("{file}.rs does not define {item}"))
}

/// The names that an item defines: its own, and those of its methods after the type or trait.
fn defined(item: &Item) -> Vec<String> {
    let own = head(item).0.map(ToString::to_string);
    let (owner, members): (_, Vec<_>) = match item {
        Item::Impl(block) => {
            let methods = block.items.iter().filter_map(|member| match member {
                ImplItem::Fn(method) => Some(method.sig.ident.to_string()),
                _ => None,
            });
            (name_of(&block.self_ty), methods.collect())
        }
        Item::Trait(item) => {
            let methods = item.items.iter().filter_map(|member| match member {
                TraitItem::Fn(method) => Some(method.sig.ident.to_string()),
                _ => None,
            });
            (own.clone(), methods.collect())
        }
        Item::Use(_) | Item::Mod(_) => return Vec::new(),
        _ => (None, Vec::new()),
    };
    let owner = owner.unwrap_or_default();
    members.iter().map(|member| format!("{owner}::{member}")).chain(own).collect()
}

fn name_of(implemented: &Type) -> Option<String> {
    match implemented {
        Type::Path(named) => named.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    }
}

#[test]
fn every_question_is_answered_in_at_most_three_places_that_exist() {
    let document = fs::read_to_string(repository().join("CONTRIBUTING.md")).unwrap();
    assert_eq!(faults(&document, repository()), Vec::<String>::new());
}

#[test]
fn a_wrong_question_or_place_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let code = "pub struct S<T>(T);\nimpl<T> S<T> { fn m() {} }\nimpl X for S<u8> { fn x() {} }\n\
                trait T { fn t(); }\nenum E {}\nconst C: u8 = 0;\nfn f() { fn inner() {} }\nuse a::B;";
    fs::write(folder.path().join("a.rs"), code).unwrap();
    let section =
        |items: &str| format!("# Title\n* `no.rs::place`\n## {HEADING}\n{items}\n## Next\n* `no.rs::place`\n");
    let good = "* Where? `a.rs::S::m`,\n  `a.rs::S`\n* `a.rs::S::x`\n* `a.rs::T::t`, `a.rs::T`, `a.rs::f`\n* `a.rs::E`\n\
                * `a.rs::C`\n1. `a.rs::f`\n- `a.rs::f`";
    assert_eq!(faults(&section(good), folder.path()), Vec::<String>::new());
    for (place, fault) in [
        ("`b.rs::f`", "Where? b.rs is not a file"),
        ("`a.rs::g`", "Where? a.rs does not define g"),
        ("`a.rs::m`", "Where? a.rs does not define m"),
        ("`a.rs::E::m`", "Where? a.rs does not define E::m"),
        ("`a.rs::B`", "Where? a.rs does not define B"),
        ("`a.rs::inner`", "Where? a.rs does not define inner"),
        ("`a.rs`", "Where? a.rs is not file::item"),
        ("nowhere", "Where? nowhere 0 places, not one to 3"),
        ("`a.rs::f`, `a.rs::f`, `a.rs::f`, `a.rs::f`", "Where? 4 places, not one to 3"),
    ] {
        let text = section(&good.replace("`a.rs::S::m`,\n  `a.rs::S`", place));
        assert_eq!(faults(&text, folder.path()), [fault]);
    }
    assert_eq!(faults(&section("* `a.rs::f`"), folder.path()), ["1 questions, not 7"]);
    assert_eq!(faults("# Title", folder.path()), ["0 questions, not 7"]);
}
