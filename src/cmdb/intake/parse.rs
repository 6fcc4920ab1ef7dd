//! Parses a body. Large ones are parsed on threads of their own, a few at a time: two threads serve everything else.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use tokio::task::spawn_blocking;

use super::budget::Share;
use super::shape;
use crate::cmdb::wire::{Envelope, Success};

/// Size from which a body is parsed on a thread of its own.
const OWN_THREAD_BYTES: usize = 64 << 10;

/// A body, as far as it was understood.
#[derive(Debug)]
pub enum Parsed<T> {
    /// The envelope, and the data of a success. `None`: the call failed, or the data have another form.
    Answer(Envelope, Option<T>),
    /// It has more values, or deeper ones, than any answer of CMDB.
    OutOfShape,
    /// It is no answer of CMDB.
    Other,
}

/// Parses a body, and gives back its share of the budget.
pub async fn parse<T: DeserializeOwned + Send + 'static>(bytes: Vec<u8>, share: Share) -> Parsed<T> {
    if bytes.len() < OWN_THREAD_BYTES {
        return parse_here(&bytes);
    }
    let turn = Arc::clone(&share.budget().parsers).acquire_owned().await;
    // Turn and share go with the bytes, which are there until the thread has ended, also when this future is dropped.
    let parsing = spawn_blocking(move || {
        let parsed = parse_here(&bytes);
        drop((bytes, share, turn));
        parsed
    });
    parsing.await.unwrap_or(Parsed::Other)
}

fn parse_here<T: DeserializeOwned>(bytes: &[u8]) -> Parsed<T> {
    if !shape::is_bounded(bytes) {
        return Parsed::OutOfShape;
    }
    let Ok(envelope) = serde_json::from_slice::<Envelope>(bytes) else { return Parsed::Other };
    let success = envelope.is_success().then(|| serde_json::from_slice::<Success<T>>(bytes).ok()).flatten();
    Parsed::Answer(envelope, success.map(|success| success.data))
}
