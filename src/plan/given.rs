//! What a plan is made from, and what follows from it for one template alone.

use super::{Desired, DesiredItem, Hold, Intent, Memory, Observed, OtherSet, Owner, Policy, Template};

/// What a plan is made from.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// What is wanted.
    pub desired: &'a Desired,
    /// What CMDB lists.
    pub observed: &'a Observed,
    /// The other live sets of the service template.
    pub other_sets: &'a [OtherSet],
    /// What is remembered.
    pub memory: &'a Memory,
    /// What the set allows.
    pub policy: &'a Policy,
}

impl<'a> Given<'a> {
    /// The item of this key.
    pub fn item(&self, key: &str) -> Option<&'a DesiredItem> {
        self.desired.items.iter().find(|item| item.key == key)
    }

    /// Whether it was created by a user that is known to be another.
    pub fn is_strangers(&self, template: &Template) -> bool {
        let known = self.observed.user.as_ref().filter(|_| !template.creator.is_empty());
        known.is_some_and(|user| template.creator != *user)
    }

    /// Whether it was created by our own user, as far as the user shows that.
    pub fn is_surely_ours(&self, template: &Template) -> bool {
        self.observed.user.as_ref().is_some_and(|user| template.creator == *user)
    }

    /// Whether the user who sent a create can have created it. Where that user is not known, our own is meant.
    pub fn is_creator(&self, user: Option<&String>, template: &Template) -> bool {
        match user {
            Some(user) => user.is_empty() || template.creator.is_empty() || template.creator == *user,
            None => !self.is_strangers(template),
        }
    }

    /// Whether an intent of ours can have created it.
    pub fn explains(&self, intent: &Intent, template: &Template) -> bool {
        intent.describes(template) && self.is_creator(intent.user.as_ref(), template)
    }

    /// Whether another set has it.
    pub fn is_owned(&self, template: &Template) -> bool {
        self.other_owner(|other| other.owns(template)).is_some()
    }

    /// What holds the name back, where another set has begun a create of it.
    pub fn hold(&self, process_name: &str) -> Option<Hold> {
        let awaiting = self.other_sets.iter().find(|other| other.awaits(process_name));
        awaiting.map(|other| Hold::OtherSetsCreate(other.name.clone()))
    }

    /// The first other set that claims it so.
    pub fn other_owner(&self, claims: impl Fn(&OtherSet) -> bool) -> Option<Owner> {
        self.other_sets.iter().find(|other| claims(other)).map(|other| Owner::Set(other.name.clone()))
    }
}
