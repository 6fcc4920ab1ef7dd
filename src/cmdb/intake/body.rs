//! Reads the body of an answer, up to a size.

use reqwest::Response;

/// Reads a whole body. `None` when it is larger than `max_bytes`.
pub async fn read_bounded(mut response: Response, max_bytes: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > max_bytes {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}
