//! One call over one connection, from its request to the end of its answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::TrySendError;
use reqwest::{Body, Response};

use super::connector::Connection;
use super::idle::Idle;

/// A call. When it is dropped before the end of its answer, its connection ends at once.
pub struct Call {
    // Until the end of the answer.
    connection: Option<Connection>,
    origin: String,
    idle: Arc<Idle>,
}

// The body of an answer.
struct Answer {
    incoming: Incoming,
    call: Call,
}

impl Call {
    /// A call over this connection, which is idle after it.
    pub fn new(connection: Connection, origin: &str, idle: &Arc<Idle>) -> Self {
        connection.meter.restart();
        Self { connection: Some(connection), origin: origin.to_owned(), idle: Arc::clone(idle) }
    }

    /// Sends the request and waits for the head of its answer. The error has the request if nothing of it was sent.
    pub async fn send(mut self, request: hyper::Request<Body>) -> Result<Response, TrySendError<hyper::Request<Body>>> {
        // There is one until `finish`.
        let sent = self.connection.as_mut().map(|connection| connection.sender.try_send_request(request));
        match sent {
            Some(sent) => sent
                .await
                .map(|response| Response::from(response.map(|incoming| Body::wrap(Answer { incoming, call: self })))),
            None => std::future::pending().await,
        }
    }

    fn count_body(&self, bytes: usize) {
        if let Some(connection) = &self.connection {
            connection.meter.count_body(bytes);
        }
    }

    fn finish(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.idle.put(std::mem::take(&mut self.origin), connection);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.task.abort();
        }
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => self.call.count_body(frame.data_ref().map_or(0, Bytes::len)),
            Some(Err(_)) => {}
            None => self.call.finish(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

// Its reader may know where the content ends without asking for the end of the body.
impl Drop for Answer {
    fn drop(&mut self) {
        if matches!(Pin::new(&mut self.incoming).poll_frame(&mut Context::from_waker(Waker::noop())), Poll::Ready(None))
        {
            self.call.finish();
        }
    }
}
