//! A Git repository on this machine, which Argo CD reads as it would read any other.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;

/// The folder of the repository that an application is made of.
pub const PATH: &str = "manifests";

/// A repository with one branch, main.
pub struct Repository {
    folder: PathBuf,
}

impl Repository {
    pub async fn new(parent: &Path, name: &str) -> Self {
        let folder = parent.join("repositories").join(name);
        fs::create_dir_all(folder.join(PATH)).unwrap();
        let repository = Self { folder };
        repository.git(&["init", "--quiet", "--initial-branch=main"]).await;
        repository
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.folder.display())
    }

    /// Puts objects into a file, to be committed.
    pub fn write(&self, file: &str, objects: &[Value]) {
        let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
        fs::write(self.folder.join(PATH).join(file), documents.join("\n---\n")).unwrap();
    }

    /// Commits what is in the folder, and gives the commit.
    pub async fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]).await;
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]).await;
        self.git(&["rev-parse", "HEAD"]).await
    }

    async fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command
            .args(["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(&self.folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}
