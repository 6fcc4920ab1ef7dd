//! What an installation is.

use serde_json::json;

use super::Told;
use crate::cluster::{Pods, name};
use crate::simulator::namespace;
use crate::stage::{MALL, ONE, SHOP, Stage, TWO};

pub async fn install(stage: &Stage) -> Told {
    stage.cluster.apply(&[namespace(ONE)]).await;
    stage.helm("install", ONE, &stage.values(json!({}))).await;
    // Not yet what is asked for below: Helm has waited.
    let pods = stage.cluster.pods_of(ONE).await;
    assert_eq!(pods.iter().filter(|pod| crate::stage::is_ready(pod)).count(), 2, "{pods:#?}");
    Told::Whole
}

pub async fn confinement(stage: &Stage) -> Told {
    let Some(node) = stage.cluster.node() else { return Told::NotHere("no node of our own") };
    for pod in stage.cluster.pods_of(ONE).await {
        let process = node.process(&pod).await;
        for who in ["Uid", "Gid"] {
            let ids: Vec<&str> = process.status(who).split_whitespace().collect();
            assert_eq!(ids, ["65532"; 4], "{who}");
        }
        for capabilities in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(process.status(capabilities), "0000000000000000", "{capabilities}");
        }
        assert_eq!((process.status("NoNewPrivs"), process.status("Seccomp")), ("1", "2"));
        assert!(process.has_read_only_root());
        // No shell, and nothing else to run.
        for folder in ["bin", "lib", "sbin", "usr"] {
            assert!(!process.root.iter().any(|entry| entry == folder), "{:?}", process.root);
        }
        assert!(process.root.iter().any(|entry| entry == "ptset"), "{:?}", process.root);
    }
    Told::Whole
}

pub async fn helm_test(stage: &Stage) -> Told {
    if matches!(stage.cluster.pods, Pods::None(_)) {
        return Told::NotHere("the test is a pod");
    }
    let said = stage.cluster.helm(&["test", ONE, "--namespace", ONE, "--timeout", "60s", "--logs"]).await;
    assert!(said.contains("TEST SUITE:") && said.contains("Succeeded"), "{said}");
    Told::Whole
}

pub async fn side_by_side(stage: &Stage) -> Told {
    stage.helm("upgrade", ONE, &stage.values(json!({ "watchNamespaces": [SHOP] }))).await;
    stage.put_connection(MALL).await;
    stage.cluster.apply(&[namespace(TWO)]).await;
    let two = stage.values(json!({ "watchNamespaces": [MALL], "crds": { "install": false } }));
    stage.helm("install", TWO, &two).await;
    stage.put_set(MALL, "web", &[("nginx".to_owned(), "./mall.sh")], json!({})).await;
    stage.put_set(SHOP, "beside", &[("nginx".to_owned(), "./shop.sh")], json!({})).await;
    for (shop, set) in [(MALL, "web"), (SHOP, "beside")] {
        stage.until_ready(shop, set).await;
        stage.assert_in_cmdb(shop).await;
    }
    for (release, other) in [(ONE, MALL), (TWO, SHOP)] {
        let leader = stage.leader(release).await;
        let log = stage.cluster.logs(release, name(&leader)).await;
        assert!(log.contains(r#""target":"audit""#), "{log}");
        assert!(!log.contains(&format!(r#""namespace":"{other}""#)), "{log}");
    }
    stage.uninstall(TWO).await;
    Told::Whole
}

pub async fn permissions(stage: &Stage) -> Told {
    if matches!(stage.cluster.pods, Pods::Current) {
        return Told::NotHere("the audit log of a cluster of somebody else is not ours to read");
    }
    stage.assert_nothing_forbidden();
    Told::Whole
}
