//! The live state: plain data plus the indexes that keep a create and a list from scanning everything.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::holds::Holds;
use crate::model::property;
use crate::model::state::{ProcessTemplate, State};

/// State with indexes.
pub(crate) struct Database {
    /// Everything but the process templates, which live in `templates`.
    pub state: State,
    templates: BTreeMap<i64, ProcessTemplate>,
    scopes: HashMap<i64, Scope>,
    /// What abandoned transactions hold. Not part of the state: a restart frees it.
    pub holds: Holds,
}

/// What one service template contains.
#[derive(Default)]
struct Scope {
    ids: BTreeSet<i64>,
    names: HashMap<String, usize>,
    /// Function name and start parameter; a null start parameter never matches and so is not here.
    functions: HashMap<(String, String), usize>,
}

impl Database {
    /// Takes plain data in. Templates without an ID get one, and counters never point at an ID that is taken.
    pub fn new(mut state: State) -> Self {
        let templates = std::mem::take(&mut state.process_templates);
        let highest = templates.iter().map(|template| template.id).max().unwrap_or(0);
        state.next_ids.process_template = state.next_ids.process_template.max(highest + 1);
        let highest = state.service_templates.iter().map(|template| template.id).max().unwrap_or(0);
        state.next_ids.service_template = state.next_ids.service_template.max(highest + 1);
        state.id_step = state.id_step.max(1);

        let mut database = Self { state, templates: BTreeMap::new(), scopes: HashMap::new(), holds: Holds::default() };
        let unnumbered: Vec<usize> = (0..database.state.service_templates.len())
            .filter(|&at| database.state.service_templates[at].id == 0)
            .collect();
        for at in unnumbered {
            database.state.service_templates[at].id = database.next_service_template_id();
        }

        for mut template in templates {
            if template.id == 0 {
                template.id = database.next_process_template_id();
            }
            if template.bk_process_name.is_empty() {
                let name = property::text(&template.property, "bk_process_name").unwrap_or_default();
                name.clone_into(&mut template.bk_process_name);
            }
            database.remove(template.id);
            database.insert(template);
        }

        database
    }

    /// The whole as plain data.
    pub fn export(&self) -> State {
        State { process_templates: self.templates.values().cloned().collect(), ..self.state.clone() }
    }

    /// Puts other data in the place of all that is here; what is held stays held.
    pub fn replace(&mut self, state: State) {
        let holds = std::mem::take(&mut self.holds);
        *self = Self { holds, ..Self::new(state) };
    }

    pub fn next_process_template_id(&mut self) -> i64 {
        let id = self.state.next_ids.process_template;
        self.state.next_ids.process_template = id.saturating_add(self.state.id_step);
        id
    }

    pub fn next_service_template_id(&mut self) -> i64 {
        let id = self.state.next_ids.service_template;
        self.state.next_ids.service_template = id.saturating_add(self.state.id_step);
        id
    }

    pub fn insert(&mut self, template: ProcessTemplate) {
        let scope = self.scopes.entry(template.service_template_id).or_default();
        scope.ids.insert(template.id);
        *scope.names.entry(name(&template).to_owned()).or_default() += 1;
        if let Some(function) = function(&template) {
            *scope.functions.entry(function).or_default() += 1;
        }
        self.templates.insert(template.id, template);
    }

    pub fn remove(&mut self, id: i64) -> Option<ProcessTemplate> {
        let template = self.templates.remove(&id)?;
        if let Some(scope) = self.scopes.get_mut(&template.service_template_id) {
            scope.ids.remove(&id);
            release(&mut scope.names, name(&template));
            if let Some(function) = function(&template) {
                release(&mut scope.functions, &function);
            }
        }
        Some(template)
    }

    pub fn is_name_taken(&self, service_template_id: i64, name: &str) -> bool {
        self.scopes.get(&service_template_id).is_some_and(|scope| scope.names.contains_key(name))
    }

    pub fn is_function_taken(&self, service_template_id: i64, function: &(String, String)) -> bool {
        self.scopes.get(&service_template_id).is_some_and(|scope| scope.functions.contains_key(function))
    }

    pub fn template(&self, id: i64) -> Option<&ProcessTemplate> {
        self.templates.get(&id)
    }

    /// All process templates by ascending ID.
    pub fn templates(&self) -> impl Iterator<Item = &ProcessTemplate> {
        self.templates.values()
    }

    /// Those of one service template by ascending ID.
    pub fn templates_of(&self, service_template_id: i64) -> impl Iterator<Item = &ProcessTemplate> {
        let ids = self.scopes.get(&service_template_id).map(|scope| scope.ids.iter());
        ids.into_iter().flatten().filter_map(|id| self.templates.get(id))
    }

    /// How many of one service template there are.
    pub fn count_of(&self, service_template_id: i64) -> usize {
        self.scopes.get(&service_template_id).map_or(0, |scope| scope.ids.len())
    }

    pub fn has_business(&self, id: i64) -> bool {
        self.state.businesses.iter().any(|business| business.bk_biz_id == id)
    }
}

/// The server looks the name up in the property, not in its copy.
fn name(template: &ProcessTemplate) -> &str {
    property::text(&template.property, "bk_process_name").unwrap_or(&template.bk_process_name)
}

fn function(template: &ProcessTemplate) -> Option<(String, String)> {
    let start_parameter = property::text(&template.property, "bk_start_param_regex")?;
    let function = property::text(&template.property, "bk_func_name").unwrap_or_default();
    Some((function.to_owned(), start_parameter.to_owned()))
}

fn release<K, Q>(counts: &mut HashMap<K, usize>, key: &Q)
where
    K: std::borrow::Borrow<Q> + std::hash::Hash + Eq,
    Q: std::hash::Hash + Eq + ?Sized,
{
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
