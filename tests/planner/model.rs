//! A CMDB of one scope, as strict as the real one: what the planner's steps are carried out on.

#![allow(clippy::trivially_copy_pass_by_ref, reason = "as the planner takes it")]

use std::collections::BTreeSet;
use std::sync::Arc;

use process_template_operator::plan::{
    Desired, Memory, Observed, OtherSet, Plan, Policy, Properties, Remembered, ServerSchema, Step, Template, Value,
    interned, plan,
};

const SHARED: &[&str] = &[
    "bk_func_name",
    "bk_process_name",
    "bk_start_param_regex",
    "proc_num",
    "priority",
    "timeout",
    "auto_start",
    "user",
    "description",
    "pid_file",
    "work_path",
    "start_cmd",
    "stop_cmd",
    "restart_cmd",
    "reload_cmd",
    "face_stop_cmd",
];

/// The server.
#[derive(Clone)]
pub struct Server {
    pub schema: ServerSchema,
    pub templates: Vec<Template>,
    pub other_sets: Vec<OtherSet>,
    /// Our own user.
    pub user: String,
    next_id: i64,
}

impl Server {
    pub fn new(schema: ServerSchema) -> Self {
        Self { schema, templates: Vec::new(), other_sets: Vec::new(), user: "ours".to_owned(), next_id: 100 }
    }

    /// A server that has these items, created by somebody.
    pub fn stored(desired: &Desired, creator: &str) -> Self {
        let mut server = Self::new(ServerSchema::BindInfo);
        for item in &desired.items {
            server.store(&item.properties(ServerSchema::BindInfo).unwrap(), creator);
        }
        server
    }

    pub fn observed(&self) -> Observed {
        let schema = if self.templates.is_empty() { ServerSchema::Unknown } else { self.schema };
        Observed { schema, templates: Arc::new(self.templates.clone()), user: Some(self.user.clone()) }
    }

    /// A memory in which the first template is that of the item "nginx", and was last in sync with this hash.
    pub fn remembered(&self, applied_hash: Option<&str>) -> Memory {
        let template = &self.templates[0];
        let remembered = Remembered {
            id: template.id,
            created_at: template.created_at,
            created_by: None,
            process_name: template.process_name.clone(),
            applied_hash: applied_hash.map(str::to_owned),
        };
        Memory { items: [("nginx".to_owned(), remembered)].into(), ..Memory::default() }
    }

    pub fn named(&self, name: &str) -> Option<&Template> {
        self.templates.iter().find(|template| template.process_name == name)
    }

    // As CMDB does it: what it does not have is dropped, what is absent is shown as empty.
    pub fn store(&mut self, sent: &Properties, creator: &str) -> i64 {
        let sockets: &[&str] = match self.schema {
            ServerSchema::Flat => &["bind_ip", "port", "protocol", "auto_time_gap", "bk_func_id"],
            _ => &["bind_info", "bk_start_check_secs"],
        };
        let mut properties = Properties::default();
        for name in SHARED.iter().chain(sockets) {
            let mut pair = sent.get(name).cloned().unwrap_or_default();
            if let Value::Rows(rows) = &mut pair.value {
                rows.iter_mut().zip(1..).for_each(|(row, id)| row.id = Some(id));
                rows.reverse();
            }
            properties.insert(name, pair);
        }
        self.next_id += 1;
        let (id, time) = (self.next_id, Some(self.next_id * 1000));
        self.templates.push(Template {
            id,
            process_name: text(&properties, "bk_process_name").to_owned(),
            properties,
            shown: Some(Arc::new(SHARED.iter().chain(sockets).map(|name| interned(name)).collect())),
            creator: creator.to_owned(),
            created_at: time,
            modifier: creator.to_owned(),
            changed_at: time,
        });
        id
    }

    /// Carries out one step.
    ///
    /// # Errors
    /// The key and the code when CMDB would refuse it, and then nothing is changed.
    pub fn step(&mut self, step: &Step) -> Result<(), (String, &'static str)> {
        let before = self.templates.clone();
        let (key, id) = match step {
            Step::Create { key, create } => (key, Some(self.store(&create.properties, &self.user.clone()))),
            Step::Update { key, id, properties, .. } => {
                self.update(*id, properties);
                (key, Some(*id))
            }
            Step::Delete { key, id } => {
                self.templates.retain(|template| template.id != *id);
                assert_eq!(self.templates.len(), before.len() - 1, "{id} does not exist");
                (key, None)
            }
        };
        match id.and_then(|id| self.refusal(id)) {
            None => Ok(()),
            Some(code) => {
                self.templates = before;
                Err((key.clone(), code))
            }
        }
    }

    fn update(&mut self, id: i64, properties: &Properties) {
        assert!(properties.get("bk_func_name").is_none(), "CMDB ignores it");
        let template = self.templates.iter_mut().find(|template| template.id == id).unwrap();
        for (name, pair) in properties.iter() {
            assert_ne!(template.properties.get(name), Some(pair), "{name} is sent and does not differ");
            if template.shown.as_ref().is_some_and(|shown| shown.contains(name)) {
                template.properties.insert(name, pair.clone());
            }
        }
        template.process_name = text(&template.properties, "bk_process_name").to_owned();
        self.user.clone_into(&mut template.modifier);
    }

    // Name and pair are unique; a stored start parameter that is null does not count.
    fn refusal(&self, id: i64) -> Option<&'static str> {
        let template = self.templates.iter().find(|template| template.id == id).unwrap();
        let pair = |template: &Template| {
            let parameter = template.properties.get("bk_start_param_regex")?.value.as_text()?.to_owned();
            Some((text(&template.properties, "bk_func_name").to_owned(), parameter))
        };
        let own = (
            text(&template.properties, "bk_func_name").to_owned(),
            text(&template.properties, "bk_start_param_regex").to_owned(),
        );
        let others = || self.templates.iter().filter(|other| other.id != id);
        if others().any(|other| other.process_name == template.process_name) {
            return Some("1113019");
        }
        others().any(|other| pair(other).as_ref() == Some(&own)).then_some("1113020")
    }

    /// Plans and carries out until nothing is left to do; the steps that were made. A name that is taken is never sent.
    pub fn run(&mut self, desired: &Desired, memory: &mut Memory, policy: &Policy, most: usize) -> Vec<Step> {
        let mut made = Vec::new();
        for _ in 0..20 {
            let plan = self.plan(desired, memory, policy);
            memory.absorb(&plan);
            if plan.steps.is_empty() {
                return made;
            }
            for step in &plan.steps {
                if made.len() == most {
                    return made;
                }
                match self.step(step) {
                    Ok(()) => {
                        self.note(step, &plan, memory);
                        made.push(step.clone());
                    }
                    Err((key, code)) => {
                        assert_ne!(code, "1113019", "{step:?}");
                        memory.refused.insert(key, code.to_owned());
                        break;
                    }
                }
            }
        }
        panic!("no end: {made:?}");
    }

    /// Takes over into the memory that a step was answered.
    pub fn note(&self, step: &Step, plan: &Plan, memory: &mut Memory) {
        if let Step::Create { key, create } = step {
            memory.created(key, &create.process_name, self.next_id, plan.is_temporary(key, create));
        }
    }

    pub fn plan(&self, desired: &Desired, memory: &Memory, policy: &Policy) -> Plan {
        let observed = self.observed();
        let made = plan(desired, &observed, &self.other_sets, memory, policy);
        assert_eq!(made, plan(desired, &observed, &self.other_sets, memory, policy), "deterministic");
        let ids: BTreeSet<i64> = self.templates.iter().map(|template| template.id).collect();
        for step in &made.steps {
            if let Step::Update { id, .. } | Step::Delete { id, .. } = step {
                assert!(ids.contains(id), "{id} is outside the scope");
            }
        }
        made
    }
}

fn text<'a>(properties: &'a Properties, name: &str) -> &'a str {
    properties.get(name).and_then(|pair| pair.value.as_text()).unwrap_or_default()
}
