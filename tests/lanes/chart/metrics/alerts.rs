//! The alerts and the cases that test them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{chart_file, root};

pub struct Alerts {
    rules: Vec<Value>,
    cases: Value,
}

fn yaml(path: &std::path::Path) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

impl Alerts {
    pub fn read() -> Self {
        let rules = yaml(&chart_file("alerts.yaml"));
        let groups = rules["groups"].as_array().unwrap();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).cloned().collect();
        Self { rules, cases: yaml(&root().join("tests/lanes/chart/alerts_test.yaml")) }
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.rules.iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect()
    }

    pub fn expressions(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule["expr"].as_str().unwrap())
    }

    /// Those without a case in which they fire, or without one in which they do not.
    pub fn untested(&self) -> Vec<String> {
        let mut counted: BTreeMap<String, [usize; 2]> = self.names().into_iter().map(|name| (name, [0; 2])).collect();
        for story in self.cases["tests"].as_array().unwrap() {
            for case in story["alert_rule_test"].as_array().unwrap() {
                let name = case["alertname"].as_str().unwrap();
                let fires = !case["exp_alerts"].as_array().unwrap().is_empty();
                counted.get_mut(name).unwrap_or_else(|| panic!("there is no alert {name}"))[usize::from(fires)] += 1;
            }
        }
        counted.retain(|_, cases| cases.contains(&0));
        counted.into_keys().collect()
    }

    /// Those whose runbook is not a section of the book, and sections that are no alert's.
    pub fn without_runbook(&self) -> Vec<String> {
        let text = std::fs::read_to_string(root().join("docs/operations/alerts.md")).unwrap();
        let sections: BTreeSet<String> =
            text.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect();
        let mut wrong: Vec<String> = sections.symmetric_difference(&self.names()).cloned().collect();
        for rule in &self.rules {
            let name = rule["alert"].as_str().unwrap();
            let runbook = format!("docs/operations/alerts.md#{}", name.to_lowercase());
            let severities = ["critical", "warning", "info"].map(Value::from);
            let annotations = &rule["annotations"];
            let is_said = ["summary", "description"].iter().all(|key| annotations[key].is_string());
            if annotations["runbook_url"] != *runbook || !is_said || !severities.contains(&rule["labels"]["severity"]) {
                wrong.push(name.to_owned());
            }
        }
        wrong
    }

    /// The reasons of sets that some alert tells of.
    pub fn reasons(&self) -> BTreeSet<String> {
        let scope = regex::Regex::new(r#"ptset_sets\{reason=~?"([^"]+)"\}"#).unwrap();
        let all = super::names::reasons();
        let alternatives = self.expressions().flat_map(|expression| {
            let found = scope.captures_iter(expression).map(|found| found[1].to_owned());
            found.collect::<Vec<_>>()
        });
        let patterns: Vec<regex::Regex> =
            alternatives.map(|pattern| regex::Regex::new(&format!("^(?:{pattern})$")).unwrap()).collect();
        all.into_iter().filter(|reason| patterns.iter().any(|pattern| pattern.is_match(reason))).collect()
    }
}
