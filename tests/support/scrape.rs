//! A scrape of the operator, read strictly: what breaks a rule of OpenMetrics is an error.

use std::collections::{BTreeMap, BTreeSet};

/// The families of a scrape, by name.
#[derive(Debug, Default)]
pub struct Scrape {
    pub families: BTreeMap<String, Family>,
}

/// One family.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub unit: Option<String>,
    pub help: String,
    /// By name and labels, as they are written.
    pub samples: BTreeMap<String, f64>,
}

impl Scrape {
    /// Reads a scrape; what is wrong with it, else.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut scrape = Self::default();
        let mut open: Option<(String, Family)> = None;
        let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF and a line feed")?;
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                let (word, rest) = rest.split_once(' ').ok_or(line)?;
                let (name, value) = rest.split_once(' ').ok_or(line)?;
                if open.as_ref().is_none_or(|(open, _)| open != name) {
                    scrape.close(open.replace((name.to_owned(), Family::default())))?;
                }
                let (name, family) = open.as_mut().ok_or(line)?;
                if !family.samples.is_empty() {
                    return Err(format!("{line}: after samples of {name}"));
                }
                match word {
                    "HELP" => value.clone_into(&mut family.help),
                    "TYPE" => value.clone_into(&mut family.kind),
                    "UNIT" => family.unit = Some(value.to_owned()),
                    _ => return Err(format!("{line}: no such descriptor")),
                }
            } else {
                let (name, family) = open.as_mut().ok_or(format!("{line}: of no family"))?;
                sample(name, family, line)?;
            }
        }
        scrape.close(open)?;
        Ok(scrape)
    }

    /// The value of a series, as it is written.
    pub fn value(&self, series: &str) -> f64 {
        let found = self.families.values().find_map(|family| family.samples.get(series));
        *found.unwrap_or_else(|| panic!("there is no {series}"))
    }

    fn close(&mut self, family: Option<(String, Family)>) -> Result<(), String> {
        let Some((name, family)) = family else { return Ok(()) };
        if family.help.is_empty() || family.kind.is_empty() || family.samples.is_empty() {
            return Err(format!("{name} lacks help, type or samples"));
        }
        if family.unit.as_ref().is_some_and(|unit| !name.ends_with(&format!("_{unit}"))) {
            return Err(format!("{name} does not end with its unit"));
        }
        if family.kind == "histogram" {
            histogram(&name, &family)?;
        }
        if self.families.insert(name.clone(), family).is_some() {
            return Err(format!("{name} is there twice"));
        }
        Ok(())
    }
}

fn sample(name: &str, family: &mut Family, line: &str) -> Result<(), String> {
    let (series, value) = line.rsplit_once(' ').ok_or(line)?;
    let value: f64 = value.parse().map_err(|_| format!("{line}: no number"))?;
    let (base, labels) = series.split_once('{').map_or((series, None), |(base, labels)| (base, Some(labels)));
    let suffix = base.strip_prefix(name).ok_or(format!("{line}: not of {name}"))?;
    let suffixes: &[&str] = match family.kind.as_str() {
        "counter" => &["_total"],
        "gauge" => &[""],
        "histogram" => &["_bucket", "_count", "_sum"],
        _ => return Err(format!("{name}: no such type")),
    };
    if !suffixes.contains(&suffix) || value.is_nan() || value < 0.0 {
        return Err(format!("{line}: not a sample of a {}", family.kind));
    }
    if let Some(labels) = labels {
        let labels = labels.strip_suffix('}').ok_or(line)?;
        let mut names = BTreeSet::new();
        for label in labels.split(',') {
            let (name, value) = label.split_once('=').ok_or(line)?;
            let is_quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
            if !is_quoted || !names.insert(name) {
                return Err(format!("{line}: not a list of labels"));
            }
        }
    }
    if family.samples.insert(series.to_owned(), value).is_some() {
        return Err(format!("{series} is there twice"));
    }
    Ok(())
}

// The last bucket counts all.
fn histogram(name: &str, family: &Family) -> Result<(), String> {
    for (series, count) in family.samples.iter().filter(|(series, _)| series.starts_with(&format!("{name}_count"))) {
        let labels = series.trim_start_matches(&format!("{name}_count")).trim_matches(['{', '}']);
        let is_of = |series: &str| series.starts_with(&format!("{name}_bucket")) && series.contains(labels);
        let buckets: Vec<(&String, &f64)> = family.samples.iter().filter(|(series, _)| is_of(series)).collect();
        let infinite = buckets.iter().find(|(series, _)| series.contains("le=\"+Inf\"")).map(|(_, count)| **count);
        if infinite != Some(*count) || buckets.iter().any(|(_, bucket)| **bucket > *count) {
            return Err(format!("{series}: its buckets do not add up"));
        }
    }
    Ok(())
}
