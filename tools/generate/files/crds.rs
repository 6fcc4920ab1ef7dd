//! The CRDs, for `kubectl apply`.

use process_template_operator::api;

use super::File;

pub fn files() -> anyhow::Result<Vec<File>> {
    let crds = api::crds()?.into_iter();
    let files = crds.map(|(file, crd)| Ok(File { path: format!("crds/{file}"), text: api::yaml(&crd)? }));
    files.collect()
}
