//! The floors of the source tree: a lower one knows nothing of a higher one.

#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/files.rs"]
mod files;

use std::fs;
use std::path::{Path, PathBuf};

use files::files;

// From the lowest; the number is the floor. What stands on one floor may use what is below it, and itself.
const FLOORS: &[(&str, &[&str])] = &[
    ("api", &["api"]),
    ("plan", &["api", "plan"]),
    ("cmdb", &["cmdb"]),
    ("engine", &["api", "plan", "cmdb", "engine"]),
    ("controller", &["api", "plan", "cmdb", "engine", "controller"]),
    ("telemetry", &["cmdb", "controller", "engine", "telemetry"]),
    ("cli", &["api", "plan", "cmdb", "engine", "controller", "telemetry", "cli"]),
    ("sim", &["sim"]),
];

// What must not be named on a floor: the planner neither waits nor looks at a clock, the client knows no Kubernetes.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("api", &["tokio", "reqwest", "async "]),
    ("plan", &["tokio", "reqwest", "kube::", "k8s_openapi", "async ", "Instant", "SystemTime", "rand::", "tracing"]),
    ("cmdb", &["kube::", "k8s_openapi"]),
    ("engine", &["kube::", "k8s_openapi", "reqwest"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs")).collect()
}

fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn no_floor_uses_a_higher_one() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for (floor, may_use) in FLOORS {
        for file in sources(&source.join(floor)) {
            checked += 1;
            for line in code_lines(&fs::read_to_string(&file).unwrap()) {
                for (_, rest) in line.match_indices("crate::").map(|(at, found)| (at, &line[at + found.len()..])) {
                    let used: Vec<String> = match rest.strip_prefix('{') {
                        Some(list) => list.split([',', '}']).map(|name| name.trim().to_owned()).collect(),
                        None => vec![rest.to_owned()],
                    };
                    for name in used.iter().filter(|name| name.starts_with(char::is_alphabetic)) {
                        let module = name.split("::").next().unwrap().trim_matches(|c: char| !c.is_alphanumeric());
                        assert!(may_use.contains(&module), "{} uses crate::{module}: {line}", file.display());
                    }
                }
            }
        }
    }
    assert!(checked > 30, "only {checked} files found");
}

#[test]
fn no_floor_names_what_it_must_not_know() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (floor, forbidden) in FORBIDDEN {
        for file in sources(&source.join(floor)) {
            for line in code_lines(&fs::read_to_string(&file).unwrap()) {
                for word in *forbidden {
                    // The derive of the custom resources is vocabulary.
                    let allowed = *floor == "api" && word.starts_with("kube");
                    assert!(allowed || !line.contains(word), "{} names {word}: {line}", file.display());
                }
            }
        }
    }
}

#[test]
fn every_floor_is_in_the_list() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() && entry.file_name() != "bin" {
            let name = entry.file_name().into_string().unwrap();
            assert!(FLOORS.iter().any(|(floor, _)| *floor == name), "src/{name} stands on no floor");
        }
    }
}
