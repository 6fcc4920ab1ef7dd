//! The operator as the chart runs it: with the arguments, the environment and the account that stand in its Deployment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::Value;

use crate::helm::{CHART, Helm, NAMESPACE, RELEASE, Said};
use crate::renders::until_served;
use test_support::control_plane::{ControlPlane, Options, client};
use test_support::held::Held;
use test_support::pod;
use test_support::world::Operator;

/// The name of the Deployment, of its account and of its lease.
pub const NAME: &str = "ptset-process-template-operator";

/// A control plane that the chart is installed on.
pub struct Installation {
    pub plane: Arc<ControlPlane>,
    pub client: kube::Client,
    pub helm: Helm,
}

impl Installation {
    /// Installs the chart with these values in a new control plane, without a node.
    pub async fn with(values: &Value, namespaces: &[&str]) -> Self {
        let plane = ControlPlane::start(Options::default()).await.unwrap_or_else(|error| panic!("{error}"));
        let plane = Arc::new(plane);
        let client = client(&plane.kubeconfig_path()).await;
        let installation = Self { plane: Arc::clone(&plane), client, helm: Helm::newest().await };
        for namespace in namespaces {
            installation.kubectl(&["create", "namespace", namespace]).await;
        }
        let file = plane.folder().join("values.json");
        std::fs::write(&file, values.to_string()).unwrap();
        let file = file.to_str().unwrap();
        let arguments = ["install", RELEASE, CHART, "--namespace", NAMESPACE, "--create-namespace", "--values", file];
        installation.helm.run_with(&plane.kubeconfig_path(), &arguments).await.good("install");
        until_served(&plane, &["crd", "--all"]).await;
        installation
    }

    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        Said::of(self.plane.kubectl().args(arguments).output().await.unwrap()).good(&format!("kubectl {arguments:?}"))
    }

    /// Its user.
    pub fn user() -> String {
        format!("system:serviceaccount:{NAMESPACE}:{NAME}")
    }

    /// Runs one instance, without some of its arguments.
    pub async fn run(&self, without: &[&str]) -> Operator {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let mut pod = deployments.get(NAME).await.unwrap().spec.template.spec.unwrap();
        for arguments in pod.containers.iter_mut().filter_map(|container| container.args.as_mut()) {
            arguments.retain(|argument| !without.contains(&argument.as_str()));
        }
        let mut command = pod::command(&pod, NAMESPACE, &format!("{NAME}-{number}"), "127.0.0.1:0");
        let account = pod.service_account_name.as_deref().unwrap();
        command.env("KUBECONFIG", pod::kubeconfig(&self.plane, self.plane.folder(), NAMESPACE, account).await);
        let log = self.plane.folder().join(format!("operator-{number}.log"));
        Operator { process: Held::start(&command, &log, None).await.unwrap(), log }
    }
}
