//! No task of the operator runs unseen: what starts one either joins it or is listed here with the reason.

use std::path::Path;

use test_support::files::files;
use test_support::repository;

/// Files that start tasks of their own, and why that is right.
const JOINED: &[(&str, &str)] = &[
    ("cmdb/http/network/connector.rs", "a call fails when the task of its connection ends"),
    ("cmdb/http/network/idle.rs", "without them connections are idle for longer, or not used again"),
    ("cmdb/http/scripted.rs", "tests alone"),
    ("controller/connection/reconcile.rs", "each reconcile is awaited"),
    ("controller/set/supervise.rs", "the report of a panic is awaited"),
    ("telemetry/server.rs", "it asks whether tasks of the runtime run at all"),
];

// What starts a task or a thread that need not be joined.
const STARTS: &[&str] = &["tokio::spawn(", "thread::spawn(", "spawn_local(", "runtime.spawn("];

#[test]
fn every_task_is_started_by_what_joins_it() {
    let source = repository().join("src");
    let starts = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        code.lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .any(|line| STARTS.iter().any(|s| line.contains(s)))
    };
    let found: Vec<String> = files(&source)
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs") && starts(path))
        .map(|path| path.strip_prefix(&source).unwrap().display().to_string())
        .collect();
    let listed: Vec<&str> = JOINED.iter().map(|(path, _)| *path).collect();
    assert_eq!(found, listed, "start long-lived tasks with controller::Tasks, whose failure ends the process");
}
