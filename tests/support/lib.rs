//! What the tests share.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]
#![allow(missing_docs, reason = "not an interface")]

pub mod authority;
pub mod chance;
pub mod closed;
pub mod command;
pub mod control_plane;
pub mod examples;
pub mod files;
pub mod held;
pub mod hunt;
pub mod hunt_cluster;
pub mod in_process;
pub mod judges;
pub mod paused;
pub mod pinned;
pub mod pod;
pub mod proxy;
pub mod scrape;
pub mod stories;
pub mod tenants;
pub mod world;
