//! Reads the body of an answer: decompressed, up to a size, and within the budget.

use std::io;
use std::pin::Pin;

use async_compression::tokio::bufread::GzipDecoder;
use futures::stream::try_unfold;
use reqwest::Response;
use reqwest::header::CONTENT_ENCODING;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::io::StreamReader;

use super::budget::Share;

/// Why a body was not read.
#[derive(Debug)]
pub enum BodyError {
    /// It is larger than permitted.
    TooLarge,
    /// It did not come to its end.
    Broken,
}

/// Reads a whole body of at most `max_bytes`, after decompression, and what it takes of the budget with it.
pub async fn read(response: Response, max_bytes: usize, share: &mut Share) -> Result<Vec<u8>, BodyError> {
    let mut reader = reader(response);
    let mut bytes = Vec::new();
    loop {
        // Full: either this was all, or the body needs a larger place.
        let limit = share.bytes().min(max_bytes);
        if bytes.len() >= limit {
            let mut next = [0; 1];
            if reader.read(&mut next).await.map_err(|_| BodyError::Broken)? == 0 {
                return Ok(bytes);
            }
            if limit >= max_bytes || !share.grow().await {
                return Err(BodyError::TooLarge);
            }
            bytes.reserve_exact(share.bytes().min(max_bytes).saturating_sub(bytes.len()));
            bytes.extend_from_slice(&next);
            continue;
        }

        let room = u64::try_from(limit.saturating_sub(bytes.len())).unwrap_or_default();
        if (&mut reader).take(room).read_buf(&mut bytes).await.map_err(|_| BodyError::Broken)? == 0 {
            return Ok(bytes);
        }
    }
}

// The decompressed body. What is compressed in another way than we asked for is read as it is, and is then no JSON.
fn reader(response: Response) -> Pin<Box<dyn AsyncRead + Send>> {
    let encoding = response.headers().get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    let is_gzip = encoding.is_some_and(|encoding| encoding.trim().eq_ignore_ascii_case("gzip"));
    let chunks = try_unfold(response, |mut response| async move {
        let chunk = response.chunk().await.map_err(io::Error::other)?;
        Ok::<_, io::Error>(chunk.map(|chunk| (chunk, response)))
    });
    let plain = StreamReader::new(Box::pin(chunks));
    if is_gzip { Box::pin(GzipDecoder::new(plain)) } else { Box::pin(plain) }
}
