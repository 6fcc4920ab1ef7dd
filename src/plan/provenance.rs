//! Whether what a status remembers was made in the place that we look at now.

use super::{Memory, Observed};

/// Where the memory of a status was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Normalised URL of the CMDB.
    pub endpoint: Option<String>,
    /// `service_template_id`
    pub service_template_id: Option<i64>,
}

/// What became of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recall {
    /// It is of this place.
    Kept,
    /// The service template's name is that of another service template now: a new scope, nothing in the old one is
    /// touched.
    OtherServiceTemplate,
    /// It was made in another CMDB, and nothing of it is here.
    OtherEndpoint,
}

/// Keeps a memory only where it was made. A URL that changed while its CMDB did not is told by the templates: their
/// creation times are those that we remember.
pub fn recall(memory: &mut Memory, made_in: &Place, here: &Place, observed: &Observed) -> Recall {
    let other_endpoint = made_in.endpoint.is_some() && made_in.endpoint != here.endpoint;
    if other_endpoint {
        let is_here = memory.items.values().any(|remembered| {
            let listed = observed.by_id(remembered.id).and_then(|template| template.created_at);
            listed.is_some() && listed == remembered.created_at
        });
        if !is_here {
            *memory = Memory::default();
            return Recall::OtherEndpoint;
        }
    }
    if made_in.service_template_id.is_some() && made_in.service_template_id != here.service_template_id {
        *memory = Memory::default();
        return Recall::OtherServiceTemplate;
    }
    Recall::Kept
}
