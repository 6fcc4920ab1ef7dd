//! What Kustomize has to know of a set to merge a patch into its lists instead of replacing them.

use anyhow::Context as _;
use process_template_operator::api;
use serde_json::{Map, Value, json};

use super::File;

/// An `OpenAPI` document with the merge keys of sets, taken from the CRD: Kustomize reads no CRDs.
pub fn files() -> anyhow::Result<Vec<File>> {
    let crds = api::crds()?;
    let mut crds = crds.iter().map(|(_, crd)| crd);
    let set = crds.find(|crd| crd["spec"]["names"]["kind"] == "ProcessTemplateSet").context("no CRD of sets")?;
    let (group, version) = (&set["spec"]["group"], &set["spec"]["versions"][0]);
    let mut schema = merge_keys(&version["schema"]["openAPIV3Schema"]["properties"]["spec"]).context("no merge key")?;
    schema = json!({
        "type": "object",
        "properties": { "spec": schema },
        "x-kubernetes-group-version-kind": [
            { "group": group, "version": version["name"], "kind": "ProcessTemplateSet" },
        ],
    });
    let document = json!({ "definitions": { "ProcessTemplateSet": schema } });
    let text = format!("{}\n", serde_json::to_string_pretty(&document)?);
    Ok(vec![File { path: "examples/kustomize/staging/openapi.json".to_owned(), text }])
}

// The part of a schema that leads to lists with a key; None: it has none.
fn merge_keys(schema: &Value) -> Option<Value> {
    match schema["type"].as_str()? {
        "object" => {
            let properties = schema["properties"].as_object()?.iter();
            let keyed: Map<String, Value> =
                properties.filter_map(|(name, schema)| Some((name.clone(), merge_keys(schema)?))).collect();
            (!keyed.is_empty()).then(|| json!({ "type": "object", "properties": keyed }))
        }
        "array" => {
            let key = schema["x-kubernetes-list-map-keys"].as_array()?.first()?;
            let items = merge_keys(&schema["items"]).unwrap_or_else(|| json!({ "type": "object" }));
            Some(json!({
                "type": "array",
                "items": items,
                "x-kubernetes-patch-merge-key": key,
                "x-kubernetes-patch-strategy": "merge",
            }))
        }
        _ => None,
    }
}
