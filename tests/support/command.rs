//! `ptset` as people call it.

use serde_json::Value;
use tokio::process::Command;

/// What the command printed, and its exit status.
#[derive(Debug)]
pub struct Said {
    pub text: String,
    pub errors: String,
    pub status: i32,
}

impl Said {
    /// Runs a command to its end. None of the secrets may be in what it prints.
    pub async fn by(command: &mut Command, secrets: &[&str]) -> Self {
        let output = command.output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let said =
            Self { text: text(output.stdout), errors: text(output.stderr), status: output.status.code().unwrap() };
        for secret in secrets {
            assert!(!said.text.contains(secret) && !said.errors.contains(secret), "{said:#?}");
        }
        said
    }

    pub fn lines(&self) -> Vec<&str> {
        self.text.lines().collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

impl Said {
    /// Outcome, fact and what stands after `->` of one step of `ptset doctor`.
    pub fn step(&self, name: &str) -> (&str, &str, &str) {
        let lines = self.lines();
        let found = lines.iter().enumerate().find_map(|(at, line)| {
            let (outcome, rest) = line.trim_start().split_once(' ')?;
            let fact = rest.trim_start().strip_prefix(name)?.strip_prefix(' ')?;
            Some((at, outcome, fact.trim_start()))
        });
        let (at, outcome, fact) = found.unwrap_or_else(|| panic!("no step {name}: {self:#?}"));
        let advice = lines.get(at + 1).and_then(|line| line.trim_start().strip_prefix("-> "));
        (outcome, fact, advice.unwrap_or_default())
    }

    /// The only step that failed, with its fact and what to do; all before it went well, none after it.
    pub fn failed(&self) -> (&str, &str, &str) {
        let failed: Vec<&str> =
            self.lines().into_iter().filter_map(|line| line.strip_prefix("  failed ")).map(str::trim_start).collect();
        assert_eq!((failed.len(), self.status), (1, 1), "{self:#?}");
        let name = failed[0].split(' ').next().unwrap();
        let (_, fact, advice) = self.step(name);
        assert!(!advice.is_empty(), "{self:#?}");
        (name, fact, advice)
    }
}

/// The command with these arguments, and with no credentials and proxies from the environment.
pub fn ptset(arguments: &[&str]) -> Command {
    let mut command = Command::new(crate::ptset());
    command.args(arguments);
    for name in ["BK_APP_CODE", "BK_APP_SECRET", "BK_USERNAME", "BK_TOKEN", "ACCESS_TOKEN"] {
        command.env_remove(format!("PTSET_{name}"));
    }
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command
}
