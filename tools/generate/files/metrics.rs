//! The reference of the metrics, from the table that registers them.

use std::fmt::Write as _;

use process_template_operator::telemetry::metric_table::{FAMILIES, Family, Kind};

use super::File;

const HEAD: &str = "# Metrics

`/metrics` on `--listen` gives these families, as OpenMetrics to those who accept it, else in Prometheus' text format. Labels come from closed sets, all of whose
series are there from the first scrape, at 0; names of objects are never among them. Of an instance that stands by, all
that is true of a controller is 0.

";

pub fn files() -> anyhow::Result<Vec<File>> {
    let mut text = HEAD.to_owned();
    text.push_str("| family | type | labels |\n|---|---|---|\n");
    for family in FAMILIES {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{}`", label.name)).collect();
        writeln!(text, "| [`{0}`](#{0}) | {1} | {2} |", family.full_name(), family.kind.as_str(), labels.join(", "))?;
    }
    for family in FAMILIES {
        describe(family, &mut text)?;
    }
    Ok(vec![File { path: "docs/reference/metrics.md".to_owned(), text }])
}

fn describe(family: &Family, text: &mut String) -> anyhow::Result<()> {
    writeln!(text, "\n## {}\n\n{}.\n", family.full_name(), family.help)?;
    let unit = family.unit.map(|unit| format!(", in {unit}")).unwrap_or_default();
    writeln!(text, "* type: {}{unit}", family.kind.as_str())?;
    if let Kind::Histogram(first, count) = family.kind {
        let last = (1..count).fold(first, |bound, _| bound * 2.0);
        writeln!(
            text,
            "* buckets: {count}, the first up to {first}, each twice the one before, the last up to {last}"
        )?;
    }
    for label in family.labels {
        // It would change with each release.
        let is_version = label.name == "version";
        let values = (label.values)().into_iter().map(|value| format!("`{value}`"));
        let values: Vec<String> = if is_version { vec!["that of the release".to_owned()] } else { values.collect() };
        writeln!(text, "* `{}`: {}", label.name, values.join(", "))?;
    }
    Ok(())
}
