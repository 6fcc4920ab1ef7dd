//! What stands in for pods where none can run: for each pod of an operator that the controllers make, the binary with that
//! pod's arguments, environment and service account's token, and with the pod's status as a kubelet would write it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use test_support::control_plane::{ControlPlane, Options};
use test_support::held::Held;
use test_support::pod;

/// Labels of the pods of an operator.
pub const OPERATOR_PODS: &str = "app.kubernetes.io/name=process-template-operator,app.kubernetes.io/component=operator";

/// A control plane, and those who stand in for pods.
pub struct StandIn {
    plane: Arc<ControlPlane>,
    folder: PathBuf,
    places: Places,
    stop: CancellationToken,
    work: JoinHandle<()>,
}

// Namespace and name of a pod.
type Key = (String, String);

// Where each pod's stand-in is to be found: port and process id.
type Places = Arc<Mutex<BTreeMap<Key, (u16, u32)>>>;

// The process that stands in for a pod.
struct Seat {
    process: Held,
    port: u16,
    restarts: usize,
    // What its pod's status says.
    told: Option<(bool, usize)>,
    // Since it was told to end.
    ends: Option<Instant>,
}

impl StandIn {
    pub async fn start(folder: &Path) -> Self {
        let options = Options { controller_manager: true, ..Options::default() };
        let plane = Arc::new(ControlPlane::start(options).await.unwrap_or_else(|error| panic!("{error}")));
        let (places, stop) = (Places::default(), CancellationToken::new());
        let keeper = Keeper {
            client: plane.client().await,
            http: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().unwrap(),
            plane: Arc::clone(&plane),
            folder: folder.to_owned(),
            places: Arc::clone(&places),
            seats: BTreeMap::new(),
        };
        let work = tokio::spawn(keeper.keep(stop.clone()));
        Self { plane, folder: folder.to_owned(), places, stop, work }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.plane.kubeconfig_path()
    }

    pub fn kubectl(&self) -> PathBuf {
        self.plane.binaries().join("kubectl")
    }

    /// Every request that the API server has answered.
    pub fn audit_events(&self) -> Vec<Value> {
        self.plane.audit_events("")
    }

    pub fn logs(&self, namespace: &str, pod: &str) -> String {
        std::fs::read_to_string(log(&self.folder, namespace, pod)).unwrap_or_default()
    }

    pub async fn ask(&self, namespace: &str, pod: &str, path: &str) -> String {
        let (port, _) = self.place(namespace, pod);
        let url = format!("http://127.0.0.1:{port}{path}");
        reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap().text().await.unwrap()
    }

    /// SIGKILL to what stands in for a pod.
    pub fn kill(&self, namespace: &str, pod: &str) {
        let (_, process) = self.place(namespace, pod);
        let process = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
        rustix::process::kill_process(process, Signal::KILL).unwrap();
    }

    fn place(&self, namespace: &str, pod: &str) -> (u16, u32) {
        self.places.lock().unwrap()[&(namespace.to_owned(), pod.to_owned())]
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.work.await.unwrap();
        if let Ok(plane) = Arc::try_unwrap(self.plane) {
            plane.stop().await;
        }
    }
}

fn log(folder: &Path, namespace: &str, pod: &str) -> PathBuf {
    folder.join(format!("{namespace}-{pod}.log"))
}

// Does what a kubelet does, as far as the operator's pods need it.
struct Keeper {
    client: kube::Client,
    http: reqwest::Client,
    plane: Arc<ControlPlane>,
    folder: PathBuf,
    places: Places,
    seats: BTreeMap<Key, Seat>,
}

impl Keeper {
    async fn keep(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pods: Api<Pod> = Api::all(self.client.clone());
            let pods = pods.list(&ListParams::default().labels(OPERATOR_PODS)).await.unwrap().items;
            // What is gone without a word was deleted by force.
            let mut left = std::mem::take(&mut self.seats);
            for pod in pods {
                let key = (pod.namespace().unwrap(), pod.name_any());
                let seat = left.remove(&key);
                if let Some(seat) = self.look_after(&pod, seat).await {
                    self.places.lock().unwrap().insert(key.clone(), (seat.port, seat.process.pid()));
                    self.seats.insert(key, seat);
                }
            }
            for seat in left.into_values() {
                seat.process.stop().await;
            }
            sleep(Duration::from_millis(100)).await;
        }
        for seat in self.seats.into_values() {
            seat.process.stop().await;
        }
    }

    // What stands in for the pod from now on.
    async fn look_after(&self, pod: &Pod, seat: Option<Seat>) -> Option<Seat> {
        let is_deleted = pod.metadata.deletion_timestamp.is_some();
        let seat = match seat {
            Some(seat) if is_deleted => return self.end(pod, seat).await,
            None if is_deleted => {
                self.forget(pod).await;
                return None;
            }
            None => self.seat(pod, 0).await,
            // A kubelet waits longer each time.
            Some(seat) if !seat.process.is_running() => {
                let restarts = seat.restarts + 1;
                seat.process.stop().await;
                self.seat(pod, restarts).await
            }
            Some(seat) => seat,
        };
        Some(self.tell(pod, seat).await)
    }

    async fn end(&self, pod: &Pod, mut seat: Seat) -> Option<Seat> {
        let since = *seat.ends.get_or_insert_with(|| {
            seat.process.signal(Signal::TERM);
            Instant::now()
        });
        let grace = pod.metadata.deletion_grace_period_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        if seat.process.is_running() && since.elapsed() < Duration::from_secs(grace.unwrap_or(30)) {
            return Some(seat);
        }
        seat.process.stop().await;
        self.forget(pod).await;
        None
    }

    async fn forget(&self, pod: &Pod) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap());
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        // Somebody else may have done it meanwhile.
        let _ = pods.delete(&pod.name_any(), &now).await;
    }

    async fn seat(&self, pod: &Pod, restarts: usize) -> Seat {
        let (namespace, name) = (pod.namespace().unwrap(), pod.name_any());
        let spec = pod.spec.as_ref().unwrap();
        if spec.node_name.is_none() {
            // Else the API server would delete it without a grace.
            let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
                "target": { "apiVersion": "v1", "kind": "Node", "name": "stand-in" } });
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
            let parameters = PostParams::default();
            pods.create_subresource::<Value, Value>("binding", &name, &parameters, &binding).await.unwrap();
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = pod::command(spec, &namespace, &name, &format!("127.0.0.1:{port}"));
        let account = spec.service_account_name.as_deref().unwrap();
        command.env("KUBECONFIG", pod::kubeconfig(&self.plane, &self.folder, &namespace, account).await);
        let process = Held::start(&command, &log(&self.folder, &namespace, &name), None).await.unwrap();
        Seat { process, port, restarts, told: None, ends: None }
    }

    // Writes the pod's status, where it is another.
    async fn tell(&self, pod: &Pod, mut seat: Seat) -> Seat {
        let url = format!("http://127.0.0.1:{}/readyz", seat.port);
        let is_ready = self.http.get(url).send().await.is_ok_and(|answer| answer.status().is_success());
        if seat.told == Some((is_ready, seat.restarts)) {
            return seat;
        }
        let ready = if is_ready { "True" } else { "False" };
        let condition = |type_: &str, status: &str| {
            let since = jiff::Timestamp::now().to_string();
            json!({ "type": type_, "status": status, "lastTransitionTime": since })
        };
        let container = pod.spec.as_ref().unwrap().containers.first().unwrap();
        let status = json!({ "status": {
            "phase": "Running",
            "conditions": [condition("PodScheduled", "True"), condition("Initialized", "True"),
                condition("ContainersReady", ready), condition("Ready", ready)],
            "containerStatuses": [{ "name": container.name, "image": container.image, "imageID": "", "ready": is_ready,
                "restartCount": seat.restarts, "started": true, "state": { "running": {} } }],
        } });
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap());
        // It may be gone by now; then the next look tells.
        if pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&status)).await.is_ok() {
            seat.told = Some((is_ready, seat.restarts));
        }
        seat
    }
}
