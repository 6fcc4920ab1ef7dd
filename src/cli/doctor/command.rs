//! The options of `ptset doctor`, and its flow: load the connections, check each, print.

use std::path::PathBuf;

use super::examine::{CheckScope, examine};
use super::report::ConnectionReport;
use super::target::{ConnectionArgument, LoadedConnection, RelatedObjects, Target};
use super::{cluster, files, report};
use crate::cli::connect::ConnectionFlags;
use crate::cli::exit_status::ExitStatus;
use crate::cli::manifest::finding::Finding;
use crate::cli::output;
use crate::cli::output::Output;

/// Options of `ptset doctor`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Each step is a line: ok, failed or skipped, what was found, and after -> what to do about it. A step that fails ends those \
that make no sense without it. Nothing is written, neither to CMDB nor to a cluster, and no value of a Secret is shown.

The connection and its Secrets come from files (-f), from the cluster of KUBECONFIG (KIND/NAME), with your own rights \
there, or from the command line (--url) with credentials of the environment: PTSET_BK_APP_CODE, PTSET_BK_APP_SECRET and \
one of PTSET_BK_USERNAME, PTSET_BK_TOKEN, PTSET_ACCESS_TOKEN. CMDB is asked from this machine: names, proxies and firewalls \
may be others where the operator runs.

Exit status: 0 every step was ok, or had to be skipped; 1 something failed.

Examples:
  $ ptset doctor cmdbconn/default -n blueking --biz 2
  $ ptset doctor ClusterCmdbConnection/cmdb -n shop --biz 2
  $ ptset doctor -f examples/connection.yaml --biz 2
  $ ptset doctor --url https://cmdb.example.com --biz 2")]
pub struct Options {
    /// The connection: CmdbConnection/NAME (cmdbconn/NAME) or ClusterCmdbConnection/NAME (ccmdbconn/NAME)
    #[arg(value_name = "KIND/NAME", conflicts_with = "url")]
    connection: Option<ConnectionArgument>,
    /// A file, a folder with .yaml, .yml and .json files, or - for standard input; may be repeated
    #[arg(short, long, value_name = "FILE", conflicts_with = "url")]
    filename: Vec<PathBuf>,
    /// Namespace of the connection; for one of the cluster, the namespace whose grants are looked at
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// The business whose templates are listed; without it, the first that a connection of the cluster grants
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(1..))]
    biz: Option<i64>,
    /// The service template whose process templates are listed; without it, the first
    #[arg(long, value_name = "NAME")]
    service_template: Option<String>,
    #[command(flatten)]
    flags: ConnectionFlags,
    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Checks connections.
pub fn doctor(options: &Options) -> anyhow::Result<ExitStatus> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (reports, findings) = runtime.block_on(check_all(options))?;
    output::print(&match options.output {
        Output::Text => report::to_text(&reports, &findings),
        Output::Json => format!("{:#}\n", report::to_json(&reports, &findings)),
    })?;
    let has_failed = !findings.is_empty() || reports.iter().any(ConnectionReport::has_failed);
    Ok(if has_failed { ExitStatus::Failure } else { ExitStatus::Success })
}

async fn check_all(options: &Options) -> anyhow::Result<(Vec<ConnectionReport>, Vec<Finding>)> {
    let (targets, related, findings) = load(options).await?;
    let scope = CheckScope {
        namespace: options.namespace.clone(),
        biz_id: options.biz,
        service_template: options.service_template.clone(),
    };
    let mut reports = Vec::new();
    for target in targets {
        let steps = examine(&target, &related, &scope).await;
        reports.push(ConnectionReport { name: target.name, steps });
    }
    Ok((reports, findings))
}

async fn load(options: &Options) -> anyhow::Result<(Vec<Target>, RelatedObjects, Vec<Finding>)> {
    if let Some(description) = options.flags.description() {
        let connection =
            LoadedConnection { description, grants: Vec::new(), origin: "given on the command line".to_owned() };
        let target = Target { name: None, connection: Ok(connection) };
        return Ok((vec![target], RelatedObjects::default(), Vec::new()));
    }
    match &options.connection {
        None if options.filename.is_empty() => anyhow::bail!("name a connection (KIND/NAME), or give -f or --url"),
        Some(wanted) if options.filename.is_empty() => {
            let (target, related) = cluster::load(wanted, options.namespace.as_deref()).await?;
            Ok((vec![target], related, Vec::new()))
        }
        wanted => files::load(&options.filename, options.namespace.as_deref(), wanted.as_ref()),
    }
}
