//! The whole story: the image and the chart on a cluster, with real pods where they can be had. `make e2e` runs it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the story")]
#![allow(clippy::future_not_send, reason = "all stories run on the test's own thread")]

mod cluster;
mod next_chart;
mod node;
mod simulator;
mod stage;
mod stand_in;
mod stories;

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures::FutureExt as _;
use stage::Stage;
use stories::{Told, stories};

#[tokio::test]
async fn the_chart_is_installed_used_upgraded_and_removed() {
    let begun = Instant::now();
    let stage = Stage::set().await;
    let (mut told, mut failed) = (0, 0);
    for story in stories() {
        let since = Instant::now();
        let end = AssertUnwindSafe((story.tell)(&stage)).catch_unwind().await;
        let seconds = since.elapsed().as_secs_f64();
        match end {
            Ok(Told::Whole) => {
                told += 1;
                println!("story: {}: told in {seconds:.1} s", story.name);
            }
            Ok(Told::NotHere(reason)) => println!("story: {}: NOT TOLD: {reason}", story.name),
            Err(_) => {
                (told, failed) = (told + 1, failed + 1);
                println!("story: {}: FAILED after {seconds:.1} s\n{}", story.name, stage.logs().await);
                // What follows builds on it.
                break;
            }
        }
    }
    let pods = stage.cluster.kind();
    stage.end().await;
    println!("e2e: stories={told} failed={failed} pods={pods} seconds={}", begun.elapsed().as_secs());
    assert_eq!(failed, 0);
}
