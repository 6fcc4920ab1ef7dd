//! The Kustomize examples, built by kubectl: an overlay changes one process and keeps the others.

use process_template_operator::api::ProcessTemplateSetSpec;
use process_template_operator::plan::check;
use serde_json::Value;
use test_support::control_plane::shared;
use test_support::examples::folder;

async fn built(overlay: &str) -> Result<ProcessTemplateSetSpec, String> {
    let plane = shared().await;
    let output = plane.kubectl().arg("kustomize").arg(folder().join("kustomize").join(overlay)).output().await.unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let set: Value = serde_saphyr::from_str(&String::from_utf8_lossy(&output.stdout)).unwrap();
    Ok(serde_json::from_value(set["spec"].clone()).unwrap())
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn an_overlay_changes_one_process_and_keeps_the_others() {
    let base = built("base").await.unwrap();
    for overlay in ["staging", "staging-by-index"] {
        let mut spec = built(overlay).await.unwrap();
        assert_eq!(check(&spec), [], "{overlay}");
        spec.processes.sort_by_key(|process| base.processes.iter().position(|other| other.name == process.name));
        let api = spec.processes.iter_mut().find(|process| process.name == "api").unwrap();
        assert_eq!(api.user.as_deref(), Some("staging"), "{overlay}");
        api.user = Some("store".to_owned());
        assert_eq!(spec, base, "{overlay}");
    }
}
