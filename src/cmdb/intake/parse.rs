//! Parses a body. Large ones are parsed on threads of their own, a few at a time: two threads serve everything else.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::budget::Share;
use super::shape;
use super::too_large::TooLarge;
use crate::cmdb::wire::{Data, Envelope, Success};

/// Size from which a body is parsed on a thread of its own.
const OWN_THREAD_BYTES: usize = 64 << 10;

/// A body, as far as it was understood.
#[derive(Debug)]
pub enum Parsed<T> {
    /// The envelope, and the data of a success. `None`: the call failed, or the data have another form.
    Answer(Envelope, Option<T>),
    /// A success with something larger than any of CMDB's.
    TooLarge(Envelope, TooLarge),
    /// There was no memory for the list in time.
    NoRoom,
    /// It has more values, or deeper ones, than any answer of CMDB.
    OutOfShape,
    /// It is no answer of CMDB.
    Other,
}

/// Parses a body, exchanges its share of the budget for bodies for one of that for lists, and gives the former back.
pub async fn parse<T: Data>(bytes: Vec<u8>, share: Share) -> Parsed<T> {
    let (lists, owner) = (Arc::clone(&share.budget().lists), Arc::clone(share.owner()));
    let (mut parsed, share) = parsed::<T>(bytes, share).await;
    if let Parsed::Answer(_, Some(data)) = &mut parsed {
        let Some(held) = lists.take(&owner, data.demand()).await else { return Parsed::NoRoom };
        data.hold(held);
    }
    drop(share);
    parsed
}

async fn parsed<T: Data>(bytes: Vec<u8>, share: Share) -> (Parsed<T>, Option<Share>) {
    if bytes.len() < OWN_THREAD_BYTES {
        return (parse_here(&bytes), Some(share));
    }
    let turn = Arc::clone(&share.budget().parsers).acquire_owned().await;
    // Turn and share go with the bytes, which are there until the thread has ended, also when this future is dropped.
    let parsing = spawn_blocking(move || {
        let parsed = parse_here(&bytes);
        drop((bytes, turn));
        (parsed, Some(share))
    });
    parsing.await.unwrap_or((Parsed::Other, None))
}

fn parse_here<T: Data>(bytes: &[u8]) -> Parsed<T> {
    if !shape::is_bounded(bytes) {
        return Parsed::OutOfShape;
    }
    let Ok(envelope) = serde_json::from_slice::<Envelope>(bytes) else { return Parsed::Other };
    if !envelope.is_success() {
        return Parsed::Answer(envelope, None);
    }
    match serde_json::from_slice::<Success<T>>(bytes) {
        Ok(success) => Parsed::Answer(envelope, Some(success.data)),
        Err(error) => match TooLarge::of(&error) {
            Some(what) => Parsed::TooLarge(envelope, what),
            None => Parsed::Answer(envelope, None),
        },
    }
}
