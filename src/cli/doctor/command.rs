//! `ptset doctor`

use std::path::PathBuf;
use std::process::ExitCode;

use super::{cluster, examine, files, report};
use crate::cli::connect::Flags;
use crate::cli::doctor::examine::Question;
use crate::cli::doctor::target::{Evidence, Found, Subject, Wanted};
use crate::cli::exit;
use crate::cli::manifest::files::Finding;
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
    connection: Option<Wanted>,
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
    flags: Flags,
    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Checks connections.
pub fn doctor(options: &Options) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (examined, findings) = runtime.block_on(examine(options))?;
    output::print(&match options.output {
        Output::Text => report::to_text(&examined, &findings),
        Output::Json => format!("{:#}\n", report::to_json(&examined, &findings)),
    })?;
    let has_failed = !findings.is_empty() || examined.iter().any(report::Examined::has_failed);
    Ok(if has_failed { exit::FAILED } else { exit::NOTHING })
}

async fn examine(options: &Options) -> anyhow::Result<(Vec<report::Examined>, Vec<Finding>)> {
    let (subjects, evidence, findings) = gather(options).await?;
    let question = Question {
        namespace: options.namespace.clone(),
        biz_id: options.biz,
        service_template: options.service_template.clone(),
    };
    let mut examined = Vec::new();
    for subject in subjects {
        let steps = examine::examine(&subject, &evidence, &question).await;
        examined.push(report::Examined { name: subject.name, steps });
    }
    Ok((examined, findings))
}

async fn gather(options: &Options) -> anyhow::Result<(Vec<Subject>, Evidence, Vec<Finding>)> {
    if let Some(description) = options.flags.description() {
        let found = Found { description, grants: Vec::new(), place: "given on the command line".to_owned() };
        let subject = Subject { name: None, found: Ok(found) };
        return Ok((vec![subject], Evidence::default(), Vec::new()));
    }
    match &options.connection {
        None if options.filename.is_empty() => anyhow::bail!("name a connection (KIND/NAME), or give -f or --url"),
        Some(wanted) if options.filename.is_empty() => {
            let (subject, evidence) = cluster::find(wanted, options.namespace.as_deref()).await?;
            Ok((vec![subject], evidence, Vec::new()))
        }
        wanted => files::find(&options.filename, options.namespace.as_deref(), wanted.as_ref()),
    }
}
