//! Child processes that end with this one, however it ends.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A program that runs for as long as this value lives; also SIGKILL of this process ends it.
pub struct Held {
    hold: Child,
    pid: u32,
}

impl Held {
    /// Starts a program; what it prints goes to `log`. `folder` is removed when it has ended.
    pub async fn start(program: &Command, log: &Path, folder: Option<&Path>) -> std::io::Result<Self> {
        let program = program.as_std();
        let script = crate::repository().join("tests/controlplane/hold");
        let mut hold = Command::new(script);
        hold.arg(log).arg(folder.unwrap_or(Path::new(""))).arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => hold.env(name, value),
                None => hold.env_remove(name),
            };
        }
        // A group of its own: Ctrl-C in the terminal is ours to answer.
        hold.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut hold = hold.spawn()?;
        let mut pid = String::new();
        let output = hold.stdout.take().ok_or_else(|| std::io::Error::other("no output"))?;
        BufReader::new(output).read_line(&mut pid).await?;
        let pid = pid.trim().parse().map_err(std::io::Error::other)?;
        Ok(Self { hold, pid })
    }

    /// Process id of the program.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: rustix::process::Signal) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Stops the program in its tracks, and waits until each of its threads stands still.
    pub async fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
        while !stands_still(self.pid) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Whether the program still runs.
    pub fn is_running(&self) -> bool {
        is_running(self.pid)
    }

    /// Waits until the program has ended by itself.
    pub async fn ended(&self, at_most: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + at_most;
        while self.is_running() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        !self.is_running()
    }

    /// Kills the program and waits until it is gone.
    pub async fn stop(mut self) {
        drop(self.hold.stdin.take());
        let _ = self.hold.wait().await;
    }
}

fn stands_still(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.map(|thread| state(&thread.path().join("stat"))).all(|state| state == Some('T'))
}

fn state(stat: &Path) -> Option<char> {
    let stat = std::fs::read_to_string(stat).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether a process runs; one that has ended and was not waited for yet does not.
pub fn is_running(pid: u32) -> bool {
    state(Path::new(&format!("/proc/{pid}/stat"))).is_some_and(|state| state != 'Z')
}
