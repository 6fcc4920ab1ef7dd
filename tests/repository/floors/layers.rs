//! The floors of the source tree: a lower one knows nothing of a higher one.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::graph::Graph;
use super::sources::{Sources, read, repository};

// From the lowest. A floor may use these and itself.
const FLOORS: &[(&str, &[&str])] = &[
    ("outside", &["outside"]),
    ("api", &["outside", "api"]),
    ("plan", &["outside", "api", "plan"]),
    ("cmdb", &["outside", "cmdb"]),
    ("engine", &["outside", "api", "plan", "cmdb", "engine"]),
    ("controller", &["outside", "api", "plan", "cmdb", "engine", "controller"]),
    ("telemetry", &["cmdb", "controller", "engine", "telemetry"]),
    ("cli", &["outside", "api", "plan", "cmdb", "engine", "controller", "telemetry", "cli"]),
];

// Words that a floor must not have: the planner neither waits nor remembers, prints or draws lots.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("api", &["async "]),
    (
        "plan",
        &[
            "async ",
            "Future",
            "Instant",
            "SystemTime",
            "RandomState",
            "static mut",
            "Mutex",
            "Atomic",
            "thread_local",
            "print!",
            "println!",
        ],
    ),
];

// Crates that a floor must not use, by any name: the client and the engine know no Kubernetes.
const FORBIDDEN_CRATES: &[(&str, &[&str])] = &[
    ("api", &["tokio", "reqwest"]),
    ("cmdb", &["kube", "k8s_openapi"]),
    ("engine", &["kube", "k8s_openapi", "reqwest"]),
];

// All that the planner may use of other crates: nothing that waits, or whose result depends on more than its arguments.
const PLANNER_USES: &[&str] = &[
    "serde_json",
    "sha2",
    "std::borrow",
    "std::cmp",
    "std::collections",
    "std::fmt",
    "std::iter",
    "std::mem",
    "std::sync::Arc",
    "std::time::Duration",
];

fn source() -> PathBuf {
    repository().join("src")
}

fn floor_of(file: &str) -> &str {
    file.split('/').next().unwrap()
}

/// The lines of a floor's files, tests included, with the file and without comments.
fn code_lines<'a>(sources: &'a Sources, floor: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    let files = sources.iter().filter(move |(file, _)| file.contains('/') && floor_of(file) == floor);
    let lines = files.flat_map(|(file, text)| text.lines().map(move |line| (file, line)));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn no_floor_uses_a_higher_one() {
    let sources = read(&source());
    let mut checked = BTreeSet::new();
    for (floor, may_use) in FLOORS {
        for (file, line) in code_lines(&sources, floor) {
            checked.insert(file);
            for (_, rest) in line.match_indices("crate::").map(|(at, found)| (at, &line[at + found.len()..])) {
                let used: Vec<String> = match rest.strip_prefix('{') {
                    Some(list) => list.split([',', '}']).map(|name| name.trim().to_owned()).collect(),
                    None => vec![rest.to_owned()],
                };
                for name in used.iter().filter(|name| name.starts_with(char::is_alphabetic)) {
                    let module = name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                    assert!(may_use.contains(&module), "{file} uses crate::{module}: {line}");
                }
            }
        }
    }
    assert!(checked.len() > 30, "only {} files found", checked.len());
}

/// The same of paths that do not start with `crate::` and of lists of several lines.
#[test]
fn no_floor_depends_on_a_higher_one() {
    let graph = Graph::of(&read(&source()));
    for (user, used, names) in graph.ties() {
        if let Some((_, may_use)) = FLOORS.iter().find(|(floor, _)| *floor == floor_of(user)) {
            assert!(may_use.contains(&floor_of(used)), "{user} uses {names:?} of {used}");
        }
    }
}

#[test]
fn no_floor_names_what_it_must_not_know() {
    let sources = read(&source());
    for (floor, forbidden) in FORBIDDEN {
        for (file, line) in code_lines(&sources, floor) {
            for word in *forbidden {
                assert!(!line.contains(word), "{file} names {word}: {line}");
            }
        }
    }
}

/// The names by which code calls the crates that the operator depends on.
fn dependencies() -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let section = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let names = section.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split([' ', '.']).next());
    let names: BTreeSet<String> =
        names.filter(|name| !name.is_empty() && !name.starts_with('#')).map(|name| name.replace('-', "_")).collect();
    assert!(names.contains("tokio") && names.len() > 20, "{names:?}");
    names
}

#[test]
fn no_floor_uses_a_crate_that_it_must_not_know() {
    let graph = Graph::of(&read(&source()));
    let dependencies = dependencies();
    let mut checked = 0;
    for (file, path) in &graph.foreign {
        let (floor, path_text) = (floor_of(file), path.join("::"));
        let forbidden = FORBIDDEN_CRATES.iter().find(|(name, _)| *name == floor).map_or(&[][..], |(_, crates)| *crates);
        assert!(!forbidden.contains(&path[0].as_str()), "{file} uses {path_text}");
        let is_external = dependencies.contains(&path[0]) || ["std", "core", "alloc"].contains(&path[0].as_str());
        if floor == "plan" && is_external {
            checked += 1;
            let may = PLANNER_USES.iter().any(|used| path_text == *used || path_text.starts_with(&format!("{used}::")));
            assert!(may, "{file} uses {path_text}");
        }
    }
    assert!(checked > 10, "only {checked} paths of the planner lead to other crates");
}

/// Operator and simulator are checked against each other: they share no code.
#[test]
fn neither_crate_depends_on_the_other() {
    for (manifest, other) in [("cmdb-sim/Cargo.toml", "process-template-operator"), ("Cargo.toml", "cmdb-sim")] {
        let text = std::fs::read_to_string(repository().join(manifest)).unwrap();
        let mut section = "";
        for line in text.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let is_dependency = section.contains("dependencies") && !section.contains("dev-dependencies");
            let names_it = line.trim_start().starts_with(other) || line.contains(&format!("\"{other}\""));
            assert!(!is_dependency || !names_it, "{manifest}: {section} {line}");
        }
    }
}

#[test]
fn every_folder_is_a_floor() {
    let sources = read(&source());
    let folders = sources.keys().filter(|file| file.contains('/')).map(|file| floor_of(file));
    let folders: BTreeSet<&str> = folders.filter(|folder| *folder != "bin").collect();
    assert_eq!(folders, FLOORS.iter().map(|(floor, _)| *floor).collect());
}
