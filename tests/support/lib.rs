//! What the tests share.
//!
//! # Flow
//! A test binary has one control plane, [`control_plane::shared`], which the first test that asks for it starts. It ends
//! with the process, however that ends. All tests of the binary run on it at a time.
//!
//! # Guarantees
//! A test that keeps these rules neither disturbs nor sees another test:
//! * Its namespaces have names that no other test of the binary uses. [`world::World`] makes one, and fails where it is
//!   there already.
//! * Its operators watch those namespaces only (`--watch-namespaces`, as [`world::World::start_operator`] does). They then
//!   see neither sets of other tests nor connections of the cluster, and their metrics count nothing else.
//! * Its leases are in its namespaces, or have the name of its namespace.
//! * Its users, its cluster roles, its connections of the cluster and its files in the folder of the control plane have
//!   names that no other test uses: the name of its namespace is in them, or its own.
//! * What it counts in the audit log is of its namespace or of its users: [`control_plane::ControlPlane::audit_events`].
//! * Its simulated CMDB is its own.
//!
//! # Caveats
//! Some tests need more than a namespace and start a control plane of their own, [`control_plane::own`] or
//! [`control_plane::ControlPlane::start`]: those whose operator serves the whole cluster, those that change the CRDs, and
//! those about the start and the end of a control plane.
//!
//! A test that asks for a control plane or a judge is `#[ignore = "needs a control plane: make test"]`, with all others of
//! its module; a test of the binary `repository` checks that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]
#![allow(clippy::missing_panics_doc, clippy::new_without_default, reason = "tests call it")]

use std::path::{Path, PathBuf};

use files::{entries, files};

pub mod authority;
pub mod chance;
pub mod closed;
pub mod command;
pub mod control_plane;
pub mod endurance;
pub mod error_rows;
pub mod examples;
pub mod files;
pub mod held;
pub mod hostile;
pub mod hunt;
pub mod hunt_cluster;
pub mod in_process;
pub mod judges;
pub mod levels;
pub mod paused;
pub mod pinned;
pub mod pod;
pub mod proxy;
pub mod schemas;
pub mod scrape;
pub mod stories;
pub mod tenants;
pub mod world;

/// The folder of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// The operator's program, as cargo built it for the test that runs.
pub fn ptset() -> PathBuf {
    let variable = "CARGO_BIN_EXE_ptset";
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run the tests with cargo")).into()
}

/// Every Markdown file of the repository.
pub fn documents() -> Vec<PathBuf> {
    let is_made = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name == "target" || name.starts_with('.')
    };
    let roots = entries(repository()).into_iter().filter(|path| !is_made(path));
    let all = roots.flat_map(|path| files(&path));
    all.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}
