//! Numbers from outside are read in one place, and nothing in the client can panic over them.

use syn::visit::Visit;
use syn::{Field, ItemStruct, Meta};

use super::floors::sources::{read, repository};

// The lints that keep the client from panicking.
const LINTS: &[&str] = &["arithmetic_side_effects", "indexing_slicing", "string_slice"];

// What reads a number from a text or from JSON, or panics over one that is too large.
const READERS: &[&str] = &[
    ".parse(",
    ".parse::<",
    "from_str_radix(",
    "as_i64",
    "as_u64",
    "as_f64",
    "from_secs_f64",
    "from_secs_f32",
    "mul_f64",
    "mul_f32",
    "div_f64",
    "div_f32",
    "i64::from_str",
    "u64::from_str",
    "i32::from_str",
    "u32::from_str",
    "u16::from_str",
    "usize::from_str",
    "f64::from_str",
];

// Texts that are parsed, and are no numbers: in which file, and what they become.
const OTHERS: &[(&str, &str, &str)] = &[
    ("cmdb/http/proxy.rs", "url.parse().ok()?", "a URL"),
    ("cli/api_server.rs", "address.parse().ok()", "an address"),
    ("cli/run.rs", "FIELD_MANAGER.parse()?", "a header"),
    ("controller/reason.rs", "word.parse().ok()", "a reason"),
];

// The production code of each file, by its path below src.
fn production() -> Vec<(String, String)> {
    let is_test = |file: &str| {
        file.ends_with("tests.rs")
            || file.starts_with("cmdb/hostile/")
            || ["cmdb/http/scripted.rs", "fuzz.rs"].contains(&file)
    };
    let sources = read(&repository().join("src")).into_iter().filter(|(file, _)| !is_test(file));
    let code = |text: &str| {
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    };
    sources.map(|(file, text)| (file, code(&text))).collect()
}

#[test]
fn no_number_from_outside_is_read_in_a_second_place() {
    let files = production();
    assert!(files.len() > 150, "{}", files.len());
    let mut found = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| !file.starts_with("outside/")) {
        for line in text.lines().filter(|line| READERS.iter().any(|reader| line.contains(reader))) {
            let is_known = |(path, part, _): &&(&str, &str, &str)| *path == file.as_str() && line.contains(part);
            if !OTHERS.iter().any(|other| is_known(&other)) {
                found.push(format!("{file}: {}", line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "use crate::outside:\n{}", found.join("\n"));
    for (path, part, what) in OTHERS {
        assert!(
            files.iter().any(|(file, text)| file == path && text.contains(part)),
            "{path} parses no {what} any more"
        );
    }
}

#[test]
fn the_client_denies_what_panics_and_allows_it_nowhere() {
    for (file, text) in production().iter().filter(|(file, _)| file.starts_with("cmdb/")) {
        for lint in LINTS {
            let named = text.matches(&format!("clippy::{lint}")).count();
            assert_eq!(named, usize::from(file == "cmdb/mod.rs"), "{file} names {lint}");
        }
    }
    let module = std::fs::read_to_string(repository().join("src/cmdb/mod.rs")).unwrap();
    let denied = module.split_once("deny(").and_then(|(_, rest)| rest.split_once(')')).unwrap().0;
    for lint in LINTS {
        assert!(denied.contains(&format!("clippy::{lint}")), "{lint} is not denied");
    }
}

// Numbers of structs that serde reads, which have to be read by a function of `outside`.
#[derive(Default)]
struct Numbers(Vec<String>);

impl Visit<'_> for Numbers {
    fn visit_item_struct(&mut self, item: &ItemStruct) {
        let text = |meta: &Meta| match meta {
            Meta::List(list) => list.tokens.to_string(),
            _ => String::new(),
        };
        let is_read = item
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("derive") && text(&attribute.meta).contains("Deserialize"));
        let is_checked = |field: &Field| {
            field.attrs.iter().any(|attribute| {
                text(&attribute.meta).contains("outside ::") || text(&attribute.meta).contains("outside::")
            })
        };
        for field in item.fields.iter().filter(|field| is_read && !is_checked(field)) {
            let kind = &field.ty;
            let words = type_words(kind);
            if words
                .iter()
                .any(|word| ["i64", "u64", "i32", "u32", "u16", "usize", "f64", "Number"].contains(&word.as_str()))
            {
                let name = field.ident.as_ref().map_or_else(|| "0".to_owned(), ToString::to_string);
                self.0.push(format!("{}.{name}", item.ident));
            }
        }
    }
}

fn type_words(kind: &syn::Type) -> Vec<String> {
    struct Words(Vec<String>);
    impl Visit<'_> for Words {
        fn visit_ident(&mut self, ident: &syn::Ident) {
            self.0.push(ident.to_string());
        }
    }
    let mut words = Words(Vec::new());
    words.visit_type(kind);
    words.0
}

#[test]
fn every_number_of_an_answer_is_checked() {
    let mut checked = 0;
    for (file, text) in production().iter().filter(|(file, _)| file.starts_with("cmdb/")) {
        let mut numbers = Numbers::default();
        numbers.visit_file(&syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}")));
        assert!(numbers.0.is_empty(), "{file}: {:?}", numbers.0);
        checked += text.matches("deserialize_with = \"outside::").count();
    }
    assert!(checked >= 10, "{checked}");
}
