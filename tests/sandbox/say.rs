//! What people see while they wait.

use std::io::Write as _;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

const HEARTBEAT: Duration = Duration::from_secs(5);

/// Prints a line. A reader that has gone away stops nothing.
pub fn say(line: &str) {
    let mut output = std::io::stdout();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// Does one step: says every few seconds that it is still at it, and at the end how long it took.
pub async fn step<T>(what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let begun = Instant::now();
    let mut work = pin!(work);
    loop {
        match timeout(HEARTBEAT, &mut work).await {
            Ok(Ok(done)) => {
                say(&format!("{:5.1} s  {what}", begun.elapsed().as_secs_f64()));
                return Ok(done);
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => say(&format!("    ...  {what}: not yet, {:.0} s", begun.elapsed().as_secs_f64())),
        }
    }
}
