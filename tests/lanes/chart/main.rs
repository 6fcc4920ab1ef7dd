//! The chart, under both Helms: what it renders, what linters say of it, which rights it takes, and how it comes and goes.
//! `make chart` has the programs that this needs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod choices;
mod helm;
mod levels;
mod linters;
mod renders;
#[path = "../../support/mod.rs"]
mod support;
mod tools;
mod unknown;

/// Every render is as both ends of the Kubernetes versions take it, and no unknown value is taken at any depth.
#[tokio::test(flavor = "multi_thread")]
async fn every_render_is_valid_and_no_unknown_value_is_taken() {
    let (renders, invalid) = renders::judge().await;
    let accepted = unknown::accepted().await;
    println!("chart: renders={renders} invalid={} unknown_values_accepted={}", invalid.len(), accepted.len());
    assert!(invalid.is_empty(), "{invalid:#?}");
    assert!(accepted.is_empty(), "{accepted:#?}");
}

/// Other people's linters find nothing but what `justified.yaml` explains.
#[tokio::test]
async fn linters_find_nothing_but_what_is_justified() {
    linters::judge().await;
}
