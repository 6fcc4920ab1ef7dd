//! The chart of the next version, whose sets have one more field.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A field that sets have in the next version.
pub const NEW_FIELD: &str = "ofTheNextVersion";

/// A copy of a chart whose sets have the field.
pub fn next_chart(of: &str, folder: &Path) -> PathBuf {
    let chart = folder.join("next-chart");
    let copied = Command::new("cp").arg("-rL").args([Path::new(of), &chart]).status().unwrap();
    assert!(copied.success());
    let crd = chart.join("files/crds/processtemplatesets.yaml");
    let text = std::fs::read_to_string(&crd).unwrap();
    let before = "\n              suspend:\n";
    assert_eq!(text.matches(before).count(), 1);
    let field = format!("\n              {NEW_FIELD}:\n                maxLength: 10\n                type: string");
    std::fs::write(&crd, text.replace(before, &format!("{field}{before}"))).unwrap();
    chart
}
