//! What the planner promises, over given and over random specs and servers.

use crate::model::Server;
use process_template_operator::api::{DeletionPolicy, ProcessTemplateSetSpec, ReplacePolicy};
use process_template_operator::plan::{
    Basis, Decision, Desired, Hold, Intent, IntentFate, Memory, Observed, OtherSet, Pair, Place, Plan, Policy,
    Provenance, Remembered, ServerSchema, SetName, Value as PlanValue, check_provenance, intent_hash,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn spec(processes: &Value) -> ProcessTemplateSetSpec {
    let spec = json!({ "bizId": 2, "serviceTemplate": { "name": "web" }, "processes": processes });
    serde_json::from_value(spec).unwrap()
}

fn desired(processes: Value) -> Desired {
    Desired::from_spec(SetName { namespace: "shop".to_owned(), name: "web".to_owned() }, &spec(&processes))
}

fn policy() -> Policy {
    Policy::of(&spec(&json!([])))
}

fn plan(desired: &Desired, observed: &Observed, memory: &Memory) -> Plan {
    process_template_operator::plan::plan(desired, observed, &[], memory, &policy())
}

fn nginx() -> Value {
    json!({ "name": "nginx", "funcName": "nginx", "startCmd": "./start.sh", "procNum": 1, "bindInfo": [
        { "ip": "0.0.0.0", "port": 8000, "protocol": "TCP", "enable": true },
        { "ip": "127.0.0.1", "port": "9000-9010", "protocol": "UDP" },
    ] })
}

fn stored(processes: Value, creator: &str) -> Server {
    Server::stored(&desired(processes), creator)
}

fn apply(server: &mut Server, plan: &Plan) {
    plan.steps.iter().for_each(|step| server.step(step).unwrap());
}

fn basis(plan: &Plan, key: &str) -> Option<Basis> {
    let item = plan.items.iter().find(|item| item.key == key).unwrap();
    let in_sync = matches!(item.decision, Decision::InSync { .. });
    item.found.as_ref().filter(|_| in_sync).map(|found| found.basis)
}

fn decision(plan: &Plan, key: &str) -> Decision {
    plan.items.iter().find(|item| item.key == key).unwrap().decision.clone()
}

fn intent(desired: &Desired, after_id: i64, fate: IntentFate) -> Intent {
    let properties = desired.items[0].properties(ServerSchema::BindInfo).unwrap();
    let process_name = desired.items[0].process_name.clone();
    Intent { process_name, hash: intent_hash(&properties), after_id, user: None, fate }
}

#[test]
fn what_is_missing_is_created_and_then_there_is_nothing_to_do() {
    for schema in [ServerSchema::BindInfo, ServerSchema::Flat] {
        let wanted = desired(json!([{ "name": "nginx", "funcName": "nginx", "port": "80,443", "protocol": "TCP" }]));
        let mut server = Server::new(schema);
        let first = plan(&wanted, &server.observed(), &Memory::default());
        assert_eq!(first.creates().count(), 1);
        apply(&mut server, &first);
        assert!(plan(&wanted, &server.observed(), &Memory::default()).is_settled(), "{schema:?}");
    }
}

#[test]
fn an_identical_template_is_adopted_and_a_different_one_is_a_conflict_that_names_the_fields() {
    let server = stored(json!([nginx()]), "somebody");
    let adopted = plan(&desired(json!([nginx()])), &server.observed(), &Memory::default());
    assert_eq!(basis(&adopted, "nginx"), Some(Basis::Adopted));

    let mut other = nginx();
    other["startCmd"] = "./other.sh".into();
    other["unlocked"] = json!(["procNum"]);
    other["bindInfo"][0]["port"] = 8001.into();
    let conflict = plan(&desired(json!([other])), &server.observed(), &Memory::default());
    let Decision::Conflict(conflict) = decision(&conflict, "nginx") else { panic!("{conflict:?}") };
    let fields: Vec<String> = conflict.differences.iter().map(ToString::to_string).collect();
    assert_eq!(fields, ["bindInfo", "procNum (lock only)", "startCmd"]);
}

#[test]
fn a_remembered_id_counts_only_with_its_creation_time() {
    let mut server = stored(json!([nginx()]), "ours");
    server.templates[0].properties.insert("start_cmd", Pair::new("changed", true));
    let id = server.templates[0].id;
    let created_at = server.templates[0].created_at;
    let remember = |created_at| {
        let process_name = "nginx".to_owned();
        let remembered = Remembered { id, created_at, created_by: None, process_name, applied_hash: None };
        Memory { items: [("nginx".to_owned(), remembered)].into(), ..Memory::default() }
    };
    let wanted = desired(json!([nginx()]));
    let ours = plan(&wanted, &server.observed(), &remember(created_at));
    assert!(matches!(decision(&ours, "nginx"), Decision::Update(_)));
    let strangers = plan(&wanted, &server.observed(), &remember(Some(1)));
    assert!(matches!(decision(&strangers, "nginx"), Decision::Conflict(_)));
}

#[test]
fn a_begun_create_is_claimed_only_by_name_content_id_and_creator() {
    let wanted = desired(json!([nginx()]));
    let server = stored(json!([nginx()]), "ours");
    let id = server.templates[0].id;
    let claim = |server: &Server, intent: Intent| {
        let memory = Memory { intents: [("nginx".to_owned(), intent)].into(), ..Memory::default() };
        basis(&plan(&wanted, &server.observed(), &memory), "nginx")
    };
    let open = |after_id| intent(&wanted, after_id, IntentFate::Open);
    let is_claimed = |basis| basis == Some(Basis::Claimed);
    assert!(is_claimed(claim(&server, open(id - 1))));
    assert!(!is_claimed(claim(&server, open(id))), "it was there before");
    assert!(!is_claimed(claim(&server, Intent { hash: "i1:other".to_owned(), ..open(id - 1) })), "other content");
    assert!(!is_claimed(claim(&stored(json!([nginx()]), "else"), open(id - 1))), "another creator");
}

#[test]
fn while_a_create_may_still_be_stored_its_name_goes_to_nobody() {
    let server = Server::new(ServerSchema::BindInfo);
    let before = desired(json!([nginx()]));
    let memory =
        Memory { intents: [("nginx".to_owned(), intent(&before, 7, IntentFate::Open))].into(), ..Memory::default() };
    // The spec has changed meanwhile: the key is gone, and another carries its name.
    let wanted = desired(json!([{ "name": "web", "processName": "nginx", "funcName": "other" }]));
    let waiting = plan(&wanted, &server.observed(), &memory);
    assert_eq!(decision(&waiting, "web"), Decision::Undecided);
    assert!(waiting.undecided.contains_key("nginx"));

    let over =
        Memory { intents: [("nginx".to_owned(), intent(&before, 7, IntentFate::Over))].into(), ..Memory::default() };
    let decided = plan(&wanted, &server.observed(), &over);
    assert!(matches!(decision(&decided, "web"), Decision::Create(_)));
    assert!(decided.undecided.is_empty());
}

#[test]
fn a_key_that_takes_over_a_removed_keys_name_takes_its_template_without_a_write() {
    let server = stored(json!([nginx()]), "ours");
    let memory = server.remembered(None);
    let mut renamed = nginx();
    renamed["name"] = "web".into();
    renamed["processName"] = "nginx".into();
    let rekeyed = plan(&desired(json!([renamed])), &server.observed(), &memory);
    assert_eq!(basis(&rekeyed, "web"), Some(Basis::Remembered), "{rekeyed:?}");
}

#[test]
fn a_plan_without_the_write_lock_neither_takes_over_nor_releases() {
    let server = stored(json!([nginx()]), "somebody");
    let mut memory = Memory::default();
    let takeover = plan(&desired(json!([nginx()])), &server.observed(), &memory);
    assert!(takeover.moves_claims() && takeover.is_settled());
    memory.absorb_undecided(&takeover);
    assert_eq!(memory, Memory::default(), "it is not ours yet");
    memory.absorb(&takeover);
    assert_eq!(memory.items.len(), 1);

    let release = plan(&desired(json!([])), &server.observed(), &memory);
    assert!(release.moves_claims());
    memory.absorb_undecided(&release);
    assert_eq!(memory.items.len(), 1, "it is still ours");
    memory.absorb(&release);
    assert!(memory.items.is_empty());
}

#[test]
fn intents_survive_a_new_url_until_it_is_known_what_became_of_them() {
    let wanted = desired(json!([nginx()]));
    let place = |endpoint: &str| Place { endpoint: Some(endpoint.to_owned()), service_template_id: Some(1) };
    let (old, new) = (place("http://old"), place("http://new"));
    let begun = || {
        let intents = [("nginx".to_owned(), intent(&wanted, 0, IntentFate::Open))].into();
        Memory { intents, ..Memory::default() }
    };

    // Not stored yet: it may be, so the process is not sent again.
    let (mut memory, mut server) = (begun(), Server::new(ServerSchema::BindInfo));
    assert_eq!(check_provenance(&mut memory, &old, &new, &server.observed()), Provenance::OtherEndpoint);
    assert_eq!(memory, begun());
    assert!(plan(&wanted, &server.observed(), &memory).steps.is_empty());

    // Stored: it is ours, also under Never, and the URL leads to the same CMDB.
    server.store(&wanted.items[0].properties(ServerSchema::BindInfo).unwrap(), "ours");
    assert_eq!(check_provenance(&mut memory, &old, &new, &server.observed()), Provenance::Here);
    assert_eq!(basis(&plan(&wanted, &server.observed(), &memory), "nginx"), Some(Basis::Claimed));

    // What the status remembers beside them is not here, so they are not either.
    let elsewhere = stored(json!([nginx()]), "ours").remembered(None);
    let (mut memory, empty) = (Memory { items: elsewhere.items, ..begun() }, Server::new(ServerSchema::BindInfo));
    assert_eq!(check_provenance(&mut memory, &old, &new, &empty.observed()), Provenance::OtherEndpoint);
    assert_eq!(memory, Memory::default());
}

#[test]
fn what_an_intent_alone_explains_is_remembered_until_it_is_removed() {
    let mut server = Server::new(ServerSchema::BindInfo);
    let wanted = desired(json!([nginx()]));
    server.store(&wanted.items[0].properties(ServerSchema::BindInfo).unwrap(), "ours");
    let intents = [("nginx".to_owned(), intent(&wanted, 0, IntentFate::Open))].into();
    let mut memory = Memory { intents, ..Memory::default() };
    let deleting = Policy { deletion: DeletionPolicy::Delete, ..policy() };
    let plan = |memory: &Memory| {
        process_template_operator::plan::plan(&desired(json!([])), &server.observed(), &[], memory, &deleting)
    };
    for _ in 0..2 {
        let first = plan(&memory);
        assert!(first.deletes(server.templates[0].id), "{first:?}");
        memory.absorb_undecided(&first);
        memory.absorb(&first);
    }
}

#[test]
fn a_template_that_another_set_has_is_not_replaced_and_what_was_to_replace_it_goes() {
    let mut server = stored(json!([nginx()]), "ours");
    let (mut memory, old) = (server.remembered(None), server.templates[0].clone());
    let mut changed = nginx();
    changed["funcName"] = "other".into();
    let recreate = Policy { replace: ReplacePolicy::Recreate, ..policy() };
    let holds = [(old.id, old.created_at.unwrap())].into();
    let other = OtherSet { name: Some("later".to_owned()), holds, ..OtherSet::default() };
    let wanted = desired(json!([changed]));
    let plan = |server: &Server, others: &[OtherSet], memory: &Memory| {
        process_template_operator::plan::plan(&wanted, &server.observed(), others, memory, &recreate)
    };
    let conflict = plan(&server, std::slice::from_ref(&other), &memory);
    assert!(matches!(decision(&conflict, "nginx"), Decision::Conflict(_)), "{conflict:?}");
    assert!(conflict.steps.is_empty(), "{conflict:?}");

    // The other set has taken it over after the replacement was created.
    let created = plan(&server, &[], &memory);
    apply(&mut server, &created);
    server.note(&created.steps[0], &created, &mut memory);
    assert!(plan(&server, &[], &memory).deletes(old.id));
    let late = plan(&server, &[other], &memory);
    assert!(!late.deletes(old.id), "{late:?}");
    apply(&mut server, &late);
    assert_eq!(server.templates, [old]);
}

#[test]
fn properties_that_the_server_does_not_have_are_named_and_not_compared() {
    let wanted = desired(json!([{ "name": "nginx", "funcName": "nginx", "autoTimeGap": 5, "extraProperties":
        [{ "name": "bk_process_id", "value": 3 }] }]));
    let mut server = Server::new(ServerSchema::BindInfo);
    let first = plan(&wanted, &server.observed(), &Memory::default());
    apply(&mut server, &first);
    let second = plan(&wanted, &server.observed(), &Memory::default());
    let Decision::InSync { ignored, .. } = decision(&second, "nginx") else { panic!("{second:?}") };
    assert_eq!(ignored, ["autoTimeGap", "bk_process_id"]);
}

#[test]
fn rows_that_an_old_server_cannot_hold_make_the_item_invalid_with_the_reason() {
    let mut server = stored(json!([{ "name": "other", "funcName": "other" }]), "else");
    server.schema = ServerSchema::Flat;
    let decision = decision(&plan(&desired(json!([nginx()])), &server.observed(), &Memory::default()), "nginx");
    let Decision::Invalid(reason) = decision else { panic!("{decision:?}") };
    assert!(reason.contains("must share"), "{reason}");
}

// A server drops the form of sockets that it does not have: such a process would be created without them, and be invalid afterwards.
#[test]
fn what_only_one_schema_can_express_waits_until_a_template_shows_the_schema() {
    let plain = json!({ "name": "plain", "funcName": "plain" });
    let v6 = json!({ "name": "v6", "funcName": "v6", "bindInfo": [{ "ip": "::", "port": 80, "protocol": "TCP6" }] });
    let flat = json!({ "name": "flat", "funcName": "flat", "port": "80" });
    let is_held = |plan: &Plan, key: &str| matches!(decision(plan, key), Decision::Held(Hold::UnknownSchema(_)));
    for schema in [ServerSchema::Flat, ServerSchema::BindInfo] {
        let wanted = desired(json!([nginx(), v6, flat, plain]));
        let mut server = Server::new(schema);
        let first = plan(&wanted, &server.observed(), &Memory::default());
        assert_eq!(first.creates().map(|(key, _)| key).collect::<Vec<_>>(), ["plain"], "{schema:?}");
        assert!(["nginx", "v6", "flat"].iter().all(|key| is_held(&first, key)), "{schema:?}: {first:?}");
        apply(&mut server, &first);
        let second = plan(&wanted, &server.observed(), &Memory::default());
        let is_rows = schema == ServerSchema::BindInfo;
        for (key, fits) in [("nginx", is_rows), ("v6", is_rows), ("flat", !is_rows)] {
            let decision = decision(&second, key);
            let is_right =
                if fits { matches!(decision, Decision::Create(_)) } else { matches!(decision, Decision::Invalid(_)) };
            assert!(is_right, "{schema:?} {key}: {decision:?}");
        }
    }

    // Where no process can show it, one does.
    let plan =
        plan(&desired(json!([v6, nginx(), flat])), &Server::new(ServerSchema::Flat).observed(), &Memory::default());
    assert_eq!(plan.creates().map(|(key, _)| key).collect::<Vec<_>>(), ["v6"]);
    assert!(is_held(&plan, "nginx") && is_held(&plan, "flat"), "{plan:?}");
}

#[test]
fn two_processes_of_one_name_or_one_start_pair_are_told_and_the_first_is_carried_out() {
    let wanted = desired(json!([
        { "name": "a", "funcName": "java", "startParamRegex": "x.jar" },
        { "name": "b", "processName": "a", "funcName": "other" },
        { "name": "c", "funcName": "java", "startParamRegex": "x.jar" },
    ]));
    let plan = plan(&wanted, &Server::new(ServerSchema::BindInfo).observed(), &Memory::default());
    assert!(matches!(decision(&plan, "a"), Decision::Create(_)));
    assert!(matches!(decision(&plan, "b"), Decision::Invalid(_)));
    assert!(matches!(decision(&plan, "c"), Decision::Invalid(_)));
}

#[test]
fn locks_come_from_the_nearest_list_and_else_from_the_policy() {
    let spec = |value: Value| serde_json::from_value::<ProcessTemplateSetSpec>(value).unwrap();
    let item = |policy: &str| {
        let spec = spec(json!({
            "bizId": 2, "serviceTemplate": { "id": 1 }, "lockPolicy": policy,
            "unlocked": ["user", "workPath"], "locked": ["pidFile"], "unmanaged": ["description"],
            "processes": [{ "name": "a", "funcName": "a", "user": "root", "workPath": "/", "stopCmd": "s",
                "description": "text", "locked": ["user"] }],
        }));
        Desired::from_spec(SetName::default(), &spec).items[0].properties(ServerSchema::BindInfo).unwrap()
    };
    let locked = item("Locked");
    assert_eq!(*locked.get("user").unwrap(), Pair::new("root", true), "the item's list is nearer than the set's");
    assert_eq!(*locked.get("work_path").unwrap(), Pair::new("/", false));
    assert_eq!(*locked.get("stop_cmd").unwrap(), Pair::new("s", true));
    assert_eq!(*locked.get("pid_file").unwrap(), Pair { value: PlanValue::Empty, locked: true }, "empty and locked");
    assert_eq!(*locked.get("start_cmd").unwrap(), Pair::EMPTY, "absent is empty and unlocked");
    assert!(locked.get("description").is_none(), "unmanaged");
    assert!(!item("Unlocked").get("stop_cmd").unwrap().locked);
}

fn process() -> impl Strategy<Value = Value> {
    let text = || proptest::option::of("[a-z/.][a-z/. ]{0,5}[a-z]");
    let row = (0..4_usize, 1..65_535_u16, proptest::option::of(any::<bool>()), any::<bool>()).prop_map(
        |(ip, port, enable, unlock)| {
            let mut row = json!({ "port": port, "protocol": "TCP" });
            row["ip"] = ["127.0.0.1", "0.0.0.0", "FirstInnerIP", "FirstOuterIP"][ip].into();
            if let Some(enable) = enable {
                row["enable"] = enable.into();
            }
            if unlock {
                row["unlocked"] = json!(["port"]);
            }
            row
        },
    );
    let rows = proptest::option::of(proptest::collection::vec(row, 0..4));
    (text(), text(), proptest::option::of(1..100_i32), rows, any::<[bool; 3]>()).prop_map(
        |(start, user, number, rows, [lock, unlock, unmanage])| {
            let mut process = json!({ "funcName": "f" });
            let mut set = |name: &str, value: Option<Value>| {
                if let Some(value) = value {
                    process[name] = value;
                }
            };
            set("startCmd", start.map(Value::from));
            set("user", user.map(Value::from));
            set("procNum", number.map(Value::from));
            set("bindInfo", rows.map(Value::from));
            set("locked", lock.then(|| json!(["user"])));
            set("unlocked", unlock.then(|| json!(["procNum", "bindInfo"])));
            set("unmanaged", unmanage.then(|| json!(["description", "startCmd"])));
            process
        },
    )
}

fn processes() -> impl Strategy<Value = Value> {
    proptest::collection::vec(process(), 1..8).prop_map(|mut processes| {
        for (index, process) in processes.iter_mut().enumerate() {
            process["name"] = format!("p{index}").into();
        }
        processes.into()
    })
}

proptest! {
    #[test]
    fn a_plan_applied_twice_is_empty_the_second_time(
        wanted in processes(), there in processes(), strangers in 0..4_usize, flat in any::<bool>(),
    ) {
        let schema = if flat { ServerSchema::Flat } else { ServerSchema::BindInfo };
        let mut server = Server::new(schema);
        for item in desired(there).items.iter().take(strangers) {
            if let Ok(properties) = item.properties(schema) {
                server.store(&properties, "else");
            }
        }
        let before = server.templates.clone();
        let wanted = desired(wanted);
        let mut memory = Memory::default();
        // A server's schema shows only once a template is listed: what it cannot hold is told then.
        for _ in 0..2 {
            let step = plan(&wanted, &server.observed(), &memory);
            prop_assert_eq!(&step, &plan(&wanted, &server.observed(), &memory), "deterministic");
            apply(&mut server, &step);
            memory.absorb(&step);
        }
        let last = plan(&wanted, &server.observed(), &memory);
        prop_assert!(last.creates().next().is_none(), "{:?}", last);
        prop_assert_eq!(&server.templates[..before.len()], &before[..], "what was there is untouched");
        let mut names: Vec<&str> = server.templates.iter().map(|template| template.process_name.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        prop_assert_eq!(names.len(), count, "no name twice");
    }

    #[test]
    fn a_lost_memory_costs_nothing(wanted in processes()) {
        let mut server = Server::new(ServerSchema::BindInfo);
        let wanted = desired(wanted);
        // What one schema cannot express is created once another template has shown the schema.
        for _ in 0..2 {
            let step = plan(&wanted, &server.observed(), &Memory::default());
            apply(&mut server, &step);
        }
        prop_assert!(plan(&wanted, &server.observed(), &Memory::default()).is_settled());
    }

    #[test]
    fn begun_creates_are_found_again_whatever_was_stored(wanted in processes(), stored in any::<[bool; 8]>()) {
        let mut server = Server::new(ServerSchema::BindInfo);
        let wanted = desired(wanted);
        let first = plan(&wanted, &server.observed(), &Memory::default());
        let mut memory = Memory::default();
        for ((key, create), stored) in first.creates().zip(stored) {
            let (process_name, hash) = (create.process_name.clone(), create.intent_hash.clone());
            let after_id = first.highest_id;
            let intent = Intent { process_name, hash, after_id, user: None, fate: IntentFate::Over };
            memory.intents.insert(key.to_owned(), intent);
            if stored {
                server.store(&create.properties, "ours");
            }
        }
        for _ in 0..2 {
            let next = plan(&wanted, &server.observed(), &memory);
            apply(&mut server, &next);
            memory.absorb(&next);
        }
        prop_assert_eq!(server.templates.len(), wanted.items.len(), "each exactly once");
        prop_assert!(plan(&wanted, &server.observed(), &Memory::default()).is_settled());
    }
}
