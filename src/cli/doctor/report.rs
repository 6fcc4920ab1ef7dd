//! Prints the results of a check, as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::step::{Outcome, Step};
use crate::api::ConnectionKind;
use crate::cli::manifest::finding::Finding;
use crate::controller::ConnectionName;

/// The results for one connection.
#[derive(Clone, Debug)]
pub struct ConnectionReport {
    /// The name of the connection; None: it was given on the command line.
    pub name: Option<ConnectionName>,
    /// The steps in their order.
    pub steps: Vec<Step>,
}

impl ConnectionReport {
    /// Whether a step failed.
    pub fn has_failed(&self) -> bool {
        self.count(Outcome::Failed) > 0
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.steps.iter().filter(|step| step.outcome == outcome).count()
    }

    fn title(&self) -> String {
        match &self.name {
            None => "the connection of --url".to_owned(),
            Some(name) if name.is_shared() => name.to_string(),
            Some(name) => format!("{name} of namespace {:?}", name.namespace),
        }
    }

    fn to_json(&self) -> Value {
        let kind = self.name.as_ref().map(|name| match name.kind {
            ConnectionKind::CmdbConnection => "CmdbConnection",
            ConnectionKind::ClusterCmdbConnection => "ClusterCmdbConnection",
        });
        let namespace = self.name.as_ref().map(|name| &name.namespace).filter(|namespace| !namespace.is_empty());
        let steps = self.steps.iter().map(|step| {
            json!({
                "step": step.name.as_str(), "outcome": step.outcome.as_str(), "fact": step.fact,
                "advice": Some(&step.advice).filter(|advice| !advice.is_empty()),
            })
        });
        json!({
            "kind": kind, "namespace": namespace, "name": self.name.as_ref().map(|name| &name.name),
            "steps": steps.collect::<Value>(),
        })
    }
}

fn total(reports: &[ConnectionReport]) -> [usize; 3] {
    [Outcome::Ok, Outcome::Failed, Outcome::Skipped]
        .map(|outcome| reports.iter().map(|report| report.count(outcome)).sum())
}

/// The text for people: one line a step.
pub fn to_text(reports: &[ConnectionReport], findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "{finding}");
    }
    for report in reports {
        let _ = writeln!(text, "{}:", report.title());
        for Step { name, outcome, fact, advice } in &report.steps {
            let _ = writeln!(text, "  {:<8} {:<12} {fact}", outcome.as_str(), name.as_str());
            if !advice.is_empty() {
                let _ = writeln!(text, "  {:<21} -> {advice}", "");
            }
        }
    }
    let [ok, failed, skipped] = total(reports);
    let _ = writeln!(text, "{ok} ok, {failed} failed, {skipped} skipped");
    text
}

/// The JSON for programs.
pub fn to_json(reports: &[ConnectionReport], findings: &[Finding]) -> Value {
    let [ok, failed, skipped] = total(reports);
    json!({
        "connections": reports.iter().map(ConnectionReport::to_json).collect::<Value>(),
        "findings": findings.iter().map(Finding::to_json).collect::<Value>(),
        "summary": { "ok": ok, "failed": failed, "skipped": skipped },
    })
}
