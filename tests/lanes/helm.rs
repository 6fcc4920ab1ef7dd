//! What `helm install --wait` makes of a chart that contains a set: Helm 4 waits with kstatus.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use std::path::PathBuf;
use std::process::Output;

use cmdb_sim::{Effect, Fault};
use serde_json::{Value, json};
use test_support::judges::Judge;
use test_support::world::World;
use tokio::process::Command;

const CREATE: &str = "batch_create_proc_template";

/// A chart with one set, and Helm.
struct Chart<'a> {
    world: &'a World,
    helm: &'a Judge,
    folder: PathBuf,
}

impl<'a> Chart<'a> {
    fn new(world: &'a World, helm: &'a Judge, name: &str, spec: &Value) -> Self {
        let folder = world.plane.folder().join(format!("chart-{name}"));
        std::fs::create_dir_all(folder.join("templates")).unwrap();
        let about = json!({ "apiVersion": "v2", "name": name, "version": "0.1.0" });
        std::fs::write(folder.join("Chart.yaml"), about.to_string()).unwrap();
        let mut spec = spec.clone();
        spec["bizId"] = 2.into();
        spec["serviceTemplate"] = json!({ "name": name });
        let set = json!({ "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet",
            "metadata": { "name": name }, "spec": spec });
        std::fs::write(folder.join("templates/set.yaml"), set.to_string()).unwrap();
        world.service_template(name);
        Self { world, helm, folder }
    }

    async fn helm(&self, command: &str, release: &str) -> Output {
        let mut helm = Command::new(self.helm.path());
        let home = self.world.plane.folder();
        helm.args([command, release, self.folder.to_str().unwrap(), "--wait", "--timeout", "60s"])
            .args(["--namespace", &self.world.namespace])
            .env("KUBECONFIG", self.world.plane.kubeconfig_path())
            .env("HOME", home)
            .kill_on_drop(true);
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            helm.env_remove(proxy);
        }
        helm.output().await.unwrap()
    }
}

fn process(start_cmd: &str) -> Value {
    json!({ "processes": [{ "name": "nginx", "funcName": "nginx", "startCmd": start_cmd }] })
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn helm_waits_for_the_ids_and_fails_with_the_reason_of_a_set_that_stands_still() {
    let helm = Judge::named("helm").await;
    let mut world = World::new("helm").await;
    world.start_operator(&[]).await;

    world.sim.add_fault(Fault::nth(CREATE, 1, Effect::delay(3000)));
    let chart = Chart::new(&world, &helm, "waits", &process("./run"));
    let installed = chart.helm("install", "waits").await;
    assert!(installed.status.success(), "{}", said(&installed));
    let ids = test_support::world::Seen::new(world.set("waits").await).ids();
    assert_eq!(ids.len(), 1, "it did not wait");

    let chart = Chart::new(&world, &helm, "waits", &process("./changed"));
    world.sim.add_fault(Fault::nth("update_proc_template", 1, Effect::raw(502, "text/html", "<html></html>")));
    let upgraded = chart.helm("upgrade", "waits").await;
    assert!(upgraded.status.success(), "a failure that passes: {}", said(&upgraded));
    let stored = serde_json::to_value(&world.sim.state().process_templates[0].property).unwrap();
    assert_eq!(stored["start_cmd"]["value"], "./changed", "it did not wait");

    world.sim.add_fault(Fault::every(CREATE, Effect::code(1_199_046)));
    let chart = Chart::new(&world, &helm, "stalls", &process("./run"));
    let failed = chart.helm("install", "stalls").await;
    let text = said(&failed);
    assert!(!failed.status.success(), "{text}");
    assert!(text.contains("ProcessTemplateSet") && text.contains("stalls"), "{text}");
    assert!(text.contains("does not permit"), "the reason is not told: {text}");
    println!("helm: stories=3 failed=0");
    world.end().await;
}
