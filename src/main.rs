//! The controller and its command line.

fn main() -> anyhow::Result<()> {
    for (file, crd) in process_template_operator::api::crds()? {
        std::fs::write(format!("crds/{file}"), process_template_operator::api::yaml(&crd)?)?;
    }
    Ok(())
}
