//! `ptset validate`: checks manifests without a cluster and without CMDB.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;

use super::exit_status::ExitStatus;
use super::manifest::files;
use super::manifest::finding::Finding;
use super::output;
use super::output::Output;
use crate::cli::manifest::validate_object::Validator;
use crate::plan::count;

/// Options of `ptset validate`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Each finding is a line FILE:LINE:COLUMN: NAMESPACE/NAME: PATH: MESSAGE; the last line counts. Documents of other kinds \
are passed over.

Exit status: 0 nothing was found; 1 something was, or a file cannot be read.

Example:
  $ ptset validate -f manifests/
  manifests/web.yaml:14:13: blueking/web: spec.processes[0].port: a port is a number from 1 to 65535 without leading zeros
  3 objects, 1 finding")]
pub struct Options {
    /// A file, a folder with .yaml, .yml and .json files, or - for standard input; may be repeated
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Validates every object in the files.
pub fn validate(options: &Options) -> anyhow::Result<ExitStatus> {
    let validator = Validator::new()?;
    let (documents, mut findings) = files::read(&options.filename);
    let mut objects = 0;
    for document in &documents {
        if let Some(found) = validator.validate(document) {
            objects += 1;
            findings.extend(found);
        }
    }

    let text = match options.output {
        Output::Text => {
            let mut text = String::new();
            for finding in &findings {
                let _ = writeln!(text, "{finding}");
            }
            let _ = writeln!(text, "{}, {}", count(objects, "object"), count(findings.len(), "finding"));
            text
        }
        Output::Json => {
            let found: Vec<_> = findings.iter().map(Finding::to_json).collect();
            format!("{:#}\n", json!({ "objects": objects, "findings": found }))
        }
    };
    output::print(&text)?;
    Ok(if findings.is_empty() { ExitStatus::Success } else { ExitStatus::Failure })
}
