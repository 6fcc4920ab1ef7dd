//! Reads the body of an answer: decompressed, up to a size, and within the budget.

use std::io::{self, ErrorKind};
use std::pin::Pin;

use async_compression::tokio::bufread::GzipDecoder;
use futures::stream::try_unfold;
use reqwest::Response;
use reqwest::header::CONTENT_ENCODING;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::consume_budget;
use tokio_util::io::StreamReader;

use super::budget::Share;

/// Most bytes by which a compressed body is larger than its content.
const COMPRESSION_BYTES: usize = 64 << 10;

/// Why a body was not read.
#[derive(Debug)]
pub enum BodyError {
    /// It is larger than permitted.
    TooLarge,
    /// It did not come to its end.
    Broken,
    /// It took long, and the memory is needed for others.
    Revoked,
}

impl BodyError {
    #[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
    fn of(error: io::Error) -> Self {
        if error.kind() == ErrorKind::FileTooLarge { Self::TooLarge } else { Self::Broken }
    }
}

/// Reads a whole body of at most `max_bytes`, after decompression, and what it takes of the budget with it.
pub async fn read(response: Response, max_bytes: usize, share: &mut Share) -> Result<Vec<u8>, BodyError> {
    let mut reader = reader(response, max_bytes);
    let mut bytes = Vec::new();
    loop {
        // Full: either this was all, or the body needs a larger place.
        let limit = share.bytes().min(max_bytes);
        if bytes.len() >= limit {
            let mut next = [0; 1];
            let read = share.while_held(reader.read(&mut next)).await.ok_or(BodyError::Revoked)?;
            if read.map_err(BodyError::of)? == 0 {
                return Ok(bytes);
            }
            if limit >= max_bytes || !share.grow().await.ok_or(BodyError::Revoked)? {
                return Err(BodyError::TooLarge);
            }
            bytes.reserve_exact(share.bytes().min(max_bytes).saturating_sub(bytes.len()));
            bytes.extend_from_slice(&next);
            continue;
        }

        let room = u64::try_from(limit.saturating_sub(bytes.len())).unwrap_or_default();
        let mut part = (&mut reader).take(room);
        let read = share.while_held(part.read_buf(&mut bytes)).await.ok_or(BodyError::Revoked)?;
        if read.map_err(BodyError::of)? == 0 {
            return Ok(bytes);
        }
    }
}

// The decompressed body. What is compressed in another way than we asked for is read as it is, and is then no JSON.
fn reader(response: Response, max_bytes: usize) -> Pin<Box<dyn AsyncRead + Send>> {
    let encoding = response.headers().get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    let is_gzip = encoding.is_some_and(|encoding| encoding.trim().eq_ignore_ascii_case("gzip"));

    // Compressed data without any content may have no end either.
    let max_received = max_bytes.saturating_add(COMPRESSION_BYTES);
    let chunks = try_unfold((response, 0_usize), move |(mut response, received)| async move {
        // A server that sends as fast as it is read takes turns with other tasks.
        consume_budget().await;
        let Some(chunk) = response.chunk().await.map_err(io::Error::other)? else { return Ok(None) };
        let received = received.saturating_add(chunk.len());
        if received > max_received {
            return Err(io::Error::from(ErrorKind::FileTooLarge));
        }
        Ok(Some((chunk, (response, received))))
    });

    let plain = StreamReader::new(Box::pin(chunks));
    if is_gzip { Box::pin(GzipDecoder::new(plain)) } else { Box::pin(plain) }
}
