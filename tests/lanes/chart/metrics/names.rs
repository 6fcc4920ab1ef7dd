//! Which metrics, and which of their labels' values, are named where.

use std::collections::BTreeSet;

use process_template_operator::controller;
use regex::Regex;

use super::root;
use test_support::documents;
use test_support::scrape::Scrape;

/// What is named.
#[derive(Default)]
pub struct Used {
    // Where, and the family.
    families: Vec<(String, String)>,
    // Where, the family, the label, and a pattern of its values.
    labels: Vec<[String; 4]>,
}

// They come from whoever scrapes.
const OF_TARGETS: [&str; 4] = ["namespace", "job", "instance", "le"];

impl Used {
    /// What queries name, with the labels by which they choose.
    pub fn expressions<'a>(&mut self, place: &str, expressions: impl Iterator<Item = &'a str>) {
        let choice = Regex::new(r"\b(ptset_[a-z_]+)(?:\{([^}]*)\})?").unwrap();
        let matcher = Regex::new(r#"(\w+)\s*(?:=~|!=|!~|=)\s*"([^"]*)""#).unwrap();
        for found in expressions.flat_map(|expression| choice.captures_iter(expression)) {
            self.families.push((place.to_owned(), found[1].to_owned()));
            let matchers = found.get(2).map_or("", |matchers| matchers.as_str());
            for label in matcher.captures_iter(matchers).filter(|label| !OF_TARGETS.contains(&&label[1])) {
                for value in label[2].split('|') {
                    let label = [place, &found[1], &label[1], value];
                    self.labels.push(label.map(str::to_owned));
                }
            }
        }
    }

    /// What the documents name.
    pub fn documents(&mut self) {
        for document in documents() {
            let place = document.strip_prefix(root()).unwrap().display().to_string();
            let text = std::fs::read_to_string(&document).unwrap();
            self.expressions(&place, std::iter::once(text.as_str()));
        }
    }

    /// What is named and is not there.
    pub fn dead(&self, scrape: &Scrape) -> Vec<String> {
        let known = documented_names(scrape);
        let of_family = |name: &str| {
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
            known.contains(name) || base.is_some_and(|base| is_histogram(scrape, base))
        };
        let mut dead = BTreeSet::new();
        for (place, name) in self.families.iter().filter(|(_, name)| !of_family(name)) {
            dead.insert(format!("{place}: {name}"));
        }
        for [place, name, label, pattern] in &self.labels {
            let pattern = Regex::new(&format!("^(?:{pattern})$")).unwrap();
            if !values(scrape, name, label).iter().any(|value| pattern.is_match(value)) {
                dead.insert(format!("{place}: {name} with {label}={pattern}"));
            }
        }
        dead.into_iter().collect()
    }
}

/// Families that the reference does not have.
pub fn undocumented(scrape: &Scrape) -> Vec<String> {
    let reference = std::fs::read_to_string(root().join("docs/reference/metrics.md")).unwrap();
    let sections: BTreeSet<&str> = reference.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    documented_names(scrape).into_iter().filter(|name| !sections.contains(name.as_str())).collect()
}

// As a query names them.
fn documented_names(scrape: &Scrape) -> BTreeSet<String> {
    let suffix = |kind: &str| if kind == "counter" { "_total" } else { "" };
    scrape.families.iter().map(|(name, family)| format!("{name}{}", suffix(&family.kind))).collect()
}

fn is_histogram(scrape: &Scrape, name: &str) -> bool {
    scrape.families.get(name).is_some_and(|family| family.kind == "histogram")
}

/// Every value of a label.
pub fn values(scrape: &Scrape, name: &str, label: &str) -> BTreeSet<String> {
    let family = &scrape.families[name.trim_end_matches("_total")];
    let pattern = Regex::new(&format!(r#"[{{,]{label}="([^"]*)""#)).unwrap();
    let found = family.samples.keys().filter_map(|series| Some(pattern.captures(series)?[1].to_owned()));
    found.collect()
}

/// Every reason of Ready.
pub fn reasons() -> BTreeSet<String> {
    controller::reasons().into_iter().map(str::to_owned).collect()
}
