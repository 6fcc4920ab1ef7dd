//! `ptset` as people call it.
#![allow(dead_code, reason = "each test binary uses its own part")]

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

/// The command with these arguments, and with no credentials and proxies from the environment.
pub fn ptset(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ptset"));
    command.args(arguments);
    for name in ["BK_APP_CODE", "BK_APP_SECRET", "BK_USERNAME", "BK_TOKEN", "ACCESS_TOKEN"] {
        command.env_remove(format!("PTSET_{name}"));
    }
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command
}
