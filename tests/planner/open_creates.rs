//! Creates whose outcome is open: which template is theirs where a name is there twice, and what other sets leave alone meanwhile.

use process_template_operator::api::ProcessTemplateSetSpec;
use process_template_operator::plan::{
    Basis, Decision, Desired, Fate, Hold, Intent, IntentFate, Memory, OtherSet, Pair, Plan, Policy, ServerSchema,
    SetName, Step, intent_hash,
};
use serde_json::{Value, json};

use crate::model::Server;

fn set(mut spec: Value) -> (Desired, Policy) {
    spec["bizId"] = 2.into();
    spec["serviceTemplate"] = json!({ "name": "web" });
    let spec: ProcessTemplateSetSpec = serde_json::from_value(spec).unwrap();
    let name = SetName { namespace: "shop".to_owned(), name: "web".to_owned() };
    (Desired::from_spec(name, &spec), Policy::of(&spec))
}

fn spec(adoption: &str, process_name: &str, function: &str) -> Value {
    json!({
        "adoptionPolicy": adoption, "deletionPolicy": "Delete", "replacePolicy": "Recreate",
        "processes": [{ "name": "a", "processName": process_name, "funcName": function }],
    })
}

fn intent(desired: &Desired, after_id: i64, fate: IntentFate) -> Intent {
    let item = &desired.items[0];
    let hash = intent_hash(&item.properties(ServerSchema::BindInfo).unwrap());
    Intent { process_name: item.process_name.clone(), hash, after_id, user: Some("ours".to_owned()), fate }
}

// A set that is younger than ours, has begun a create of the name, and waits for its outcome.
fn other(process_name: &str, fate: IntentFate) -> OtherSet {
    let (desired, _) = set(spec("IfIdentical", process_name, "f"));
    let intents = [("a".to_owned(), intent(&desired, 0, fate))].into();
    OtherSet { name: Some("other".to_owned()), intents, ..OtherSet::default() }
}

fn held(plan: &Plan) -> bool {
    let hold = Hold::OtherSetsCreate(Some("other".to_owned()));
    plan.items.iter().all(|item| item.decision == Decision::Held(hold.clone())) && plan.steps.is_empty()
}

#[test]
fn an_intent_is_matched_against_all_templates_of_its_name() {
    for adoption in ["Never", "IfIdentical"] {
        let (desired, policy) = set(spec(adoption, "a", "f"));
        let mut server = Server::new(ServerSchema::BindInfo);
        let (hers, _) = set(spec("Never", "a", "hers"));
        server.store(&hers.items[0].properties(ServerSchema::BindInfo).unwrap(), "ours");
        let ours = server.store(&desired.items[0].properties(ServerSchema::BindInfo).unwrap(), "ours");
        let intents = [("a".to_owned(), intent(&desired, 0, IntentFate::Open))].into();
        let plan = server.plan(&desired, &Memory { intents, ..Memory::default() }, &policy);
        let found = plan.items[0].found.as_ref().unwrap();
        assert_eq!((found.id, found.basis), (ours, Basis::Claimed), "{adoption}");
        assert!(plan.is_settled(), "{adoption}: {plan:?}");
    }
}

#[test]
fn the_name_of_another_sets_open_create_is_neither_created_nor_taken_over() {
    for adoption in ["Never", "IfIdentical", "Always"] {
        let (desired, policy) = set(spec(adoption, "a", "f"));
        for is_stored in [false, true] {
            let mut server = Server::new(ServerSchema::BindInfo);
            if is_stored {
                server.store(&desired.items[0].properties(ServerSchema::BindInfo).unwrap(), "ours");
                server.templates[0].properties.insert("user", Pair::new("root", false));
            }
            server.other_sets = vec![other("a", IntentFate::Open)];
            let plan = server.plan(&desired, &Memory::default(), &policy);
            assert!(held(&plan), "{adoption} {is_stored}: {plan:?}");
            server.other_sets = vec![other("b", IntentFate::Open), other("a", IntentFate::Over)];
            let plan = server.plan(&desired, &Memory::default(), &policy);
            assert!(!held(&plan), "{adoption} {is_stored}: {plan:?}");
        }
    }
}

#[test]
fn a_template_is_not_renamed_to_the_name_of_another_sets_open_create() {
    let mut server = Server::new(ServerSchema::BindInfo);
    let mut memory = Memory::default();
    let (desired, policy) = set(spec("Always", "before", "f"));
    server.run(&desired, &mut memory, &policy, usize::MAX);
    let (desired, policy) = set(spec("Always", "a", "f"));
    server.other_sets = vec![other("a", IntentFate::Open)];
    assert!(held(&server.plan(&desired, &memory, &policy)));
    server.other_sets = vec![other("a", IntentFate::Over)];
    assert_eq!(server.plan(&desired, &memory, &policy).steps.len(), 1);
}

#[test]
fn a_template_of_the_name_of_another_sets_open_create_is_not_deleted() {
    let (desired, policy) = set(spec("IfIdentical", "a", "f"));
    let mut settled = Server::new(ServerSchema::BindInfo);
    let mut memory = Memory::default();
    settled.run(&desired, &mut memory, &policy, usize::MAX);
    let id = settled.templates[0].id;

    // It has left the set.
    let (nothing, policy) = set(json!({ "deletionPolicy": "Delete", "processes": [] }));
    let mut server = settled.clone();
    server.other_sets = vec![other("a", IntentFate::Open)];
    let plan = server.plan(&nothing, &memory, &policy);
    assert_eq!((plan.removals[0].fate, plan.steps.len()), (Fate::DeleteLater, 0), "{plan:?}");
    let mut after = memory.clone();
    after.absorb(&plan);
    assert!(after.items.contains_key("a"), "it is remembered until then");
    server.other_sets = vec![other("a", IntentFate::Over)];
    assert!(server.plan(&nothing, &after, &policy).deletes(id));

    // It is to be replaced, or is being replaced.
    let (replaced, policy) = set(spec("IfIdentical", "a", "new"));
    let mut server = settled.clone();
    server.other_sets = vec![other("a", IntentFate::Open)];
    assert!(held(&server.plan(&replaced, &memory, &policy)));
    server.other_sets.clear();
    server.run(&replaced, &mut memory, &policy, 1);
    server.other_sets = vec![other("a", IntentFate::Open)];
    let midway = server.plan(&replaced, &memory, &policy);
    assert!(!midway.deletes(id) && midway.steps.is_empty(), "{midway:?}");
    memory.absorb(&midway);
    server.other_sets = vec![other("a", IntentFate::Over)];
    let steps = server.run(&replaced, &mut memory, &policy, usize::MAX);
    assert!(matches!(steps.as_slice(), [Step::Delete { .. }, Step::Update { .. }]), "{steps:?}");
}

// The own template of a set stays its own, whatever another set has begun.
#[test]
fn what_a_set_has_is_changed_while_another_sets_create_of_its_name_is_open() {
    let mut server = Server::new(ServerSchema::BindInfo);
    let mut memory = Memory::default();
    let (desired, policy) = set(spec("Never", "a", "f"));
    server.run(&desired, &mut memory, &policy, usize::MAX);
    let mut changed = spec("Never", "a", "f");
    changed["processes"][0]["startCmd"] = "./run".into();
    let (desired, policy) = set(changed);
    server.other_sets = vec![other("a", IntentFate::Open)];
    assert!(matches!(server.plan(&desired, &memory, &policy).steps.as_slice(), [Step::Update { .. }]));
}
