//! The dashboard.

use serde_json::Value;

use super::chart_file;

pub struct Dashboard {
    panels: Vec<Value>,
    targets: Vec<Target>,
}

/// One query of a panel.
#[derive(Clone)]
pub struct Target {
    pub panel: String,
    pub expression: String,
    /// Whether it shows only the present.
    pub is_instant: bool,
}

impl Dashboard {
    /// Reads it, and holds it to what Grafana needs of a dashboard.
    pub fn read() -> Self {
        let text = std::fs::read_to_string(chart_file("dashboard.json")).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        assert!(dashboard["schemaVersion"].is_u64() && dashboard["uid"].is_string() && dashboard["title"].is_string());
        let all = dashboard["panels"].as_array().unwrap();
        let mut ids: Vec<u64> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.len(), "an ID is there twice");
        apart(all);
        let panels: Vec<Value> = all.iter().filter(|panel| panel["type"] != "row").cloned().collect();
        let mut targets = Vec::new();
        for panel in &panels {
            let title = panel["title"].as_str().unwrap();
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{title}");
            let of_panel = panel["targets"].as_array().unwrap();
            assert!(!of_panel.is_empty(), "{title} asks for nothing");
            targets.extend(of_panel.iter().map(|target| Target {
                panel: title.to_owned(),
                expression: target["expr"].as_str().unwrap().to_owned(),
                is_instant: target["instant"] == true,
            }));
        }
        Self { panels, targets }
    }

    pub fn panels(&self) -> usize {
        self.panels.len()
    }

    pub fn expressions(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().map(|target| target.expression.as_str())
    }

    /// Its queries, with values in place of its variables.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        self.targets.iter().map(|target| {
            let expression = target.expression.replace("$namespace", ".*").replace("$job", ".*");
            let expression = expression.replace("$__rate_interval", "5s");
            assert!(!expression.contains('$'), "{expression}");
            Target { expression, ..target.clone() }
        })
    }
}

// No two panels in one place, and none beyond the 24 columns.
fn apart(panels: &[Value]) {
    let mut taken = std::collections::BTreeSet::new();
    for panel in panels {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24, "{}", panel["title"]);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} covers another", panel["title"]);
        }
    }
}
