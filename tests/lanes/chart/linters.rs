//! Other people's linters, over every render, every YAML file of the repository, and its workflows.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use crate::helm::{Helm, Said, values_files};
use crate::tools;
use test_support::judges::Judge;

// What each finds elsewhere, as measured with the commands below: over the default renders of charts that many people use,
// CRDs left out, and over the workflows of the same projects.
const ELSEWHERE: [(&str, &str); 4] = [
    ("checkov", "external_secrets=35 cert_manager=40 kyverno=90 metacontroller=23"),
    ("kube-score", "external_secrets=17 cert_manager=25 kyverno=55"),
    ("yamllint", "external_secrets=123 cert_manager=28 kyverno=89"),
    ("zizmor", "external_secrets=141 cert_manager=6 kyverno=500"),
];

/// What a linter finds.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    tool: &'static str,
    check: String,
    /// The values of a render and the object there, or a file.
    place: String,
}

/// Why a finding stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Justified {
    tool: String,
    check: String,
    /// A place; a star stands for any text.
    at: String,
    reason: String,
}

impl Justified {
    fn covers(&self, finding: &Finding) -> bool {
        self.tool == finding.tool && self.check == finding.check && matches(&self.at, &finding.place)
    }
}

/// Asks all of them. Whatever they find must be justified, and each justification must be needed.
pub async fn judge() {
    // Not a hidden one: checkov would not look there.
    let renders = tempfile::Builder::new().prefix("renders-").tempdir().unwrap();
    let helm = Helm::newest().await;
    let mut findings = BTreeSet::new();
    for (name, values) in values_files() {
        // A folder of its own: checkov looks at all objects of a folder together.
        let folder = renders.path().join(&name);
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("render.yaml");
        let text = helm.template(&values, "1.37.0").await.good(&name);
        std::fs::write(&file, text).unwrap();
        findings.extend(checkov(&name, &folder).await);
        findings.extend(kube_score(&name, &file).await);
        findings.extend(yamllint(&[file.to_str().unwrap()], |_| format!("{name} render")).await);
    }
    findings.extend(yamllint(&["."], |file| file.trim_start_matches("./").to_owned()).await);
    findings.extend(zizmor().await);

    let justified: Vec<Justified> = serde_saphyr::from_str(include_str!("justified.yaml")).unwrap();
    let stale: Vec<&Justified> =
        justified.iter().filter(|reason| !findings.iter().any(|finding| reason.covers(finding))).collect();
    assert!(stale.is_empty(), "nothing is found any more that these are about: {stale:#?}");
    assert!(justified.iter().all(|entry| entry.reason.len() > 20), "a reason that is none");
    let (explained, open): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().partition(|finding| justified.iter().any(|reason| reason.covers(finding)));
    for (tool, elsewhere) in ELSEWHERE {
        let of_tool = || findings.iter().filter(|finding| finding.tool == tool);
        let (what, here) = match tool {
            "yamllint" => ("default values", yamllint_of_default_values(&helm, renders.path()).await),
            "zizmor" => ("workflows", of_tool().count()),
            _ => ("default values", of_tool().filter(|finding| finding.place.starts_with("default ")).count()),
        };
        let tool = tool.replace('-', "_");
        println!("lint {tool} of {what}: here={here} {elsewhere}");
        println!("lint {tool}: justified={}", of_tool().filter(|finding| explained.contains(finding)).count());
    }
    println!("lint: findings={} justified={}", open.len(), explained.len());
    assert!(open.is_empty(), "{open:#?}");
}

async fn checkov(values: &str, folder: &Path) -> Vec<Finding> {
    let folder = folder.to_str().unwrap();
    let arguments = ["--framework", "kubernetes", "--skip-download", "--quiet", "--compact", "--output", "json"];
    let said = tools::run("checkov", &[&arguments[..], &["--directory", folder]].concat()).await;
    let report = json("checkov", &said);
    assert!(report["summary"]["passed"].as_u64() > Some(20), "{report}");
    assert_eq!(report["summary"]["parsing_errors"], 0);
    let failed = report["results"]["failed_checks"].as_array().unwrap().iter();
    let finding = |failed: &Value| {
        // `Deployment.NAMESPACE.NAME`, and for some checks of a pod the labels after that.
        let resource = failed["resource"].as_str().unwrap();
        let mut words = resource.splitn(3, '.');
        let kind = words.next().unwrap();
        Finding { tool: "checkov", check: text(&failed["check_id"]), place: format!("{values} {kind}") }
    };
    failed.map(finding).collect()
}

async fn kube_score(values: &str, file: &Path) -> Vec<Finding> {
    let judge = Judge::named("kube-score").await;
    let mut command = Command::new(judge.path());
    command.args(["score", "--kubernetes-version", "v1.33", "--output-format", "json"]).arg(file);
    let report = json("kube-score", &Said::of(command.output().await.unwrap()));
    let mut findings = Vec::new();
    for object in report.as_array().unwrap() {
        let kind = text(&object["type_meta"]["kind"]);
        for check in object["checks"].as_array().into_iter().flatten() {
            if check["skipped"] != true && check["grade"].as_u64() < Some(10) {
                let place = format!("{values} {kind}");
                findings.push(Finding { tool: "kube-score", check: text(&check["check"]["id"]), place });
            }
        }
    }
    findings
}

// `PATH:LINE:COLUMN: [LEVEL] MESSAGE (RULE)`
async fn yamllint(paths: &[&str], place: impl Fn(&str) -> String) -> Vec<Finding> {
    let said = tools::run("yamllint", &[&["--strict", "--format", "parsable"], paths].concat()).await;
    assert!(said.errors.is_empty(), "{}", said.errors);
    let finding = |line: &str| {
        let (path, rest) = line.split_once(':').unwrap();
        let rule = rest.rsplit_once('(').and_then(|(_, rule)| rule.strip_suffix(')'));
        Finding { tool: "yamllint", check: rule.unwrap_or("syntax").to_owned(), place: place(path) }
    };
    said.text.lines().map(finding).collect()
}

// Without the CRDs.
async fn yamllint_of_default_values(helm: &Helm, folder: &Path) -> usize {
    let [values, file] = ["values.yaml", "render.yaml"].map(|name| folder.join(name));
    std::fs::write(&values, "crds: {install: false}\n").unwrap();
    std::fs::write(&file, helm.template(&values, "1.37.0").await.good("a render")).unwrap();
    yamllint(&[file.to_str().unwrap()], str::to_owned).await.len()
}

async fn zizmor() -> Vec<Finding> {
    // The strictest view.
    let arguments = ["--offline", "--persona", "auditor", "--format", "json", ".github/workflows"];
    let said = tools::run("zizmor", &arguments).await;
    let report = json("zizmor", &said);
    assert!(said.errors.contains("completed .github/workflows/ci.yaml"), "{}", said.errors);
    let finding = |found: &Value| {
        let file = &found["locations"][0]["symbolic"]["key"]["Local"]["given_path"];
        Finding { tool: "zizmor", check: text(&found["ident"]), place: text(file) }
    };
    report.as_array().unwrap().iter().map(finding).collect()
}

fn json(tool: &str, said: &Said) -> Value {
    serde_json::from_str(&said.text).unwrap_or_else(|error| panic!("{tool}: {error}: {}{}", said.text, said.errors))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((begin, rest)) => text.strip_prefix(begin).is_some_and(|text| {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| matches(rest, &text[at..]))
        }),
    }
}
