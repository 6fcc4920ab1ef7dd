//! An examination as it is printed.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::step::{Outcome, Step};
use crate::api::ConnectionKind;
use crate::cli::manifest::files::Finding;
use crate::controller::ConnectionName;

/// A connection that was examined.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Which it is; None: that of the command line.
    pub name: Option<ConnectionName>,
    /// What came of it, in the order of the steps.
    pub steps: Vec<Step>,
}

impl Examined {
    /// Whether something is wrong with it.
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

fn total(examined: &[Examined]) -> [usize; 3] {
    [Outcome::Ok, Outcome::Failed, Outcome::Skipped].map(|outcome| examined.iter().map(|one| one.count(outcome)).sum())
}

/// For people: a line for each step.
pub fn to_text(examined: &[Examined], findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "{finding}");
    }
    for one in examined {
        let _ = writeln!(text, "{}:", one.title());
        for Step { name, outcome, fact, advice } in &one.steps {
            let _ = writeln!(text, "  {:<8} {:<12} {fact}", outcome.as_str(), name.as_str());
            if !advice.is_empty() {
                let _ = writeln!(text, "  {:<21} -> {advice}", "");
            }
        }
    }
    let [ok, failed, skipped] = total(examined);
    let _ = writeln!(text, "{ok} ok, {failed} failed, {skipped} skipped");
    text
}

/// For programs.
pub fn to_json(examined: &[Examined], findings: &[Finding]) -> Value {
    let [ok, failed, skipped] = total(examined);
    json!({
        "connections": examined.iter().map(Examined::to_json).collect::<Value>(),
        "findings": findings.iter().map(Finding::to_json).collect::<Value>(),
        "summary": { "ok": ok, "failed": failed, "skipped": skipped },
    })
}
