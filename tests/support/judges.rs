//! Other people's programs that say what they think of our objects.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::pinned::build;

/// A program that judges.
pub struct Judge {
    path: PathBuf,
}

impl Judge {
    /// The judge of that name; it is built where it was not before.
    pub async fn named(name: &str) -> Self {
        let mut paths =
            build("tests/judges/build", &[name], false).await.unwrap_or_else(|error| panic!("no {name}: {error}"));
        Self { path: paths.remove(0) }
    }

    /// Where it stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a judge that reads objects, one a line, says of each of these. One run for all.
    pub async fn ask(&self, arguments: &[&str], objects: &[Value]) -> Vec<Value> {
        self.try_ask(arguments, objects).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same; an error is what it printed when it refused to judge.
    pub async fn try_ask(&self, arguments: &[&str], objects: &[Value]) -> Result<Vec<Value>, String> {
        let lines: String = objects.iter().flat_map(|object| [object.to_string(), "\n".to_owned()]).collect();
        let mut judge = Command::new(&self.path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut input = judge.stdin.take().unwrap();
        // Beside the reading: a judge that answers early would wait for ever to be read.
        let asked = tokio::spawn(async move {
            let _ = input.write_all(lines.as_bytes()).await;
        });
        let output = tokio::time::timeout(Duration::from_mins(2), judge.wait_with_output()).await.unwrap().unwrap();
        asked.await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if !output.status.success() {
            return Err(text(output.stderr));
        }
        let judgements: Vec<Value> =
            text(output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(judgements.len(), objects.len(), "{}", text(output.stderr));
        Ok(judgements)
    }
}
