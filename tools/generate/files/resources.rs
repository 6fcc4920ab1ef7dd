//! The reference of each resource, from its CRD.

use std::fmt::Write as _;

use process_template_operator::api;
use serde_json::Value;

use super::File;

pub fn files() -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    for (_, crd) in api::crds()? {
        let kind = text(&crd["spec"]["names"]["kind"]).to_lowercase();
        files.push(File { path: format!("docs/reference/{kind}.md"), text: page(&crd)? });
    }
    Ok(files)
}

fn page(crd: &Value) -> anyhow::Result<String> {
    let (names, version) = (&crd["spec"]["names"], &crd["spec"]["versions"][0]);
    let schema = &version["schema"]["openAPIV3Schema"];
    let mut page = format!("# {}\n\n{}\n\n", text(&names["kind"]), text(&schema["description"]));
    writeln!(page, "* `apiVersion: {}/{}`", text(&crd["spec"]["group"]), text(&version["name"]))?;
    let short = names["shortNames"].as_array().into_iter().flatten().map(text);
    let is_namespaced = crd["spec"]["scope"] == "Namespaced";
    let scope = if is_namespaced { "of a namespace" } else { "of the cluster" };
    writeln!(page, "* {scope}; in short `{}`", short.collect::<Vec<_>>().join("`, `"))?;
    page.push_str("* a field that is not listed is refused\n\n## Columns\n\n| column | shows |\n|---|---|\n");
    for column in version["additionalPrinterColumns"].as_array().into_iter().flatten() {
        let wide = if column["priority"] == 1 { " (`-o wide`)" } else { "" };
        let path = text(&column["jsonPath"]).replace('|', "\\|");
        let said = column["description"].as_str().map_or_else(|| format!("`{path}`"), str::to_owned);
        writeln!(page, "| {}{wide} | {said} |", text(&column["name"]))?;
    }
    for part in ["spec", "status"] {
        object(part, &schema["properties"][part], &mut page)?;
    }
    Ok(page)
}

// A section for an object, and for each below it.
fn object(path: &str, schema: &Value, page: &mut String) -> anyhow::Result<()> {
    writeln!(page, "\n## {path}\n")?;
    if let Some(description) = schema["description"].as_str() {
        writeln!(page, "{description}\n")?;
    }
    let required = schema["required"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    page.push_str("| field | type | what it means |\n|---|---|---|\n");
    let mut rules: Vec<(String, &str)> = messages(schema).map(|message| (path.to_owned(), message)).collect();
    let mut below = Vec::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let mut kind = kind(field);
        if required.contains(&name.as_str()) {
            kind.push_str(", required");
        }
        let (inner, suffix) = inner(field);
        let cell = |text: &str| text.replace('|', "\\|");
        writeln!(page, "| `{name}` | {} | {} |", cell(&kind), cell(text(&field["description"])))?;
        let place = format!("{path}.{name}");
        rules.extend(messages(field).map(|message| (place.clone(), message)));
        if inner["properties"].is_object() {
            below.push((format!("{place}{suffix}"), inner));
        } else if !suffix.is_empty() {
            rules.extend(messages(inner).map(|message| (format!("{place}{suffix}"), message)));
        }
    }
    if !rules.is_empty() {
        page.push_str("\nRules:\n\n");
    }
    for (place, message) in rules {
        writeln!(page, "* `{place}`: {message}")?;
    }
    below.into_iter().try_for_each(|(path, schema)| object(&path, schema, page))
}

// What a list or a map is of, and what its path ends with.
fn inner(schema: &Value) -> (&Value, &'static str) {
    if schema["items"].is_object() {
        (&schema["items"], "[]")
    } else if schema["additionalProperties"].is_object() {
        (&schema["additionalProperties"], ".*")
    } else {
        (schema, "")
    }
}

// Type and bounds, in words.
fn kind(schema: &Value) -> String {
    let (of, suffix) = inner(schema);
    let mut words = match (text(&schema["type"]), suffix) {
        (_, "[]") => format!("list of {}", kind(of)),
        (_, ".*") => format!("map of {}", kind(of)),
        _ if schema["format"] == "date-time" => "time".to_owned(),
        ("", _) if schema["x-kubernetes-int-or-string"] == true => "integer or string".to_owned(),
        ("", _) => "any".to_owned(),
        (plain, _) => plain.to_owned(),
    };
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values.iter().map(|value| format!("`{}`", plain(value))).collect();
        words = format!("{words}: {}", values.join(", "));
    }
    for (least, most, unit) in
        [("minimum", "maximum", ""), ("minLength", "maxLength", " characters"), ("minItems", "maxItems", " items")]
    {
        let said = match (schema.get(least), schema.get(most)) {
            (Some(least), Some(most)) => format!(", {} to {}{unit}", plain(least), plain(most)),
            (Some(least), None) => format!(", at least {}{unit}", plain(least)),
            (None, Some(most)) => format!(", at most {}{unit}", plain(most)),
            (None, None) => String::new(),
        };
        words.push_str(&said);
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let _ = write!(words, ", `{pattern}`");
    }
    if let Some(keys) = schema["x-kubernetes-list-map-keys"].as_array() {
        let _ = write!(words, ", by {}", keys.iter().map(text).collect::<Vec<_>>().join(" and "));
    }
    if let Some(default) = schema.get("default") {
        let _ = write!(words, ", default `{}`", plain(default));
    }
    words
}

fn messages(schema: &Value) -> impl Iterator<Item = &str> {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    rules.map(|rule| rule["message"].as_str().unwrap_or_else(|| text(&rule["rule"])))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

// Without the quotes of JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
