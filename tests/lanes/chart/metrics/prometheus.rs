//! Prometheus, which records a running operator.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cmdb_sim::Simulator;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::dashboard::Target;
use test_support::held::Held;
use test_support::world::PATIENCE;

/// Runs promtool, which must be content.
pub async fn tool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).output().await.unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "promtool {arguments:?}: {}{}", said[0], said[1]);
}

pub struct Prometheus {
    process: Held,
    client: reqwest::Client,
    address: String,
}

impl Prometheus {
    /// Starts one that scrapes this address each second.
    pub async fn start(folder: &Path, target: &str) -> Self {
        let settings = serde_json::json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s" },
            "scrape_configs": [{ "job_name": "ptset",
                "static_configs": [{ "targets": [target], "labels": { "namespace": "ptset-system" } }] }],
        });
        let (file, log) = (folder.join("prometheus.yml"), folder.join("prometheus.log"));
        std::fs::write(&file, settings.to_string()).unwrap();
        let mut command = Command::new("prometheus");
        command.arg("--config.file").arg(&file).arg("--storage.tsdb.path").arg(folder.join("prometheus"));
        command.arg("--web.listen-address=127.0.0.1:0");
        let process = Held::start(&command, &log, None).await.unwrap();
        let deadline = Instant::now() + PATIENCE;
        let address = loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let listens = said.lines().find_map(|line| line.split_once("msg=\"Listening on\" address="));
            if let Some((_, address)) = listens {
                break address.trim().to_owned();
            }
            assert!(Instant::now() < deadline, "Prometheus does not listen: {said}");
            sleep(Duration::from_millis(50)).await;
        };
        Self { process, client: reqwest::Client::builder().no_proxy().build().unwrap(), address }
    }

    /// Waits until this is so in what is recorded.
    pub async fn until(&self, expression: &str, simulator: &Simulator) {
        let deadline = Instant::now() + PATIENCE;
        while self.query(expression).await.is_empty() {
            assert!(Instant::now() < deadline, "{expression} is not recorded; {:?}", simulator.requests().last());
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// The values, at any time since then, of a query of the dashboard; what is no number is not among them.
    pub async fn values(&self, target: &Target, since: SystemTime) -> Vec<f64> {
        if target.is_instant {
            return self.query(&target.expression).await;
        }
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs().to_string();
        let now = seconds(SystemTime::now());
        self.ask("query_range", &target.expression, &[("start", &seconds(since)), ("end", &now), ("step", "1")]).await
    }

    async fn query(&self, expression: &str) -> Vec<f64> {
        self.ask("query", expression, &[]).await
    }

    async fn ask(&self, kind: &str, expression: &str, more: &[(&str, &str)]) -> Vec<f64> {
        let mut url = url::Url::parse(&format!("http://{}/api/v1/{kind}", self.address)).unwrap();
        url.query_pairs_mut().append_pair("query", expression).extend_pairs(more);
        let Ok(response) = self.client.get(url).send().await else { return Vec::new() };
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let series = answer["data"]["result"].as_array().unwrap();
        let points = series.iter().flat_map(|series| match series["values"].as_array() {
            Some(points) => points.clone(),
            None => vec![series["value"].clone()],
        });
        let values = points.map(|point| point[1].as_str().unwrap().parse::<f64>().unwrap());
        values.filter(|value| !value.is_nan()).collect()
    }

    pub async fn end(self) {
        self.process.stop().await;
    }
}
