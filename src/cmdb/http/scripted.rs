//! An HTTP client that gives scripted answers: for tests. The bytes of an answer go through the same HTTP parser as those
//! of a connection, within the process.

use std::sync::Arc;

use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use reqwest::{Body, Request, Response};
use tokio::io::{AsyncWriteExt as _, DuplexStream, copy, duplex, sink, split};

/// One piece of an answer.
#[derive(Clone, Debug)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The same bytes, repeated this many times.
    Repeat(&'static [u8], usize),
    /// Nothing more, for ever.
    Hang,
    /// A pause.
    Pause(std::time::Duration),
}

type Answers = dyn Fn(&Request) -> Vec<Piece> + Send + Sync;

/// Says what answers a request.
#[derive(Clone)]
pub struct Script(Arc<Answers>);

impl Script {
    /// Answers each request with what this returns.
    pub fn new(answers: impl Fn(&Request) -> Vec<Piece> + Send + Sync + 'static) -> Self {
        Self(Arc::new(answers))
    }

    /// The answer to a request. `None`: it is none.
    pub async fn answer(&self, request: Request) -> Option<Response> {
        let pieces = (self.0)(&request);
        let (ours, theirs) = duplex(64 << 10);
        let (mut sender, connection) = handshake(TokioIo::new(ours)).await.ok()?;
        tokio::spawn(connection);
        tokio::spawn(serve(theirs, pieces));
        let request: hyper::Request<Body> = request.try_into().ok()?;
        let response = sender.send_request(request).await.ok()?;
        Some(Response::from(response.map(Body::wrap)))
    }
}

async fn serve(stream: DuplexStream, pieces: Vec<Piece>) -> std::io::Result<()> {
    let (mut received, mut sent) = split(stream);
    let answer = async move {
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => sent.write_all(&bytes).await?,
                Piece::Pause(pause) => tokio::time::sleep(pause).await,
                Piece::Repeat(bytes, mut left) => {
                    let block = bytes.repeat((64 << 10) / bytes.len());
                    while left > 0 {
                        let part = left.min(block.len() / bytes.len());
                        sent.write_all(&block[..part * bytes.len()]).await?;
                        left -= part;
                    }
                }
                Piece::Hang => std::future::pending().await,
            }
        }
        sent.shutdown().await
    };
    let mut nowhere = sink();
    let (answered, _) = tokio::join!(answer, copy(&mut received, &mut nowhere));
    answered
}
