//! The CMDB simulator as a program.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use cmdb_sim::{Options, Schema, Simulator, Tls};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Stand-in for the process template calls of BlueKing CMDB.
///
/// Calls come as they come to an ESB (POST /api/c/compapi/v2/cc/<name>/), to a gateway (/api/bk-cmdb/<stage>/api/v3/...)
/// and to the apiserver (/api/v3/...). Routes under /sim show and change the state, add faults and list the requests that
/// came. `RUST_LOG` sets the level of the log on stderr.
#[derive(Parser)]
#[command(name = "cmdb-sim", version)]
struct Arguments {
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Speak HTTPS with this certificate: PEM, those between it and its CA after it.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Key of the certificate: PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Let only clients in whose certificate one of these CAs has signed, as the apiserver does: PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_client_ca: Option<PathBuf>,
    /// Schema of process properties, unless the state file says it.
    #[arg(long, value_enum, default_value = "bind-info")]
    schema: SchemaArgument,
    /// Load the state from this file when it exists, and save it there after every change.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Append one JSON line per request to this file.
    #[arg(long, value_name = "FILE")]
    request_log: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemaArgument {
    /// CMDB 3.8.14, 3.9.5 and later.
    BindInfo,
    /// Older servers: `bind_ip`, `port`, `protocol`.
    Flat,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();

    let arguments = Arguments::parse();
    // Before the line that says "ready", so that no signal after it is lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let tls = arguments.tls_certificate.zip(arguments.tls_key);
    let tls = tls.map(|(certificate, key)| Tls { certificate, key, client_ca: arguments.tls_client_ca });
    let simulator = Simulator::start(Options {
        listen: arguments.listen,
        tls,
        schema: match arguments.schema {
            SchemaArgument::BindInfo => Schema::BindInfo,
            SchemaArgument::Flat => Schema::Flat,
        },
        state_file: arguments.state,
        request_log: arguments.request_log,
        ..Options::default()
    })?;

    let mut stdout = io::stdout();
    writeln!(stdout, "cmdb-sim listening on {}", simulator.url())?;
    stdout.flush()?;

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    simulator.stop().await;
    Ok(())
}
