//! Each promise of the security model names the test that keeps it, and that test exists.

use std::fs;
use std::path::Path;

use regex::Regex;

const PAGE: &str = "docs/operations/security-model.md";

// Sections that describe; all others promise.
const DESCRIPTIONS: [&str; 3] = ["Who there is", "What the operator may", "What is not promised"];

/// A promise of the page, and the tests that it names.
struct Promise {
    text: String,
    tests: Vec<String>,
}

fn promises(page: &str) -> Vec<Promise> {
    let named = Regex::new(r"`((?:src|tests)/[^`]*\.rs::[^`]*)`").unwrap();
    let sections = page.split("\n## ").skip(1);
    let promising = sections.filter(|section| !DESCRIPTIONS.iter().any(|title| section.starts_with(title)));
    let items = promising.flat_map(|section| section.split("\n* ").skip(1));
    // What follows the list of a section is text of its own.
    let text = items.map(|item| item.split("\n\n").next().unwrap());
    text.map(|text| Promise {
        text: text.to_owned(),
        tests: named.captures_iter(text).map(|found| found[1].to_owned()).collect(),
    })
    .collect()
}

/// Why a test, `path/of/a/file.rs::name`, does not run; None: it does.
fn missing(test: &str, root: &Path) -> Option<String> {
    let (file, name) = test.split_once("::").unwrap();
    let Ok(code) = fs::read_to_string(root.join(file)) else { return Some(format!("{file} does not exist")) };
    let attributed = format!(r"#\[(tokio::)?test[^\n]*\n(\s*#\[[^\n]*\n)*\s*(async )?fn {}\(", regex::escape(name));
    let is_test = Regex::new(&attributed).unwrap().is_match(&code);
    (!is_test).then(|| format!("{file} has no test {name}"))
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let promises = promises(&fs::read_to_string(root.join(PAGE)).unwrap());
    let mut tests = 0;
    for Promise { text, tests: named } in &promises {
        assert!(!named.is_empty(), "no test keeps: {text}");
        for test in named {
            assert_eq!(missing(test, root), None, "{text}");
            tests += 1;
        }
    }
    assert!(promises.len() > 20 && tests >= promises.len(), "only {} promises were read", promises.len());
}

#[test]
fn a_promise_without_a_test_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.rs"), "#[test]\nfn kept() {}\n\nfn helper() {}\n").unwrap();
    let page = "# Title\n* none\n## Who there is\n* none\n## Promised\n\n* One `src/a.rs::kept`\n  of two lines\n* Two\n\nText `src/a.rs::x`\n";
    let found: Vec<_> = promises(page).into_iter().map(|promise| promise.tests).collect();
    assert_eq!(found, [vec!["src/a.rs::kept".to_owned()], vec![]]);
    assert_eq!(missing("a.rs::kept", folder.path()), None);
    assert_eq!(missing("a.rs::helper", folder.path()).unwrap(), "a.rs has no test helper");
    assert_eq!(missing("b.rs::kept", folder.path()).unwrap(), "b.rs does not exist");
}
