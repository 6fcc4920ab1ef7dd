//! The table of verdicts that the repository keeps, one row a state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Column of the states, and of what the conditions say.
const STATE: &str = "state";
const CONDITIONS: &str = "conditions";

/// A state and what is said of it, by column.
#[derive(Clone, Debug)]
pub struct Row {
    state: String,
    said: BTreeMap<String, String>,
}

impl Row {
    pub fn new(state: &str, conditions: &str, verdicts: impl Iterator<Item = (String, String)>) -> Self {
        let conditions = if conditions.is_empty() { "none" } else { conditions };
        let said = [(CONDITIONS.to_owned(), conditions.to_owned())].into_iter().chain(verdicts).collect();
        Self { state: state.to_owned(), said }
    }
}

/// The table.
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Row>,
}

impl Table {
    pub fn read() -> Self {
        let text = std::fs::read_to_string(path()).unwrap();
        let mut lines = text.lines().filter(|line| line.starts_with('|')).map(cells);
        let columns = lines.next().unwrap();
        let rows = lines.skip(1).map(|cells| {
            let mut said: BTreeMap<String, String> = columns.iter().cloned().zip(cells).collect();
            Row { state: said.remove(STATE).unwrap(), said }
        });
        Self { rows: rows.collect(), columns }
    }

    /// Where what was said differs from the table, or one has a state that the other has not.
    pub fn surprises(&self, rows: &[Row]) -> Vec<String> {
        let mut surprises = Vec::new();
        for row in rows {
            let Some(expected) = self.find(&row.state) else {
                surprises.push(format!("{}: not in the table", row.state));
                continue;
            };
            for (column, said) in &row.said {
                let wanted = expected.said.get(column).map_or("", String::as_str);
                if wanted != said {
                    surprises.push(format!("{}: {column}: {said:?} instead of {wanted:?}", row.state));
                }
            }
        }
        let missing = self.rows.iter().filter(|expected| !rows.iter().any(|row| row.state == expected.state));
        surprises.extend(missing.map(|row| format!("{}: was not shown", row.state)));
        surprises
    }

    /// The table as text, with what was said now.
    pub fn with(&self, rows: &[Row]) -> String {
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        let mut text = line(self.columns.iter().map(String::as_str).collect());
        text.push_str(&line(vec!["---"; self.columns.len()]));
        for row in rows {
            let kept = self.find(&row.state);
            let said = |column: &String| -> &str {
                if column == STATE {
                    return &row.state;
                }
                let said = row.said.get(column).or_else(|| kept.and_then(|kept| kept.said.get(column)));
                said.map_or("", String::as_str)
            };
            text.push_str(&line(self.columns.iter().map(said).collect()));
        }
        text
    }

    fn find(&self, state: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.state == state)
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/operator/verdicts/verdicts.md")
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}
