//! Values that the chart does not know, at every depth.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::helm::{CHART, Helm};
use test_support::levels::{Keys, UNKNOWN, full_of_unknowns, levels};

/// Where either Helm took an unknown value, or refused it without its place. One render is asked to take all of them: each
/// must be named.
pub async fn accepted() -> Vec<String> {
    let schema = std::fs::read_to_string(Path::new(CHART).join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let values = folder.path().join("values.json");
    std::fs::write(&values, full_of_unknowns(&schema).to_string()).unwrap();
    let expected: BTreeSet<String> =
        levels(&schema).into_iter().filter(|level| level.keys == Keys::Named).map(|level| level.path).collect();
    let mut accepted = Vec::new();
    for helm in Helm::both().await {
        let said = helm.template(&values, "1.37.0").await;
        assert!(!said.is_success, "{} took values full of unknown keys", helm.name);
        let refused: BTreeSet<String> = said.errors.lines().filter_map(place).collect();
        accepted.extend(expected.difference(&refused).map(|path| format!("{}: {path}", helm.name)));
        println!("chart unknown values: helm={} refused={}", helm.name.replace(' ', ""), refused.len());
    }
    accepted
}

// `- at '/image': additional properties 'x' not allowed`, where at the top the place is empty.
fn place(line: &str) -> Option<String> {
    let (place, rest) = line.trim().strip_prefix("- at '")?.split_once("': additional properties ")?;
    rest.contains(UNKNOWN).then(|| place.to_owned())
}
