//! Namespaces that are deleted with `Delete` sets in them: by the namespace controller of Kubernetes, with the rights that the
//! chart gives in either mode, and after they were taken away. Where a set stays, it has said so before, and the command of the
//! documentation frees it.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use cmdb_sim::{Effect, Fault, Simulator};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use process_template_operator::api::CmdbConnection;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use test_support::control_plane::{ControlPlane, own};
use test_support::tenants::{RIGHTS, yaml};
use test_support::world::{Operator, PATIENCE, Seen, World, usual_transport};
use tokio::process::Command;
use tokio::time::{Duration, Instant, sleep};

const INSTALL: &str = include_str!("../../docs/operations/install.md");
const UPGRADE: &str = include_str!("../../docs/operations/upgrade.md");
const NOTES: &str = include_str!("../../charts/process-template-operator/templates/NOTES.txt");

/// What a set says beforehand.
const ANNOUNCED: &str = "Delete this set before its namespace";

/// What is deleted before the namespace, and whether the release is uninstalled before that.
const ORDERS: &[(&str, &[&str], bool)] = &[
    ("all", &[], false),
    ("secret", &["secret"], false),
    ("connection", &["connection"], false),
    ("both", &["secret", "connection"], false),
    ("turned", &["connection", "secret"], false),
    ("set", &["set", "connection", "secret"], false),
    ("uninstalled", &[], true),
];

/// Where the operator has its rights.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Cluster,
    Namespaced,
}

fn user(mode: Mode) -> String {
    format!("operator-{mode:?}").to_lowercase()
}

async fn put<K>(api: Api<K>, object: Value)
where
    K: kube::Resource + Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
{
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

fn binding(mode: Mode, kind: &str) -> Value {
    let subject = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user(mode) });
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": user(mode) });
    json!({ "metadata": { "name": user(mode) }, "roleRef": role, "subjects": [subject] })
}

// The rules of the chart's default rights that are about namespaces, and those that are always of the cluster.
fn rules() -> (Vec<Value>, Vec<Value>) {
    let all = yaml(RIGHTS)["rules"].as_array().unwrap().clone();
    let has = |rule: &Value, name: &str| rule["resources"].as_array().unwrap().iter().any(|one| one == name);
    let (of_cluster, of_work): (Vec<Value>, Vec<Value>) =
        all.into_iter().partition(|rule| has(rule, "customresourcedefinitions") || has(rule, "endpointslices"));
    (of_work, of_cluster)
}

/// A mode's namespaces, with one operator.
struct Release {
    mode: Mode,
    plane: Arc<ControlPlane>,
    worlds: Vec<(World, &'static [&'static str], bool)>,
    operator: Option<Operator>,
}

impl Release {
    async fn install(plane: &Arc<ControlPlane>, mode: Mode) -> Self {
        let client = plane.client().await;
        let mut worlds = Vec::new();
        for (order, first, is_uninstalled) in ORDERS {
            let sim = Simulator::start(cmdb_sim::Options::default()).unwrap();
            let (url, name) = (sim.url(), format!("{mode:?}-{order}").to_lowercase());
            let world = World::on(Arc::clone(plane), usual_transport(), &name, sim, &url).await;
            // Of its own, so that no set counts as another of the same service template.
            world.service_template(&name);
            // Longer than the namespace controller takes to delete the rights.
            world.sim.add_fault(Fault::every("delete_proc_template", Effect::delay(1_000)));
            worlds.push((world, *first, *is_uninstalled));
        }

        let (of_work, of_cluster) = rules();
        let rules = if mode == Mode::Cluster { [of_work.clone(), of_cluster].concat() } else { of_cluster };
        put::<ClusterRole>(Api::all(client.clone()), json!({ "metadata": { "name": user(mode) }, "rules": rules }))
            .await;
        put::<ClusterRoleBinding>(Api::all(client.clone()), binding(mode, "ClusterRole")).await;
        if mode == Mode::Namespaced {
            for (world, ..) in &worlds {
                let role = json!({ "metadata": { "name": user(mode) }, "rules": of_work });
                put::<Role>(Api::namespaced(client.clone(), &world.namespace), role).await;
                put::<RoleBinding>(Api::namespaced(client.clone(), &world.namespace), binding(mode, "Role")).await;
            }
        }

        let kubeconfig = plane.kubeconfig_for(&user(mode), &[]).unwrap();
        let names: Vec<&str> = worlds.iter().map(|(world, ..)| world.namespace.as_str()).collect();
        let names = names[1..].join(",");
        let delay = ["--removal-delay-seconds", "0"];
        let first = &mut worlds[0].0;
        match mode {
            Mode::Cluster => first.start_operator_of_the_cluster_as(&kubeconfig, &delay).await,
            Mode::Namespaced => {
                first
                    .start_operator_as(&kubeconfig, &[delay.as_slice(), &["--watch-namespaces", &names]].concat())
                    .await;
            }
        }
        let operator = first.operator.take();
        let processes = json!([{ "name": "a", "funcName": "a" }, { "name": "b", "funcName": "b" }]);
        for (world, ..) in &worlds {
            let service_template = json!({ "name": world.namespace });
            let spec = json!({
                "deletionPolicy": "Delete", "serviceTemplate": service_template, "processes": processes,
            });
            world.apply("web", spec).await;
        }
        for (world, ..) in &worlds {
            let says = world.until_ready("web").await.message().contains(ANNOUNCED);
            assert_eq!(says, mode == Mode::Namespaced, "{}", world.namespace);
        }
        Self { mode, plane: Arc::clone(plane), worlds, operator }
    }

    async fn uninstall(&mut self) {
        if let Some(operator) = self.operator.take() {
            operator.process.stop().await;
        }
        let (client, name, now) = (self.plane.client().await, user(self.mode), DeleteParams::default());
        Api::<ClusterRoleBinding>::all(client.clone()).delete(&name, &now).await.unwrap();
        Api::<ClusterRole>::all(client.clone()).delete(&name, &now).await.unwrap();
        for (world, _, is_uninstalled) in &self.worlds {
            if self.mode == Mode::Namespaced && *is_uninstalled {
                let namespace = &world.namespace;
                Api::<RoleBinding>::namespaced(client.clone(), namespace).delete(&name, &now).await.unwrap();
                Api::<Role>::namespaced(client.clone(), namespace).delete(&name, &now).await.unwrap();
            }
        }
    }
}

async fn namespace(world: &World) -> Option<Namespace> {
    Api::all(world.client.clone()).get_opt(&world.namespace).await.unwrap()
}

async fn delete_in_order(world: &World, first: &[&str]) {
    let (client, at, now) = (world.client.clone(), &world.namespace, DeleteParams::default());
    for what in first {
        match *what {
            "secret" => drop(Api::<Secret>::namespaced(client.clone(), at).delete("cmdb", &now).await.unwrap()),
            "connection" => {
                drop(Api::<CmdbConnection>::namespaced(client.clone(), at).delete("default", &now).await.unwrap());
            }
            _ => world.delete("web").await,
        }
    }
    Api::<Namespace>::all(client).delete(at, &now).await.unwrap();
}

// Waits until the namespace is gone, or stays for our finalizer, which cannot be removed then: the set that holds it then.
async fn stuck(world: &World, mode: Mode, is_uninstalled: bool) -> Option<Seen> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let namespace = namespace(world).await?;
        let conditions = namespace.status.and_then(|status| status.conditions).unwrap_or_default();
        let remains = |type_: &str| conditions.iter().any(|one| one.type_ == type_ && one.status == "True");
        let bindings: Api<RoleBinding> = Api::namespaced(world.client.clone(), &world.namespace);
        let has_rights = match mode {
            Mode::Cluster => !is_uninstalled,
            Mode::Namespaced => bindings.get_opt(&user(mode)).await.unwrap().is_some(),
        };
        // The operator may have been faster than the deletion of its rights.
        let set = world.sets().get_opt("web").await.unwrap();
        if let Some(set) = set.filter(|_| !has_rights && remains("NamespaceFinalizersRemaining")) {
            return Some(Seen::new(set));
        }
        assert!(Instant::now() < deadline, "{}: {conditions:#?}", world.namespace);
        sleep(Duration::from_millis(100)).await;
    }
}

// The command of the documentation that frees a namespace.
fn freeing(namespace: &str) -> String {
    let command = INSTALL.lines().find(|line| line.contains("get ptset -o name | xargs")).unwrap();
    command.replace(" shop ", &format!(" {namespace} "))
}

async fn free(plane: &ControlPlane, namespace: &str) {
    let path = std::env::var("PATH").unwrap();
    let path = [PathBuf::from(plane.binaries()), PathBuf::from(path)].map(|path| path.display().to_string()).join(":");
    let mut shell = Command::new("sh");
    let command = freeing(namespace);
    shell
        .args(["-ec", &command])
        .env("PATH", path)
        .env("KUBECONFIG", plane.kubeconfig_path())
        .env("HOME", plane.folder());
    let output = shell.stdin(Stdio::null()).output().await.unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_namespace_that_is_deleted_goes_or_was_announced_to_stay_and_is_freed_as_documented() {
    let plane = Arc::new(own().await);
    let (mut orders, mut unannounced) = (0, Vec::new());
    for mode in [Mode::Namespaced, Mode::Cluster] {
        let mut release = Release::install(&plane, mode).await;
        for part in [false, true] {
            if part {
                release.uninstall().await;
            }
            let here: Vec<_> = release.worlds.iter().filter(|(.., is_uninstalled)| *is_uninstalled == part).collect();
            for (world, first, _) in &here {
                delete_in_order(world, first).await;
            }
            for (world, ..) in &here {
                orders += 1;
                if let Some(seen) = stuck(world, mode, part).await {
                    let by_status = seen.message().contains(ANNOUNCED);
                    let by_pages =
                        part && NOTES.contains("Before you uninstall") && UPGRADE.contains("the finalizer away");
                    if !(by_status || by_pages) {
                        unannounced.push((world.namespace.clone(), seen.describe()));
                    }
                    free(&plane, &world.namespace).await;
                } else {
                    assert!(world.sim.state().process_templates.is_empty(), "{}: deleted in CMDB", world.namespace);
                }
                world.until_namespace_gone().await;
            }
        }
        for (world, ..) in release.worlds {
            world.end().await;
        }
    }
    assert!(unannounced.is_empty(), "{unannounced:?}");
    println!("namespaced deletion: orders={orders} unannounced={}", unannounced.len());
}
