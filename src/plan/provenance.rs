//! Whether what a status remembers was made in the place that is planned for now.

use super::{Intent, Memory, Observed};

/// Where the memory of a status was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Normalised URL of the CMDB.
    pub endpoint: Option<String>,
    /// `service_template_id`
    pub service_template_id: Option<i64>,
}

/// Where a memory was made, as seen from the place that is planned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// In this place: the memory was kept.
    Here,
    /// In another service template, to which the name led then. This is a new scope; nothing in the old one is touched.
    OtherServiceTemplate,
    /// In another CMDB, and none of its templates is in this one.
    OtherEndpoint,
}

/// Clears a memory that was not made here. A URL that changed while its CMDB did not is recognised by the templates: one
/// has the ID and the creation time that the memory has, or was created by an intent. Where there are intents only, and no list
/// shows yet what became of them, they are kept: until their grace period is over the create may still be stored.
pub fn check_provenance(memory: &mut Memory, made_in: &Place, here: &Place, observed: &Observed) -> Provenance {
    let other_endpoint = made_in.endpoint.is_some() && made_in.endpoint != here.endpoint;
    if other_endpoint {
        let is_here = memory.items.values().any(|remembered| {
            let listed = observed.by_id(remembered.id).and_then(|template| template.created_at);
            listed.is_some() && listed == remembered.created_at
        });
        let is_stored = |intent: &Intent| observed.templates.iter().any(|template| intent.describes(template));
        let is_here = is_here || memory.intents.values().any(is_stored);

        if !is_here && memory.items.is_empty() && is_of(made_in, here) {
            memory.replacements.clear();
            return Provenance::OtherEndpoint;
        }
        if !is_here {
            *memory = Memory::default();
            return Provenance::OtherEndpoint;
        }
    }

    if made_in.service_template_id.is_some() && made_in.service_template_id != here.service_template_id {
        *memory = Memory::default();
        return Provenance::OtherServiceTemplate;
    }
    Provenance::Here
}

// Whether both are a service template of the same ID.
fn is_of(made_in: &Place, here: &Place) -> bool {
    made_in.service_template_id.is_none() || made_in.service_template_id == here.service_template_id
}
