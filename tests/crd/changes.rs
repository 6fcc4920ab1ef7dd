//! The operator when the CRDs come, go and change: on a control plane of these tests, one after the other.

mod malformed;
mod readiness;
mod removal;
mod undecodable;

use std::sync::Arc;

use cmdb_sim::{Options, Simulator};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use kube::runtime::wait::{await_condition, conditions};
use process_template_operator::api;
use test_support::control_plane::{ControlPlane, install_crds, with_controller_manager};
use test_support::world::{PATIENCE, World, usual_transport};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::time::timeout;

/// The control plane of these tests, for one of them at a time.
struct Alone {
    plane: Arc<ControlPlane>,
    _turn: MutexGuard<'static, ()>,
}

impl Alone {
    /// Without our CRDs, and so without our objects.
    async fn without_crds() -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        static PLANE: OnceCell<Arc<ControlPlane>> = OnceCell::const_new();
        let turn = TURN.lock().await;
        let plane = PLANE.get_or_init(async || Arc::new(with_controller_manager().await)).await;
        let alone = Self { plane: Arc::clone(plane), _turn: turn };

        let crds: Api<CustomResourceDefinition> = Api::all(alone.plane.client().await);
        for (_, crd) in api::crds().unwrap() {
            let name = crd["metadata"]["name"].as_str().unwrap();
            if let Some(uid) = crds.get_opt(name).await.unwrap().and_then(|crd| crd.uid()) {
                crds.delete(name, &DeleteParams::default()).await.unwrap();
                let gone = await_condition(crds.clone(), name, conditions::is_deleted(&uid));
                timeout(PATIENCE, gone).await.unwrap().unwrap();
            }
        }
        alone
    }

    /// With our CRDs as they are in this version.
    async fn with_crds() -> Self {
        let alone = Self::without_crds().await;
        install_crds(&alone.plane.client().await).await;
        alone
    }

    /// A namespace with a connection to a new simulator.
    async fn world(&self, name: &str) -> World {
        let sim = Simulator::start(Options::default()).unwrap();
        let url = sim.url();
        World::on(Arc::clone(&self.plane), usual_transport(), name, sim, &url).await
    }
}
