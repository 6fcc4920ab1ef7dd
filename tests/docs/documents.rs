//! What the documents say is so: links lead somewhere, manifests are valid, and commands, values, fields, metrics, files and
//! reasons exist.

mod markdown;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cmdb_sim::Fault;
use markdown::Document;
use process_template_operator::{api, cli, controller};
use regex::Regex;
use serde_json::Value;
use test_support::levels::resolved;
use test_support::schemas::schemas;

// Options that are named by themselves and belong to other programs.
const OF_OTHERS: [&str; 6] =
    ["--for", "--force-conflicts", "--rollback-on-failure", "--set", "--subresource", "--take-ownership"];

// Reasons that only connections have.
const OF_CONNECTIONS: [&str; 2] = ["NewCredentialsRefused", "Reachable"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn all() -> Vec<Document> {
    test_support::documents().iter().map(|path| Document::read(path)).collect()
}

fn one(path: &str) -> Document {
    Document::read(&root().join(path))
}

fn name(document: &Document) -> String {
    document.path.strip_prefix(root()).unwrap().display().to_string()
}

/// Collects what is wrong, with the document that says it.
fn wrong(check: impl Fn(&Document, &mut dyn FnMut(String))) -> Vec<String> {
    let mut found = Vec::new();
    for document in all() {
        check(&document, &mut |what| found.push(format!("{}: {what}", name(&document))));
    }
    found
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Spans of code that have this form, in the document's words.
fn spans<'a>(document: &'a Document, form: &str) -> impl Iterator<Item = &'a str> {
    let form = Regex::new(form).unwrap();
    document.spans.iter().map(String::as_str).filter(move |span| form.is_match(span))
}

#[test]
fn every_link_leads_somewhere() {
    let mut checked = 0;
    let mut found = Vec::new();
    for document in all() {
        for link in document.links.iter().filter(|link| !link.contains("://")) {
            checked += 1;
            let (file, anchor) = link.split_once('#').map_or((link.as_str(), None), |(file, to)| (file, Some(to)));
            let target =
                if file.is_empty() { document.path.clone() } else { document.path.parent().unwrap().join(file) };
            let there = target.canonicalize().is_ok_and(|target| target.starts_with(root().canonicalize().unwrap()));
            let has_anchor = |anchor: &str| there && Document::read(&target).anchors().iter().any(|own| own == anchor);
            if !there || anchor.is_some_and(|anchor| !has_anchor(anchor)) {
                found.push(format!("{}: {link}", name(&document)));
            }
        }
    }
    assert_none(&found);
    assert!(checked > 100, "only {checked} links");
}

#[test]
fn every_page_of_the_book_is_in_its_table_of_contents() {
    let book = root().join("docs");
    let contents = one("docs/README.md");
    let linked: BTreeSet<PathBuf> = contents.links.iter().map(|link| book.join(link)).collect();
    let pages = test_support::documents().into_iter().filter(|path| path.starts_with(&book) && *path != contents.path);
    let missing: Vec<PathBuf> = pages.filter(|page| !linked.contains(page)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_manifest_is_valid() {
    let mut checked = 0;
    for document in all() {
        for block in
            document.blocks_of(&["yaml"]).filter(|block| block.text.contains("apiVersion: cmdb.bk.tencent.com/"))
        {
            checked += 1;
            let mut validate = Command::new(env!("CARGO_BIN_EXE_ptset"));
            validate.args(["validate", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut running = validate.spawn().unwrap();
            running.stdin.take().unwrap().write_all(block.text.as_bytes()).unwrap();
            let said = running.wait_with_output().unwrap();
            assert!(said.status.success(), "{}: {}", name(&document), String::from_utf8_lossy(&said.stdout));
        }
    }
    assert!(checked > 4, "only {checked} manifests");
}

#[test]
fn every_command_of_ours_is_one() {
    let mut checked = 0;
    let mut known = cli::command();
    known.build();
    let mut found = Vec::new();
    for document in all() {
        for mut words in document.commands() {
            if words[0] == "target/release/ptset" {
                words[0] = "ptset".to_owned();
            }
            if words[0] == "ptset" {
                checked += 1;
                if let Err(error) = known.clone().try_get_matches_from(&words) {
                    found.push(format!("{}: {words:?}: {error}", name(&document)));
                }
            }
        }
        // Within the text a command need not be complete.
        for span in spans(&document, "^ptset [a-z]") {
            let words: Vec<&str> = span.split(' ').collect();
            let Some(command) = known.find_subcommand(words[1]) else {
                found.push(format!("{}: {span}", name(&document)));
                continue;
            };
            let unknown = words[2..].iter().find(|word| word.starts_with("--") && !has_option(command, word));
            found.extend(unknown.map(|word| format!("{}: {span}: {word}", name(&document))));
        }
        for span in spans(&document, "^--[a-z]") {
            let is_known = known.get_subcommands().any(|command| has_option(command, span))
                || has_option(&known, span)
                || OF_OTHERS.contains(&option_of(span));
            if !is_known {
                found.push(format!("{}: {span}", name(&document)));
            }
        }
    }
    assert_none(&found);
    assert!(checked > 8, "only {checked} commands");
}

fn option_of(text: &str) -> &str {
    text.split([' ', '=']).next().unwrap()
}

fn has_option(command: &clap::Command, text: &str) -> bool {
    let name = option_of(text).trim_start_matches("--");
    command.get_arguments().any(|argument| argument.get_long() == Some(name))
}

#[test]
fn every_target_of_make_exists() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let targets: BTreeSet<&str> = makefile.lines().filter_map(|line| line.strip_prefix(".PHONY: ")).collect();
    let made = |words: &[String]| -> Vec<String> {
        words.iter().skip(1).filter(|word| !word.contains('=')).cloned().collect()
    };
    assert_none(&wrong(|document, say| {
        let spans = spans(document, "^make [a-z]").map(|span| span.split(' ').map(str::to_owned).collect());
        for words in document.commands().into_iter().filter(|words| words[0] == "make").chain(spans) {
            made(&words)
                .iter()
                .filter(|target| !targets.contains(target.as_str()))
                .for_each(|target| say(target.clone()));
        }
    }));
    let told: Vec<String> = one("CONTRIBUTING.md").commands().iter().flat_map(|words| made(words)).collect();
    let told: BTreeSet<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(told, targets);
}

#[test]
fn every_file_exists() {
    let form = r"^(charts|cmdb-sim|crds|docs|examples|image|src|tests|tools)/[\w./-]*$";
    let is_path = Regex::new(form).unwrap();
    assert_none(&wrong(|document, say| {
        let commands = document.commands();
        let named = commands.iter().flatten().map(String::as_str).filter(|word| is_path.is_match(word));
        for path in spans(document, form).chain(named).filter(|path| !root().join(path).exists()) {
            say(path.to_owned());
        }
    }));
}

#[test]
fn every_value_of_the_chart_exists() {
    let schema = std::fs::read_to_string(root().join("charts/process-template-operator/values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let named = schema["properties"].as_object().unwrap();
    let set = Regex::new(r"^(?:--set )?([a-z]\w*(?:\.\w+)*)=(.*)$").unwrap();
    assert_none(&wrong(|document, say| {
        let helm = document.commands().into_iter().filter(|words| words[0] == "helm");
        let helm = helm.flat_map(|words| {
            words.windows(2).filter(|two| two[0] == "--set").map(|two| two[1].clone()).collect::<Vec<_>>()
        });
        let spans = document.spans.iter().filter(|span| {
            let first = span.trim_start_matches("--set ").split(['.', '=']).next().unwrap();
            named.contains_key(first) && span.contains(['.', '=']) && !span.contains([' ', '/'])
                || span.starts_with("--set ")
        });
        for text in helm.chain(spans.cloned()) {
            let (path, value) = set.captures(&text).map_or((text.as_str(), None), |found| {
                let value = found.get(2).unwrap().as_str().to_owned();
                (found.get(1).unwrap().as_str(), Some(value))
            });
            match at(&schema, path) {
                Some(found) if value.as_ref().is_none_or(|value| takes(found, value)) => {}
                _ => say(text.clone()),
            }
        }
    }));
}

// The schema of a value.
fn at<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(resolved(root, root), |schema, name| {
        let named =
            schema["properties"].get(name).or(schema.get("additionalProperties")).filter(|child| child.is_object());
        named.map(|child| resolved(root, child))
    })
}

fn takes(schema: &Value, value: &str) -> bool {
    match (&schema["enum"], schema["type"].as_str()) {
        (Value::Array(all), _) => all.iter().any(|one| one == value),
        (_, Some("array")) => value.starts_with(['{', '[']),
        (_, Some("boolean")) => ["true", "false"].contains(&value),
        _ => true,
    }
}

#[test]
fn every_field_exists() {
    let crds = api::crds().unwrap();
    let of_crds = crds.iter().flat_map(|(_, crd)| schemas(crd)).map(|found| found.path);
    // Every object has finalizers, which no CRD describes.
    let fields: BTreeSet<String> = of_crds.chain([".metadata.finalizers".to_owned()]).collect();
    let index = Regex::new(r"\[\w*\]").unwrap();
    let mut checked = 0;
    let mut found = Vec::new();
    for document in all() {
        let named = spans(&document, r"^(spec|status)(\.\w+(\[\w*\])?)+$");
        let named = named.map(|span| format!(".{}", index.replace_all(span, "[]")));
        let commands = document.commands();
        let patches = commands.iter().flat_map(|words| words.windows(2)).filter(|two| two[0] == "-p");
        let patches =
            patches.filter_map(|two| serde_json::from_str::<Value>(&two[1]).ok()).flat_map(|patch| keys(&patch));
        for path in named.chain(patches) {
            checked += 1;
            if !fields.contains(&path) {
                found.push(format!("{}: {path}", name(&document)));
            }
        }
    }
    assert_none(&found);
    assert!(checked > 40, "only {checked} fields");
}

// The paths of what a patch sets.
fn keys(patch: &Value) -> Vec<String> {
    let fields = patch.as_object().into_iter().flatten();
    fields
        .flat_map(|(name, value)| {
            let below = keys(value);
            let below = if below.is_empty() { vec![String::new()] } else { below };
            below.into_iter().map(move |rest| format!(".{name}{rest}"))
        })
        .collect()
}

#[test]
fn what_an_absent_option_or_field_means_is_told_as_it_is() {
    let crds = api::crds().unwrap();
    let fields: Vec<_> = crds.iter().flat_map(|(_, crd)| schemas(crd)).collect();
    let known = cli::command();
    let options: Vec<&clap::Arg> = known.get_subcommands().flat_map(clap::Command::get_arguments).collect();
    let is_so = |name: &str, number: &str| match name.strip_prefix("--") {
        Some(long) => options.iter().any(|option| {
            option.get_long() == Some(long) && option.get_default_values().iter().any(|default| *default == *number)
        }),
        None => fields.iter().any(|found| {
            let said = found.schema["description"].as_str().unwrap_or_default();
            found.path.ends_with(&format!(".{name}")) && said.contains(&format!("Absent: {number}."))
        }),
    };
    let forms = [r"`([\w.-]+)` \((\d+)\)", r"`([\w.-]+)`, (\d+) by default", r"\| `([\w.-]+)`[^|\n]*\| (\d+) \|"];
    let (mut checked, mut found) = (0, Vec::new());
    for document in all() {
        let text = std::fs::read_to_string(&document.path).unwrap();
        for form in forms {
            for told in Regex::new(form).unwrap().captures_iter(&text) {
                checked += 1;
                if !is_so(&told[1], &told[2]) {
                    found.push(format!("{}: {}", name(&document), &told[0]));
                }
            }
        }
    }
    assert_none(&found);
    assert!(checked > 6, "only {checked} told");
}

#[test]
fn every_metric_exists() {
    let reference = one("docs/reference/metrics.md");
    let known: BTreeSet<&str> = reference.headings.iter().map(|(_, heading)| heading.as_str()).collect();
    let metric = Regex::new(r"\bptset_[a-z_]+").unwrap();
    assert_none(&wrong(|document, say| {
        let text = std::fs::read_to_string(&document.path).unwrap();
        for found in metric.find_iter(&text).map(|found| found.as_str()) {
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| found.strip_suffix(suffix));
            if !known.contains(found) && base.is_none_or(|base| !known.contains(base)) {
                say(found.to_owned());
            }
        }
    }));
}

#[test]
fn every_reason_has_its_place_in_troubleshooting_and_there_is_no_other() {
    let page = one("docs/operations/troubleshooting.md");
    let told: BTreeSet<&str> =
        page.headings.iter().filter(|(level, _)| *level == 3).map(|(_, heading)| heading.as_str()).collect();
    let reasons: BTreeSet<&str> = controller::reasons().into_iter().chain(OF_CONNECTIONS).collect();
    assert_eq!(told, reasons);
}

#[test]
fn every_fault_of_the_simulated_cmdb_is_one() {
    let page = one("docs/reference/simulator.md");
    let told: Vec<&str> = spans(&page, r#"^\{".*\}$"#).collect();
    assert!(told.len() > 8, "{told:?}");
    for effect in told {
        let fault = format!(r#"{{"do": {effect}}}"#);
        assert!(serde_json::from_str::<Fault>(&fault).is_ok(), "{effect}");
    }
}

#[test]
fn the_image_is_that_of_this_version() {
    let image = Regex::new(r"process-template-operator:(\d[\w.]*)").unwrap();
    let mut versions = BTreeSet::new();
    for document in all() {
        let text = std::fs::read_to_string(&document.path).unwrap();
        versions.extend(image.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    assert_eq!(versions, BTreeSet::from([env!("CARGO_PKG_VERSION").to_owned()]));
}

// Comments may be in the reader's language.
fn without_comments(text: &str) -> String {
    let comment = Regex::new(r"(?m)(^|\s+)#\s.*$").unwrap();
    comment.replace_all(text, "").into_owned()
}

#[test]
fn the_readme_in_chinese_has_the_headings_commands_and_manifests_of_the_english_one() {
    let (english, chinese) = (one("README.md"), one("README.zh-CN.md"));
    let levels = |document: &Document| document.headings.iter().map(|(level, _)| *level).collect::<Vec<_>>();
    assert_eq!(levels(&english), levels(&chinese));
    let blocks = |document: &Document| -> Vec<(String, String)> {
        document.blocks.iter().map(|block| (block.language.clone(), without_comments(&block.text))).collect()
    };
    assert_eq!(blocks(&english), blocks(&chinese));
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    let spans = |document: &Document| sorted(document.spans.clone());
    assert_eq!(spans(&english), spans(&chinese));
    let links = |document: &Document| {
        let links = document.links.iter().map(|link| link.replace("README.zh-CN.md", "README.md"));
        sorted(links.collect())
    };
    assert_eq!(links(&english), links(&chinese));
    let is_chinese = |text: &str| text.chars().any(|letter| ('\u{4e00}'..='\u{9fff}').contains(&letter));
    let untranslated: Vec<&String> =
        chinese.headings.iter().skip(1).map(|(_, text)| text).filter(|text| !is_chinese(text)).collect();
    assert!(untranslated.is_empty(), "{untranslated:?}");
}
