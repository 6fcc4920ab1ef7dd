use std::sync::Arc;

use axum::http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;
use crate::controller::tasks::TaskFailure;

/// An API server that keeps one lease, and answers after a time.
#[derive(Clone, Default)]
struct Server {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    // None: it never answers.
    takes: Option<Duration>,
}

impl Server {
    fn new(takes: Duration) -> Self {
        let server = Self::default();
        server.takes(Some(takes));
        server
    }

    fn takes(&self, takes: Option<Duration>) {
        self.state.lock().takes = takes;
    }

    fn lease(&self, change: impl FnOnce(&mut Option<Value>)) {
        change(&mut self.state.lock().lease);
    }

    fn holder(&self) -> Value {
        self.state.lock().lease.clone().unwrap_or_default()["spec"]["holderIdentity"].clone()
    }

    fn election(&self) -> Election {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        Election {
            client: Client::new(service, "shop"),
            namespace: "shop".to_owned(),
            name: "ptset".to_owned(),
            identity: "me".to_owned(),
            terms: Terms::of_seconds(15),
            working: TaskTracker::new(),
        }
    }

    // What is asked is done; the answer takes its time.
    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        let method = request.method().clone();
        let body = request.into_body().collect_bytes().await.unwrap();
        let (takes, (code, answer)) = {
            let mut state = self.state.lock();
            (state.takes, state.do_it(&method, serde_json::from_slice(&body).ok()))
        };
        match takes {
            Some(takes) => sleep(takes).await,
            None => std::future::pending().await,
        }
        let body = Body::from(serde_json::to_vec(&answer).unwrap());
        Ok(Response::builder().status(code).body(body).unwrap())
    }
}

impl State {
    fn do_it(&mut self, method: &Method, sent: Option<Value>) -> (StatusCode, Value) {
        let refused = |code: StatusCode| {
            (
                code,
                json!({ "kind": "Status", "status": "Failure", "code": code.as_u16(), "message": "", "reason": code.canonical_reason().unwrap().replace(' ', "") }),
            )
        };
        let version = self.lease.as_ref().map(|lease| lease["metadata"]["resourceVersion"].clone());
        match (method, sent) {
            (&Method::GET, _) => match &self.lease {
                Some(lease) => (StatusCode::OK, lease.clone()),
                None => refused(StatusCode::NOT_FOUND),
            },
            (&Method::PUT, _) if version.is_none() => refused(StatusCode::NOT_FOUND),
            (&Method::PUT, Some(sent)) if Some(&sent["metadata"]["resourceVersion"]) != version.as_ref() => {
                refused(StatusCode::CONFLICT)
            }
            (_, Some(mut sent)) => {
                self.version += 1;
                sent["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.lease = Some(sent.clone());
                (StatusCode::OK, sent)
            }
            (_, None) => refused(StatusCode::BAD_REQUEST),
        }
    }
}

/// A candidate that runs, and what became of it.
struct Running {
    leadership: Arc<Leadership>,
    report_standing: Arc<Mutex<Vec<LeadershipState>>>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<TaskResult>,
}

impl Running {
    fn new(server: &Server) -> Self {
        let leadership = Arc::<Leadership>::default();
        let report_standing = Arc::<Mutex<Vec<LeadershipState>>>::default();
        let shutdown = CancellationToken::new();
        let (election, open, told, stop) =
            (server.election(), leadership.clone(), report_standing.clone(), shutdown.clone());
        let task = tokio::spawn(async move {
            let tell = |standing: &LeadershipState| {
                let mut told = told.lock();
                if told.last() != Some(standing) {
                    told.push(standing.clone());
                }
            };
            let work = |stop: CancellationToken| async move {
                stop.cancelled().await;
                Ok(())
            };
            election.run(&open, tell, work, &stop).await
        });
        Self { leadership, report_standing, shutdown, task }
    }

    fn report_standing(&self) -> Vec<LeadershipState> {
        self.report_standing.lock().clone()
    }

    async fn ends_within(self, time: Duration) {
        self.shutdown.cancel();
        timeout(time, self.task).await.unwrap().unwrap().unwrap();
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_leader_whose_api_server_hangs_stops_its_work_when_its_lease_is_lost() {
    let server = Server::new(Duration::ZERO);
    let running = Running::new(&server);
    sleep(5 * SECOND).await;
    assert_eq!(running.report_standing(), [LeadershipState::Leads]);
    server.takes(None);
    sleep(11 * SECOND).await;
    assert!(!running.leadership.is_open());
    assert_eq!(running.report_standing()[..2], [LeadershipState::Leads, LeadershipState::StandsBy]);
    running.ends_within(10 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn who_gets_no_answer_about_the_lease_says_so_and_ends_when_told() {
    let server = Server::default();
    let running = Running::new(&server);
    sleep(11 * SECOND).await;
    assert!(matches!(running.report_standing()[..], [LeadershipState::Unknown(_)]), "{:?}", running.report_standing());
    running.ends_within(6 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_api_server_does_not_cost_the_lease() {
    for takes in [2500, 4900] {
        let server = Server::new(Duration::from_millis(takes));
        let running = Running::new(&server);
        sleep(300 * SECOND).await;
        assert_eq!(running.report_standing(), [LeadershipState::Leads], "{takes} ms");
        assert!(running.leadership.is_open(), "{takes} ms");
        running.ends_within(20 * SECOND).await;
        assert_eq!(server.holder(), json!(""), "{takes} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_is_deleted_or_taken_writes_nothing_after_its_next_look() {
    let deleted = |lease: &mut Option<Value>| *lease = None;
    let taken = |lease: &mut Option<Value>| {
        let lease = lease.as_mut().unwrap();
        lease["spec"]["holderIdentity"] = json!("other");
        lease["metadata"]["resourceVersion"] = json!("other");
    };
    for change in [&deleted as &dyn Fn(&mut Option<Value>), &taken] {
        let server = Server::new(Duration::ZERO);
        let running = Running::new(&server);
        sleep(5 * SECOND).await;
        server.lease(change);
        sleep(Duration::from_millis(2100)).await;
        assert!(!running.leadership.is_open());
        assert_eq!(running.report_standing(), [LeadershipState::Leads, LeadershipState::StandsBy]);
        running.ends_within(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_work_fails_gives_the_lease_back_and_names_the_task() {
    let ended = |result: TaskResult| async move { result };
    for (returns, expected) in [
        (Ok(()), TaskFailure::Ended("controller")),
        (Err(TaskFailure::Ended("watch of namespaces")), TaskFailure::Ended("watch of namespaces")),
    ] {
        let (server, leadership, shutdown) = (Server::default(), Leadership::default(), CancellationToken::new());
        server.takes(Some(Duration::ZERO));
        let work = |_| ended(returns.clone());
        let result = server.election().run(&leadership, |_| {}, work, &shutdown).await;
        assert_eq!(result, Err(expected));
        assert!(!leadership.is_open());
        assert_eq!(server.holder(), json!(""));
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_panicked_gives_the_lease_back_when_its_work_has_ended() {
    let (server, leadership, shutdown) = (Server::new(Duration::ZERO), Leadership::default(), CancellationToken::new());
    let election = Arc::new(server.election());
    let held = {
        let (election, shutdown) = (Arc::clone(&election), shutdown.clone());
        tokio::spawn(async move {
            let work = |stop: CancellationToken| async move {
                stop.cancelled().await;
                sleep(SECOND).await;
                Ok(())
            };
            let panics = |standing: &LeadershipState| assert_ne!(*standing, LeadershipState::StandsBy);
            election.run(&Leadership::default(), panics, work, &shutdown).await
        })
    };
    sleep(5 * SECOND).await;
    server.lease(|lease| lease.as_mut().unwrap()["metadata"]["resourceVersion"] = json!("another"));
    server.takes(None);
    assert!(held.await.unwrap_err().is_panic());
    server.takes(Some(Duration::ZERO));
    assert_eq!(server.holder(), json!("me"));
    shutdown.cancel();
    election.give_back(&leadership).await;
    assert_eq!(server.holder(), json!(""));
    assert!(election.working.is_empty());
}
