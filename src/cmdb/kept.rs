//! The form in which the items of a list are kept, and how much memory they take.

use serde::{Deserialize, Deserializer};

use super::Touched;
use super::evidence::{Oddity, Scoped, check_process_template};
use super::intake::footprint::Footprint;
use super::wire::{ProcessTemplate, ServiceCategory, ServiceTemplate};
use crate::outside::json_bytes;

/// A form in which a caller keeps process templates. Each is brought into it before the next is parsed: what is listed takes
/// many times of what is kept.
pub trait KeptForm: Footprint + Send + 'static {
    /// The form of a template that was listed.
    fn of(listed: ProcessTemplate) -> Self;
}

impl KeptForm for ProcessTemplate {
    fn of(listed: ProcessTemplate) -> Self {
        listed
    }
}

impl Footprint for ProcessTemplate {
    fn heap_bytes(&self) -> usize {
        let texts = [&self.bk_process_name, &self.creator, &self.modifier].map(String::capacity);
        let properties = self.property.iter().map(|(name, property)| {
            size_of_val(property).saturating_add(name.capacity()).saturating_add(json_bytes(&property.value))
        });
        texts.into_iter().chain(properties).fold(0, usize::saturating_add)
    }
}

impl Footprint for ServiceTemplate {
    fn heap_bytes(&self) -> usize {
        self.name.capacity()
    }
}

impl Footprint for ServiceCategory {
    fn heap_bytes(&self) -> usize {
        self.name.capacity()
    }
}

/// A listed process template in the form in which it is kept, and where it belongs.
#[derive(Debug)]
pub struct Listed<T> {
    /// `id`
    id: i64,
    /// `bk_biz_id`
    bk_biz_id: i64,
    /// `service_template_id`
    service_template_id: i64,
    /// The rest.
    pub form: T,
}

impl<'de, T: KeptForm> Deserialize<'de> for Listed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let listed = ProcessTemplate::deserialize(deserializer)?;
        let ProcessTemplate { id, bk_biz_id, service_template_id, .. } = listed;
        Ok(Self { id, bk_biz_id, service_template_id, form: T::of(listed) })
    }
}

impl<T: KeptForm> Footprint for Listed<T> {
    fn heap_bytes(&self) -> usize {
        self.form.heap_bytes()
    }
}

impl<T> Scoped for Listed<T> {
    fn id(&self) -> i64 {
        self.id
    }

    fn check_scope(&self, asked: Touched<'_>) -> Result<(), Oddity> {
        check_process_template(asked, self.id, self.bk_biz_id, self.service_template_id)
    }
}
