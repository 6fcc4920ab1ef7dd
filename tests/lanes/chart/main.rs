//! The chart, under both Helms: what it renders, what linters say of it, which rights it takes, and how it comes and goes.
//! `make chart` has the programs that this needs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod audit;
mod choices;
mod helm;
mod linters;
#[path = "../e2e/next_chart.rs"]
mod next_chart;
mod operator;
mod own_rule;
mod refusals;
mod renders;
mod rights;
#[path = "../e2e/stand_in.rs"]
#[allow(dead_code, reason = "each lane uses its own part")]
mod stand_in;
mod story;
mod tools;
mod unknown;
mod upgrade;
mod users;
mod values;

/// Every render is as both ends of the Kubernetes versions take it, and no unknown value is taken at any depth.
#[tokio::test(flavor = "multi_thread")]
async fn every_render_is_valid_and_no_unknown_value_is_taken() {
    let (renders, invalid) = renders::judge().await;
    let accepted = unknown::accepted().await;
    println!("chart: renders={renders} invalid={} unknown_values_accepted={}", invalid.len(), accepted.len());
    assert!(invalid.is_empty(), "{invalid:#?}");
    assert!(accepted.is_empty(), "{accepted:#?}");
}

/// Every value that is documented does something, and some of those tested shows it.
#[tokio::test]
async fn every_value_has_an_effect() {
    let (documented, without_effect) = values::without_effect().await;
    println!("chart values: documented={documented} without_effect={}", without_effect.len());
    assert!(without_effect.is_empty(), "{without_effect:#?}");
}

/// Other people's linters find nothing but what `justified.yaml` explains.
#[tokio::test]
async fn linters_find_nothing_but_what_is_justified() {
    linters::judge().await;
}

/// With the rights that the chart gives, nothing is forbidden to the operator; without any of them, something is.
#[tokio::test(flavor = "multi_thread")]
async fn every_right_is_needed_and_none_is_missing() {
    let [cluster, namespaces, names] = story::modes();
    let (cluster, namespaces, names) =
        tokio::join!(rights::judge(&cluster), rights::judge(&namespaces), rights::judge(&names));
    let learnt = [cluster, namespaces, names];
    let forbidden: Vec<_> = learnt.iter().flat_map(|mode| &mode.forbidden).collect();
    let superfluous: Vec<_> = learnt.iter().flat_map(|mode| &mode.superfluous).collect();
    let rules: usize = learnt.iter().map(|mode| mode.rules).sum();
    println!("rbac: rules={rules} superfluous={} forbidden={}", superfluous.len(), forbidden.len());
    assert!(superfluous.is_empty() && forbidden.is_empty(), "{superfluous:#?} {forbidden:#?}");
}

/// Other tests run the operator with the rights that the chart gives.
#[tokio::test]
async fn other_tests_run_with_the_same_rights() {
    rights::assert_other_tests_have_the_same().await;
}

/// The chart comes, is upgraded to one whose CRD has a field more, goes back, goes and comes again, under both Helms.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_cmdb_stays_as_the_chart_comes_and_goes() {
    let upgrade::Learnt { steps, writes, ids_kept } = upgrade::judge().await;
    println!("upgrade: steps={steps} cmdb_writes={writes} ids_kept={ids_kept}");
    assert_eq!(writes, 0);
}
