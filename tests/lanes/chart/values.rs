//! What each value does.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::helm::{CHART, Helm, values_files};

/// How many values are documented, and those without which no render of the tested values is another.
pub async fn without_effect() -> (usize, Vec<String>) {
    let helm = Helm::newest().await;
    let folder = tempfile::tempdir().unwrap();
    let render = async |values: &Value| {
        let file = folder.path().join("values.json");
        std::fs::write(&file, values.to_string()).unwrap();
        helm.template(&file, "1.37.0").await
    };
    let mut files: BTreeMap<String, (Value, String)> = BTreeMap::new();
    for (name, file) in values_files() {
        let values: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let whole = render(&values).await.good(&name);
        files.insert(name, (values, whole));
    }
    let documented = documented();
    let mut idle = Vec::new();
    'values: for path in &documented {
        for (values, whole) in files.values() {
            let mut less = values.clone();
            // What is left out has the default.
            if take(&mut less, path) && render(&less).await.text != *whole {
                continue 'values;
            }
        }
        idle.push(path.clone());
    }
    (documented.len(), idle)
}

// The rows of the table of values.
fn documented() -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(CHART).join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let rows: Vec<String> = rows.map(|(path, _)| path.to_owned()).collect();
    assert!(rows.len() > 50, "{rows:?}");
    rows
}

// Whether there was a value to take.
fn take(values: &mut Value, path: &str) -> bool {
    let (outer, name) = path
        .rsplit_once('.')
        .map_or((String::new(), path), |(outer, name)| (format!("/{}", outer.replace('.', "/")), name));
    let object = values.pointer_mut(&outer).and_then(Value::as_object_mut);
    object.is_some_and(|object| object.remove(name).is_some())
}
