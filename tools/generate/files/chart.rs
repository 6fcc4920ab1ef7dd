//! What the chart takes from the code: its values with their schema and table, the CRDs, and what it says of itself.

use process_template_operator::api;
use serde_json::{Value, json};

use super::{File, values};

const CHART: &str = "charts/process-template-operator";

// An example of each kind.
const EXAMPLES: [&str; 3] = [
    include_str!("../../../examples/api-document.yaml"),
    include_str!("../../../examples/connection.yaml"),
    include_str!("../../../examples/shared-connection.yaml"),
];

pub fn files() -> anyhow::Result<Vec<File>> {
    let schema = values::schema();
    let mut files = vec![
        file("Chart.yaml", about()?),
        file("values.yaml", values::values_yaml(&schema)?),
        file("values.schema.json", format!("{schema:#}\n")),
        file("README.md", format!("{README}{}", values::table(&schema)?)),
    ];
    for (name, crd) in api::crds()? {
        files.push(file(&format!("files/crds/{name}"), api::yaml(&crd)?));
    }
    Ok(files)
}

fn file(name: &str, text: String) -> File {
    File { path: format!("{CHART}/{name}"), text }
}

// Artifact Hub shows what its annotations say.
fn about() -> anyhow::Result<String> {
    let (version, name) = (env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_NAME"));
    let mut kinds = Vec::new();
    for (_, crd) in api::crds()? {
        let names = &crd["spec"]["names"];
        let described = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"];
        kinds.push(json!({
            "kind": names["kind"], "version": crd["spec"]["versions"][0]["name"], "name": crd["metadata"]["name"],
            "displayName": names["kind"], "description": described,
        }));
    }
    let embedded = |value: &Value| serde_saphyr::to_string(value);
    let images = json!([{ "name": "operator", "image": format!("{name}:{version}") }]);
    let is_prerelease = version.starts_with("0.") || version.contains('-');
    Ok(serde_saphyr::to_string(&json!({
        "apiVersion": "v2",
        "name": name,
        "description": env!("CARGO_PKG_DESCRIPTION"),
        "type": "application",
        "version": version,
        "appVersion": version,
        "kubeVersion": ">=1.33.0-0",
        "keywords": ["bk-cmdb", "blueking", "cmdb", "operator", "process-template"],
        "annotations": {
            "artifacthub.io/license": env!("CARGO_PKG_LICENSE"),
            "artifacthub.io/category": "integration-delivery",
            "artifacthub.io/operator": "true",
            "artifacthub.io/operatorCapabilities": "Full Lifecycle",
            "artifacthub.io/prerelease": is_prerelease.to_string(),
            "artifacthub.io/crds": embedded(&Value::from(kinds))?,
            "artifacthub.io/crdsExamples": embedded(&examples()?)?,
            "artifacthub.io/images": embedded(&images)?,
        },
    }))?)
}

// The last document of each file: what comes before it is no kind of ours.
fn examples() -> anyhow::Result<Value> {
    let last = |text: &str| serde_saphyr::from_str(text.rsplit("\n---\n").next().unwrap_or(text));
    Ok(EXAMPLES.iter().map(|text| last(text)).collect::<Result<Vec<Value>, _>>()?.into())
}

const README: &str = "\
# process-template-operator

A chart for Helm 3 and 4, and Kubernetes 1.33 and newer.

```sh
helm install process-template-operator charts/process-template-operator --namespace ptset-system --create-namespace --wait
helm test process-template-operator --namespace ptset-system
```

* The CRDs come with the chart, are upgraded with it, and stay when the release goes, with all sets and connections. Where
  another release has left them, or `kubectl apply -f crds/`, install with `--take-ownership`, under Helm 4 with
  `--force-conflicts` too; or with `--set crds.install=false`.
* `watchNamespaces` makes it an operator of those namespaces: it has roles there alone, and nothing of the cluster but
  the right to read the CRD of sets. Several releases may then share a cluster; one of them has `crds.install`.
* `secrets.names` gives it the right to get those Secrets and no others. Else it may read all Secrets of the namespaces
  that it serves.
* The network policy opens ports, to any address: those of name servers, API servers and CMDB, of `connectionUrls` and of
  `proxy`. Another port of CMDB, such as that of pods behind a Service, goes into `networkPolicy.cmdb.ports`. Narrow it with
  `cidrs`: a policy knows no host names, and most networks judge it by the address of the API server's endpoint, not of its
  Service: `kubectl get endpointslices -l kubernetes.io/service-name=kubernetes` has address and port.
  Where the cluster has Cilium, to which no CIDR block means a node, a policy of its own kind comes with such `cidrs`.
* `ci/` has values that are tested: `hardened-values.yaml` is the strictest.

No object of the values takes a key that is not known, so a misspelt one is refused with its path. In the table, what is
an object of Kubernetes is written as in its own documentation.

";
