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

// Words that a floor must not have: the planner neither waits nor looks at a clock, the client knows no Kubernetes.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("api", &["tokio", "reqwest", "async "]),
    ("plan", &["tokio", "reqwest", "kube::", "k8s_openapi", "async ", "Instant", "SystemTime", "rand::", "tracing"]),
    ("cmdb", &["kube::", "k8s_openapi"]),
    ("engine", &["kube::", "k8s_openapi", "reqwest"]),
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
                // The derive of the custom resources is vocabulary.
                let allowed = *floor == "api" && word.starts_with("kube");
                assert!(allowed || !line.contains(word), "{file} names {word}: {line}");
            }
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
