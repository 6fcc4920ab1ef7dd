//! A miniature Kubernetes API server, in process and without sockets: a stand-in only for tests of time, in which a paused
//! clock must rule everything. Whatever else a test is about, it is about the real API server.
//!
//! It knows no schemas, no defaults, no field managers, no pages and no bookmarks. What it has is what time is spent on:
//! lists, watches that end when their time is up, versions, conflicts, generations, and a record of every request.

mod answers;
mod objects;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use futures::future::BoxFuture;
use kube::Client;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::Service;

pub use objects::Place;
use objects::{Expected, Objects};

/// The server; a copy is the same one.
#[derive(Clone, Default)]
pub struct ApiServer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    objects: Mutex<Objects>,
    // The version of the last change; watches wait for the next.
    version: watch::Sender<u64>,
    requests: Mutex<Vec<Recorded>>,
    is_silent: AtomicBool,
    // Watches deliver nothing.
    are_watches_held: watch::Sender<bool>,
    // How often all watches were ended.
    watch_epoch: watch::Sender<u64>,
    failing: Mutex<Vec<Failing>>,
}

// Requests that fail, and how many of them still do.
struct Failing {
    verb: &'static str,
    plural: &'static str,
    status: StatusCode,
    left: usize,
    // They fail only after they were carried out.
    is_carried_out: bool,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub method: Method,
    pub path: String,
    /// When it came.
    pub at: Instant,
    /// HTTP status of the answer.
    pub status: u16,
}

impl ApiServer {
    /// A client of this server, for a runtime's tasks.
    pub fn client(&self) -> Client {
        Client::new(self.clone(), "default")
    }

    /// Creates an object, or gives it another spec and other annotations, as somebody outside does.
    pub fn apply(&self, place: &Place, object: &Value) -> Arc<Value> {
        let apply = |objects: &mut Objects| {
            if objects.get(place).is_err() {
                return objects.create(place, object.clone());
            }
            objects.update(place, &Expected::default(), |standing| {
                for part in ["spec", "data"] {
                    put(standing, part, &object[part]);
                }
                put(&mut standing["metadata"], "annotations", &object["metadata"]["annotations"]);
            })
        };
        self.change(apply).unwrap()
    }

    /// Gives an object another status, as a backup that is restored does.
    pub fn put_status(&self, place: &Place, status: &Value) {
        let change = |objects: &mut Objects| {
            objects.update(place, &Expected::default(), |standing| put(standing, "status", status))
        };
        self.change(change).unwrap();
    }

    /// Deletes an object, as somebody outside does.
    pub fn delete(&self, place: &Place) {
        self.change(|objects| objects.delete(place)).unwrap();
    }

    /// An object; None when it is gone.
    pub fn get(&self, place: &Place) -> Option<Arc<Value>> {
        self.shared.objects.lock().unwrap().get(place).ok()
    }

    /// All objects of a collection.
    pub fn list(&self, collection: &Place) -> Vec<Arc<Value>> {
        self.shared.objects.lock().unwrap().list(collection)
    }

    /// The next requests of this verb about these objects fail, so many of them.
    pub fn fail(&self, verb: &'static str, plural: &'static str, status: u16, count: usize) {
        self.add_failing(verb, plural, status, count, false);
    }

    /// The next requests of this verb about these objects are carried out, and then fail.
    pub fn fail_late(&self, verb: &'static str, plural: &'static str, status: u16, count: usize) {
        self.add_failing(verb, plural, status, count, true);
    }

    fn add_failing(&self, verb: &'static str, plural: &'static str, status: u16, left: usize, is_carried_out: bool) {
        let status = StatusCode::from_u16(status).unwrap();
        self.shared.failing.lock().unwrap().push(Failing { verb, plural, status, left, is_carried_out });
    }

    /// From now on it answers nothing, or again.
    pub fn set_silent(&self, is_silent: bool) {
        self.shared.is_silent.store(is_silent, Ordering::Relaxed);
    }

    /// From now on no watch delivers anything; or again, with what has changed meanwhile.
    pub fn hold_watches(&self, are_held: bool) {
        self.shared.are_watches_held.send_replace(are_held);
    }

    /// Ends all watches, which are started again where they were.
    pub fn end_watches(&self) {
        self.shared.watch_epoch.send_modify(|epoch| *epoch += 1);
    }

    /// The requests that came, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().unwrap().clone()
    }

    // With what a request fails, and whether it is carried out all the same.
    fn failure(&self, verb: &str, plural: &str) -> Option<(StatusCode, bool)> {
        let mut failing = self.shared.failing.lock().unwrap();
        let found = failing.iter_mut().find(|failing| (failing.verb, failing.plural) == (verb, plural))?;
        found.left -= 1;
        let failure = (found.status, found.is_carried_out);
        failing.retain(|failing| failing.left > 0);
        Some(failure)
    }

    // Changes what is kept, and tells those who watch.
    fn change<T>(&self, change: impl FnOnce(&mut Objects) -> T) -> T {
        let mut objects = self.shared.objects.lock().unwrap();
        let result = change(&mut objects);
        self.shared.version.send_replace(objects.version());
        result
    }
}

fn put(object: &mut Value, key: &str, value: &Value) {
    let Some(object) = object.as_object_mut() else { return };
    if value.is_null() {
        object.remove(key);
    } else {
        object.insert(key.to_owned(), value.clone());
    }
}

impl Service<Request<kube::client::Body>> for ApiServer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let (server, at) = (self.clone(), Instant::now());
        Box::pin(async move {
            if server.shared.is_silent.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let (parts, body) = request.into_parts();
            let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
            let response = server.answer(&parts, &body.collect_bytes().await.unwrap());
            let recorded = Recorded { method, path, at, status: response.status().as_u16() };
            server.shared.requests.lock().unwrap().push(recorded);
            Ok(response)
        })
    }
}
