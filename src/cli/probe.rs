//! `ptset probe`: asks a running operator for one of its URLs, such as `/readyz`.

use std::time::Duration;

use anyhow::Context as _;

use super::exit_status::ExitStatus;

// Longest wait for the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Options of `ptset probe`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// What is asked for, for example <http://127.0.0.1:8080/readyz>
    #[arg(long, value_name = "URL")]
    url: reqwest::Url,
}

/// Prints the answer.
pub fn probe(options: Options) -> anyhow::Result<ExitStatus> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, text) = runtime.block_on(ask(options.url))?;
    println!("{status}: {}", text.trim_end());
    Ok(if status.is_success() { ExitStatus::Success } else { ExitStatus::Failure })
}

async fn ask(url: reqwest::Url) -> anyhow::Result<(reqwest::StatusCode, String)> {
    let place = url.to_string();
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
    let answer = client.get(url).send().await.with_context(|| format!("nothing answers at {place}"))?;
    Ok((answer.status(), answer.text().await.with_context(|| format!("the answer of {place} is cut off"))?))
}
