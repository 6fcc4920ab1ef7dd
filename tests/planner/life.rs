//! The life of a template as the planner sees it: change, rename, drift, replacement, removal, and interruption anywhere.
#![allow(clippy::trivially_copy_pass_by_ref, reason = "as the planner takes it")]

use std::collections::BTreeMap;

use crate::model::Server;
use process_template_operator::api::{AdoptionPolicy, ProcessTemplateSetSpec, ReplacePolicy};
use process_template_operator::plan::{
    Cause, Create, Decision, Desired, Fate, Intent, IntentFate, Memory, OtherSet, Owner, Pair, Plan, Policy,
    Properties, ServerSchema, SetName, Step, Template, Value as PlanValue, forecast, temporary_name,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn set_name() -> SetName {
    SetName { namespace: "shop".to_owned(), name: "web".to_owned() }
}

/// A set: what it wants, and what it allows.
fn set(mut spec: Value) -> (Desired, Policy) {
    spec["bizId"] = 2.into();
    spec["serviceTemplate"] = json!({ "name": "web" });
    let spec: ProcessTemplateSetSpec = serde_json::from_value(spec).unwrap();
    (Desired::from_spec(set_name(), &spec), Policy::of(&spec))
}

/// A server and a memory where a set has been carried out.
fn settled(spec: Value) -> (Server, Memory) {
    let (desired, policy) = set(spec);
    let mut server = Server::new(ServerSchema::BindInfo);
    let mut memory = Memory::default();
    server.run(&desired, &mut memory, &policy, usize::MAX);
    (server, memory)
}

/// What a step is, in words.
fn words(server: &Server, steps: &[Step]) -> Vec<String> {
    let temporary = |name: &str| if name.starts_with("ptset-") { "temporary".to_owned() } else { name.to_owned() };
    let text = |pair: &Pair| temporary(pair.value.as_text().unwrap_or("null"));
    let mut names: BTreeMap<i64, String> =
        server.templates.iter().map(|template| (template.id, template.process_name.clone())).collect();
    steps
        .iter()
        .map(|step| match step {
            Step::Create { create, .. } => format!("create {}", temporary(&create.process_name)),
            Step::Update { id, properties, .. } => {
                let changes: Vec<String> =
                    properties.iter().map(|(name, pair)| format!("{name}={}", text(pair))).collect();
                let name = names.entry(*id).or_insert_with(|| "new".to_owned());
                format!("update {name}: {}", changes.join(" "))
            }
            Step::Delete { id, .. } => format!("delete {}", names.get(id).cloned().unwrap_or_else(|| "new".to_owned())),
        })
        .collect()
}

/// The writes that a change of a set makes, and that they are those of the forecast.
fn change(before: Value, after: Value) -> (Vec<String>, Server) {
    let (mut server, mut memory) = settled(before);
    let (desired, policy) = set(after);
    let at_first = server.clone();
    let foreseen = forecast(&desired, &server.observed(), &server.other_sets, &memory, &policy);
    let steps = server.run(&desired, &mut memory, &policy, usize::MAX);
    assert_eq!(words(&at_first, &foreseen), words(&at_first, &steps), "the forecast says what is done");
    assert!(server.plan(&desired, &memory, &policy).is_settled());
    (words(&at_first, &steps), server)
}

fn named(names: &[(&str, &str)]) -> Value {
    let process =
        |(key, name): &(&str, &str)| json!({ "name": key, "processName": name, "funcName": format!("f-{key}") });
    json!({ "processes": names.iter().map(process).collect::<Value>() })
}

#[test]
fn one_changed_property_is_sent_alone_and_whole() {
    let process =
        |cmd: &str| json!({ "processes": [{ "name": "a", "funcName": "a", "startCmd": cmd, "user": "root" }] });
    let (steps, server) = change(process("./old"), process("./new"));
    assert_eq!(steps, ["update a: start_cmd=./new"]);
    assert_eq!(server.templates[0].properties.get("start_cmd"), Some(&Pair::new("./new", true)));
}

#[test]
fn a_property_that_leaves_the_manifest_is_emptied_and_unlocked() {
    let before = json!({ "processes": [{ "name": "a", "funcName": "a", "startCmd": "./run" }] });
    let (steps, server) = change(before, json!({ "processes": [{ "name": "a", "funcName": "a" }] }));
    assert_eq!(steps, ["update a: start_cmd=null"]);
    assert_eq!(server.templates[0].properties.get("start_cmd"), Some(&Pair::EMPTY));
}

#[test]
fn a_chain_of_renames_is_carried_out_from_its_free_end() {
    let (steps, _) = change(named(&[("x", "a"), ("y", "b")]), named(&[("x", "b"), ("y", "c")]));
    assert_eq!(steps, ["update b: bk_process_name=c", "update a: bk_process_name=b"]);
}

#[test]
fn a_swap_of_names_goes_through_one_temporary_name() {
    let (steps, _) = change(named(&[("x", "a"), ("y", "b")]), named(&[("x", "b"), ("y", "a")]));
    let expected =
        ["update a: bk_process_name=temporary", "update b: bk_process_name=a", "update a: bk_process_name=b"];
    assert_eq!(steps, expected);
}

#[test]
fn a_swap_of_start_parameters_goes_through_one_temporary_value() {
    let processes = |first: &str, second: &str| {
        json!({ "processes": [
            { "name": "x", "funcName": "java", "startParamRegex": first },
            { "name": "y", "funcName": "java", "startParamRegex": second },
        ] })
    };
    let (steps, _) = change(processes("a.jar", "b.jar"), processes("b.jar", "a.jar"));
    let expected = [
        "update x: bk_start_param_regex=temporary",
        "update y: bk_start_param_regex=a.jar",
        "update x: bk_start_param_regex=b.jar",
    ];
    assert_eq!(steps, expected);
}

#[test]
fn what_is_deleted_frees_its_name_first() {
    let mut after = named(&[("x", "b")]);
    after["deletionPolicy"] = "Delete".into();
    let (steps, _) = change(named(&[("x", "a"), ("y", "b")]), after);
    assert_eq!(steps, ["delete b", "update a: bk_process_name=b"]);
}

#[test]
fn creates_come_before_updates_and_updates_before_deletes() {
    let mut after = named(&[("x", "new-name"), ("z", "c")]);
    after["deletionPolicy"] = "Delete".into();
    let (steps, _) = change(named(&[("x", "a"), ("y", "b")]), after);
    assert_eq!(steps, ["create c", "update a: bk_process_name=new-name", "delete b"]);
}

#[test]
fn what_leaves_an_orphaning_set_stays_and_is_forgotten() {
    let (mut server, mut memory) = settled(named(&[("x", "a"), ("y", "b")]));
    let (desired, policy) = set(named(&[("x", "a")]));
    let plan = server.plan(&desired, &memory, &policy);
    assert_eq!(plan.removals[0].fate, Fate::Orphan);
    assert!(server.run(&desired, &mut memory, &policy, usize::MAX).is_empty());
    assert!(!memory.items.contains_key("y"));
    assert!(server.named("b").is_some());
}

#[test]
fn a_removal_that_is_not_due_is_remembered_and_what_needs_its_name_waits() {
    let (server, mut memory) = settled(named(&[("x", "a"), ("y", "b")]));
    let mut after = named(&[("x", "b")]);
    after["deletionPolicy"] = "Delete".into();
    let (desired, policy) = set(after);
    let policy = Policy { removals_are_due: false, ..policy };
    let plan = server.plan(&desired, &memory, &policy);
    assert!(plan.steps.is_empty() && plan.has_removals(), "{plan:?}");
    memory.absorb(&plan);
    assert!(memory.items.contains_key("y"));
}

#[test]
fn a_changed_function_is_replaced_only_where_the_set_allows_it() {
    let process = |function: &str, policy: &str| json!({ "replacePolicy": policy, "processes": [{ "name": "a", "funcName": function }] });
    let (mut server, mut memory) = settled(process("old", "Never"));
    let (desired, never) = set(process("new", "Never"));
    assert!(server.run(&desired, &mut memory, &never, usize::MAX).is_empty());
    let plan = server.plan(&desired, &memory, &never);
    assert!(matches!(plan.items[0].decision, Decision::NeedsReplacement(_)));
    let (steps, server) = change(process("old", "Recreate"), process("new", "Recreate"));
    assert_eq!(steps, ["create temporary", "delete a", "update new: bk_process_name=a"]);
    assert_eq!(server.templates.len(), 1);
}

#[test]
fn a_replacement_that_is_no_longer_wanted_is_taken_back() {
    let process =
        |function: &str| json!({ "replacePolicy": "Recreate", "processes": [{ "name": "a", "funcName": function }] });
    let (mut server, mut memory) = settled(process("old"));
    let old = server.templates[0].id;
    let (desired, policy) = set(process("new"));
    assert_eq!(server.run(&desired, &mut memory, &policy, 1).len(), 1);
    let (desired, policy) = set(process("old"));
    let at_first = server.clone();
    let steps = server.run(&desired, &mut memory, &policy, usize::MAX);
    assert_eq!(words(&at_first, &steps), [format!("delete {}", temporary_name(&set_name(), "a"))]);
    assert_eq!(server.templates[0].id, old);
}

#[test]
fn drift_is_told_from_a_change_of_the_spec() {
    let process = |cmd: &str, drift: &str| json!({ "driftPolicy": drift, "processes": [{ "name": "a", "funcName": "a", "startCmd": cmd }] });
    let decide = |server: &Server, memory: &Memory, cmd: &str, drift: &str| {
        let (desired, policy) = set(process(cmd, drift));
        server.plan(&desired, memory, &policy).items[0].decision.clone()
    };
    let (mut server, memory) = settled(process("./run", "Correct"));
    server.templates[0].properties.insert("start_cmd", Pair::new("./changed", true));
    let Decision::Update(change) = decide(&server, &memory, "./run", "Correct") else { panic!() };
    assert_eq!(change.cause, Cause::Drift);
    assert!(matches!(decide(&server, &memory, "./run", "Detect"), Decision::Drifted(found) if found.len() == 1));
    for policy in ["Correct", "Detect"] {
        let Decision::Update(change) = decide(&server, &memory, "./other", policy) else { panic!("{policy}") };
        assert_eq!(change.cause, Cause::Spec, "{policy}");
    }
    server.templates.clear();
    assert!(matches!(decide(&server, &memory, "./run", "Detect"), Decision::Drifted(found) if found.is_empty()));
    let Decision::Create(create) = decide(&server, &memory, "./run", "Correct") else { panic!() };
    assert_eq!(create.cause, Cause::Drift);
}

#[test]
fn what_is_unmanaged_may_be_changed_by_anybody() {
    let spec = json!({ "unmanaged": ["description"], "processes": [{ "name": "a", "funcName": "a" }] });
    let (mut server, memory) = settled(spec.clone());
    server.templates[0].properties.insert("description", Pair::new("by hand", false));
    let (desired, policy) = set(spec);
    assert!(server.plan(&desired, &memory, &policy).is_settled());
    // To manage it again is a change of the spec, no drift.
    let (desired, policy) = set(json!({ "driftPolicy": "Detect", "processes": [{ "name": "a", "funcName": "a" }] }));
    assert_eq!(server.plan(&desired, &memory, &policy).steps.len(), 1);
}

// {absent, equal, different, owned by another set} × {Never, IfIdentical, Always}
#[test]
fn the_truth_table_of_adoption_holds() {
    let wanted = json!({ "name": "a", "funcName": "a", "startCmd": "./run" });
    let other = json!({ "name": "a", "funcName": "a", "startCmd": "./other" });
    let expected = [
        ("absent", ["create", "create", "create"]),
        ("equal", ["conflict", "adopt", "adopt"]),
        ("different", ["conflict", "conflict", "take over"]),
        ("owned", ["conflict of web2", "conflict of web2", "conflict of web2"]),
    ];
    for (state, row) in expected {
        for (policy, expected) in ["Never", "IfIdentical", "Always"].into_iter().zip(row) {
            let stored = match state {
                "absent" => json!([]),
                "different" => json!([other]),
                _ => json!([wanted]),
            };
            let mut server = Server::stored(&set(json!({ "processes": stored })).0, "somebody");
            if state == "owned" {
                let template = &server.templates[0];
                server.other_sets.push(OtherSet {
                    name: Some("web2".to_owned()),
                    wants: ["a".to_owned()].into(),
                    holds: [(template.id, template.created_at.unwrap())].into(),
                    ..OtherSet::default()
                });
            }
            let (desired, policy_of_set) = set(json!({ "adoptionPolicy": policy, "processes": [wanted] }));
            let decision = server.plan(&desired, &Memory::default(), &policy_of_set).items[0].decision.clone();
            let seen = match decision {
                Decision::Create(_) => "create".to_owned(),
                Decision::InSync { .. } => "adopt".to_owned(),
                Decision::Update(change) if change.cause == Cause::Adoption => "take over".to_owned(),
                Decision::Conflict(conflict) => match conflict.owner {
                    Owner::Set(Some(name)) => format!("conflict of {name}"),
                    _ => "conflict".to_owned(),
                },
                other => format!("{other:?}"),
            };
            assert_eq!(seen, expected, "{state} under {policy}");
        }
    }
}

#[test]
fn of_two_sets_that_want_one_name_the_older_gets_it() {
    let (desired, policy) = set(json!({ "processes": [{ "name": "a", "funcName": "a" }] }));
    let mut server = Server::new(ServerSchema::BindInfo);
    let rival = OtherSet { name: None, comes_first: true, wants: ["a".to_owned()].into(), ..OtherSet::default() };
    server.other_sets = vec![rival.clone()];
    let plan = server.plan(&desired, &Memory::default(), &policy);
    assert!(matches!(&plan.items[0].decision, Decision::Conflict(conflict) if conflict.owner == Owner::Set(None)));
    server.other_sets = vec![OtherSet { comes_first: false, ..rival }];
    assert_eq!(server.plan(&desired, &Memory::default(), &policy).steps.len(), 1);
}

// In one namespace, what leaves one set is kept for the other until that one holds it.
#[test]
fn a_process_that_moves_to_another_set_is_neither_created_nor_deleted() {
    let (mut server, memory) = settled(named(&[("x", "a"), ("y", "b")]));
    let mut left = named(&[("x", "a")]);
    left["deletionPolicy"] = "Delete".into();
    let (giver, policy) = set(left);
    let by_key = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, name)| ((*key).to_owned(), (*name).to_owned())).collect()
    };
    // The taker, which wants something changed as well, and what it sees of the giver.
    let mut taken = named(&[("y", "b")]);
    taken["processes"][0]["startCmd"] = "./new".into();
    let (taker, _) = set(taken);
    let giving = OtherSet::new(Some("web1".to_owned()), true, &by_key(&[("x", "a")]), &memory);
    let taking = |memory: &Memory| OtherSet::new(Some("web2".to_owned()), false, &by_key(&[("y", "b")]), memory);
    let mut taken = Memory::default();

    server.other_sets = vec![taking(&taken)];
    let plan = server.plan(&giver, &memory, &policy);
    assert_eq!((plan.removals[0].fate, plan.steps.len()), (Fate::HandOver, 0));
    server.other_sets = vec![giving];
    let steps = server.run(&taker, &mut taken, &Policy { ..policy }, usize::MAX);
    assert!(matches!(steps.as_slice(), [Step::Update { .. }]), "{steps:?}");
    server.other_sets = vec![taking(&taken)];
    assert_eq!(server.plan(&giver, &memory, &policy).removals[0].fate, Fate::Released);

    // A set of another namespace cannot be seen to take it, and one that does not take it is not waited for for ever.
    server.other_sets = vec![OtherSet { name: None, ..taking(&Memory::default()) }];
    assert_eq!(server.plan(&giver, &memory, &policy).removals[0].fate, Fate::Released);
    server.other_sets = vec![taking(&Memory::default())];
    let over = Policy { hand_overs_are_over: true, ..policy };
    assert_eq!(server.plan(&giver, &memory, &over).removals[0].fate, Fate::Released);
}

#[test]
fn a_template_that_its_set_is_renaming_is_not_up_for_adoption() {
    let (mut server, memory) = settled(named(&[("x", "a")]));
    let renamed = [("x".to_owned(), "b".to_owned())].into();
    server.other_sets = vec![OtherSet::new(Some("other".to_owned()), false, &renamed, &memory)];
    let (desired, policy) = set(json!({ "processes": [{ "name": "a", "funcName": "f-x" }] }));
    let plan = server.plan(&desired, &Memory::default(), &policy);
    let Decision::Conflict(conflict) = &plan.items[0].decision else { panic!("{plan:?}") };
    assert_eq!(conflict.owner, Owner::Set(Some("other".to_owned())));
}

#[test]
fn while_a_circle_is_half_done_a_strangers_template_stays_a_strangers() {
    let swapped = |names: [&str; 2]| {
        let mut spec = named(&[("x", names[0]), ("y", names[1])]);
        let more = json!([
            { "name": "nginx", "funcName": "nginx", "startParamRegex": "ours" },
            { "name": "z", "funcName": "z", "startParamRegex": "z" },
        ]);
        spec["processes"].as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
        spec
    };
    for creator in ["somebody", "ours"] {
        let (mut server, memory) = settled(named(&[("x", "a"), ("y", "b")]));
        let strangers = json!({ "processes": [
            { "name": "nginx", "funcName": "nginx", "startParamRegex": "theirs" },
            { "name": "b-side", "processName": "zz", "funcName": "z", "startParamRegex": "z" },
        ] });
        for item in &set(strangers).0.items {
            server.store(&item.properties(ServerSchema::BindInfo).unwrap(), creator);
        }
        let (desired, policy) = set(swapped(["b", "a"]));
        let mut kept = interrupted(&mut server, &desired, &memory, &policy, 2);
        let theirs = server.templates[2..4].to_vec();
        server.run(&desired, &mut kept, &policy, usize::MAX);
        for template in &theirs {
            assert!(server.templates.contains(template), "{creator}: {template:?}");
        }
    }
}

#[test]
fn a_template_that_is_taken_over_and_replaced_is_replaced_to_the_end() {
    let stored = set(json!({ "processes": [{ "name": "a", "funcName": "old" }] })).0;
    let mut server = Server::stored(&stored, "somebody");
    let (desired, policy) = set(json!({
        "adoptionPolicy": "Always", "replacePolicy": "Recreate", "processes": [{ "name": "a", "funcName": "new" }],
    }));
    for at in 0..4 {
        let mut again = server.clone();
        let mut kept = interrupted(&mut again, &desired, &Memory::default(), &policy, at);
        again.run(&desired, &mut kept, &policy, usize::MAX);
        assert!(again.plan(&desired, &kept, &policy).is_settled());
        assert_eq!(again.templates.len(), 1, "{at}");
    }
    server.run(&desired, &mut Memory::default(), &policy, usize::MAX);
}

// Anybody can give a template that name, also with our own user.
#[test]
fn a_temporary_name_alone_is_no_leave_to_delete() {
    let (server, memory) = settled(json!({ "processes": [{ "name": "a", "funcName": "a" }] }));
    let temporary = temporary_name(&set_name(), "a");
    for (creator, by_name) in [("somebody", true), ("ours", true), ("ours", false)] {
        let mut server = server.clone();
        let name = if by_name { temporary.as_str() } else { "other" };
        let spec = json!({ "processes": [{ "name": name, "funcName": "f", "startParamRegex": temporary }] });
        server.store(&set(spec).0.items[0].properties(ServerSchema::BindInfo).unwrap(), creator);
        for processes in [json!([{ "name": "a", "funcName": "a" }]), json!([])] {
            let (desired, policy) = set(json!({ "deletionPolicy": "Delete", "processes": processes }));
            for user in [Some("ours".to_owned()), None] {
                let observed = process_template_operator::plan::Observed { user, ..server.observed() };
                let others = &server.other_sets;
                let plan = process_template_operator::plan::plan(&desired, &observed, others, &memory, &policy);
                let deletes = plan.deletes(server.templates[1].id);
                assert!(!deletes, "{creator} {by_name} {:?}: {plan:?}", observed.user);
            }
        }
    }
}

// Its name is deleted only with the ID that the memory has, or with what an intent has announced, under every user.
#[test]
fn a_temporary_template_is_deleted_by_what_is_remembered_of_it() {
    let process =
        |function: &str| json!({ "replacePolicy": "Recreate", "processes": [{ "name": "a", "funcName": function }] });
    let (desired, policy) = set(process("new"));
    for is_answered in [true, false] {
        for user in [Some("ours".to_owned()), Some("other".to_owned()), None] {
            let (mut server, mut memory) = settled(process("old"));
            let first = server.plan(&desired, &memory, &policy);
            let intents = intents(&first, &server);
            server.step(&first.steps[0]).unwrap();
            if is_answered {
                server.note(&first.steps[0], &first, &mut memory);
            } else {
                memory.intents = intents;
            }
            let temporary = server.templates[1].id;
            let observed = process_template_operator::plan::Observed { user, ..server.observed() };
            for after in [process("old"), json!({ "processes": [] })] {
                let (desired, policy) = set(after);
                let mut memory = memory.clone();
                for _ in 0..2 {
                    let plan = process_template_operator::plan::plan(&desired, &observed, &[], &memory, &policy);
                    assert!(plan.deletes(temporary), "{is_answered} {:?}: {plan:?}", observed.user);
                    memory.absorb_undecided(&plan);
                    memory.absorb(&plan);
                }
            }
        }
    }
}

#[test]
fn rows_keep_their_ids_and_a_new_row_has_none() {
    let rows = |ports: &[u16]| {
        let rows: Value = ports.iter().map(|port| json!({ "port": port, "protocol": "TCP" })).collect();
        json!({ "processes": [{ "name": "a", "funcName": "a", "bindInfo": rows }] })
    };
    let (mut server, mut memory) = settled(rows(&[80, 443]));
    let (desired, policy) = set(rows(&[9090, 443, 80, 8080]));
    let plan = server.plan(&desired, &memory, &policy);
    let Step::Update { properties, .. } = &plan.steps[0] else { panic!() };
    let PlanValue::Rows(sent) = &properties.get("bind_info").unwrap().value else { panic!() };
    let sent: Vec<_> = sent.iter().map(|row| (row.port.value.as_text().unwrap(), row.id)).collect();
    assert_eq!(sent, [("9090", None), ("443", Some(2)), ("80", Some(1)), ("8080", None)]);
    server.run(&desired, &mut memory, &policy, usize::MAX);
    let (desired, policy) = set(rows(&[8080, 80, 443, 9090]));
    assert!(server.plan(&desired, &memory, &policy).is_settled(), "their order is no drift");
}

#[test]
fn a_migrated_row_that_blocks_every_update_is_repaired_or_explained() {
    let spec = |cmd: &str, unmanaged: &[&str]| json!({ "unmanaged": unmanaged, "processes": [{ "name": "a", "funcName": "a", "startCmd": cmd }] });
    let (mut server, memory) = settled(spec("./run", &[]));
    let row = json!([{ "row_id": 1, "ip": { "value": "1" }, "port": { "value": "" }, "protocol": { "value": "1" } }]);
    server.templates[0].properties.insert("bind_info", Pair::listed("bind_info", row, true));
    let decide = |unmanaged: &[&str]| {
        let (desired, policy) = set(spec("./new", unmanaged));
        server.plan(&desired, &memory, &policy).items[0].decision.clone()
    };
    let Decision::Update(change) = decide(&[]) else { panic!() };
    assert!(change.properties.get("bind_info").is_some(), "repaired by the way");
    let Decision::Invalid(reason) = decide(&["bindInfo"]) else { panic!() };
    assert!(reason.contains("row 1"), "{reason}");
}

fn intents(plan: &Plan, server: &Server) -> BTreeMap<String, Intent> {
    let intent = |(key, create): (&str, &Create)| {
        let (process_name, hash) = (create.process_name.clone(), create.intent_hash.clone());
        let (after_id, user) = (plan.highest_id, Some(server.user.clone()));
        (key.to_owned(), Intent { process_name, hash, after_id, user, fate: IntentFate::Over })
    };
    plan.creates().map(intent).collect()
}

/// What a kill after `most` writes leaves in the status: what was stored before the last create, with its intents, or before a
/// template was changed whose ID was not stored.
fn interrupted(server: &mut Server, desired: &Desired, memory: &Memory, policy: &Policy, most: usize) -> Memory {
    let (mut kept, mut known, mut made) = (memory.clone(), memory.clone(), 0);
    for _ in 0..10 {
        let plan = server.plan(desired, &known, policy);
        known.absorb(&plan);
        if plan.steps.is_empty() {
            return known;
        }
        for step in &plan.steps {
            let has = |memory: &Memory, key: &str, id: i64| {
                memory.items.get(key).is_some_and(|item| item.id == id) || memory.replacements.get(key) == Some(&id)
            };
            match step {
                Step::Create { .. } => {
                    kept = known.clone();
                    kept.intents.extend(intents(&plan, server));
                }
                Step::Update { key, id, .. } if has(&known, key, *id) && !has(&kept, key, *id) => kept = known.clone(),
                Step::Update { .. } | Step::Delete { .. } => {}
            }
            if made == most {
                return kept;
            }
            if let Err((key, code)) = server.step(step) {
                known.refused.insert(key, code.to_owned());
                kept.refused.clone_from(&known.refused);
                break;
            }
            server.note(step, &plan, &mut known);
            made += 1;
        }
    }
    panic!("no end");
}

/// Everything of a server but ids, times and users.
fn content(server: &Server) -> BTreeMap<String, Properties> {
    let without_row_ids = |properties: &Properties| {
        let mut properties = properties.clone();
        if let Some(Pair { value: PlanValue::Rows(rows), locked }) = properties.get("bind_info").cloned() {
            let mut rows = rows.to_vec();
            for row in &mut rows {
                row.id = None;
            }
            rows.sort_by_key(|row| format!("{row:?}"));
            properties.insert("bind_info", Pair { value: PlanValue::Rows(rows.into()), locked });
        }
        properties
    };
    let templates = server.templates.iter();
    templates.map(|template| (template.process_name.clone(), without_row_ids(&template.properties))).collect()
}

const NAMES: &[&str] = &["a", "b", "c", "d", "e"];

/// A set of up to five keys whose names and start parameters are shuffled, and which may share a function.
fn spec() -> impl Strategy<Value = Value> {
    let item = (any::<bool>(), 0..3_u8, proptest::option::of(1..4_u8), any::<bool>());
    (
        Just(NAMES.to_vec()).prop_shuffle(),
        Just(NAMES.to_vec()).prop_shuffle(),
        proptest::collection::vec(item, NAMES.len()),
        any::<[bool; 2]>(),
        prop_oneof![Just("Never"), Just("IfIdentical"), Just("Always")],
    )
        .prop_map(|(names, parameters, items, [delete, recreate], adoption)| {
            let processes = items.into_iter().enumerate().filter(|(_, (is_there, ..))| *is_there);
            let processes = processes.map(|(index, (_, function, number, has_rows))| {
                let mut process = json!({
                    "name": format!("k{index}"), "processName": names[index], "funcName": format!("f{function}"),
                    "startParamRegex": parameters[index], "unmanaged": ["description"],
                });
                if let Some(number) = number {
                    process["procNum"] = number.into();
                }
                if has_rows {
                    process["bindInfo"] = json!([{ "port": 80, "protocol": "TCP" }, { "port": 81, "protocol": "UDP" }]);
                }
                process
            });
            json!({
                "processes": processes.collect::<Value>(),
                "deletionPolicy": if delete { "Delete" } else { "Orphan" },
                "replacePolicy": if recreate { "Recreate" } else { "Never" },
                "adoptionPolicy": adoption,
            })
        })
}

fn with_strangers(server: &mut Server, strangers: u8) {
    for stranger in 0..strangers {
        let spec = json!({ "processes": [{ "name": format!("stranger{stranger}"), "funcName": "theirs",
            "startParamRegex": format!("s{stranger}") }] });
        let properties = set(spec).0.items[0].properties(ServerSchema::BindInfo).unwrap();
        server.store(&properties, "somebody");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn a_change_is_carried_out_to_the_end_from_wherever_it_was_interrupted(
        before in spec(), after in spec(), at in 0..12_usize, strangers in 0..3_u8, edited in any::<[bool; 5]>(),
        is_rotated in any::<bool>(),
    ) {
        let (mut server, memory) = settled(before);
        with_strangers(&mut server, strangers);
        let theirs: Vec<_> =
            server.templates.iter().filter(|template| template.creator == "somebody").cloned().collect();
        for (template, edited) in server.templates.iter_mut().zip(edited) {
            if edited && template.creator == "ours" {
                template.properties.insert("user", Pair::new("by hand", false));
                template.properties.insert("description", Pair::new("by hand", false));
            }
        }
        let (desired, policy) = set(after);
        let mut straight = server.clone();
        let foreseen = forecast(&desired, &server.observed(), &server.other_sets, &memory, &policy);
        let mut straight_memory = memory.clone();
        let steps = straight.run(&desired, &mut straight_memory, &policy, usize::MAX);
        // What CMDB will refuse is not foreseen.
        if straight_memory.refused.is_empty() {
            prop_assert_eq!(words(&server, &foreseen), words(&server, &steps));
        }

        let mut kept = interrupted(&mut server, &desired, &memory, &policy, at);
        if is_rotated {
            "other".clone_into(&mut server.user);
        }
        server.run(&desired, &mut kept, &policy, usize::MAX);
        prop_assert!(!server.plan(&desired, &kept, &policy).has_writes());
        prop_assert_eq!(content(&server), content(&straight));
        for template in &theirs {
            prop_assert!(server.templates.contains(template), "a stranger's is untouched");
        }
        for template in server.templates.iter().filter(|template| template.creator == "ours") {
            let description = &template.properties.get("description").unwrap().value;
            prop_assert!(*description == PlanValue::Empty || *description == PlanValue::from("by hand"));
        }
    }

    #[test]
    fn a_status_that_is_lost_in_the_middle_harms_nobody_and_doubles_nothing(
        before in spec(), after in spec(), at in 0..12_usize, strangers in 0..3_u8,
    ) {
        let (mut server, memory) = settled(before);
        with_strangers(&mut server, strangers);
        let (desired, policy) = set(after);
        interrupted(&mut server, &desired, &memory, &policy, at);
        let before = server.clone();
        let mut lost = Memory::default();
        let steps = server.run(&desired, &mut lost, &policy, usize::MAX);
        prop_assert!(!server.plan(&desired, &lost, &policy).has_writes());
        // Nothing is deleted that is not ours by its temporary name, or that the set may take over and replace.
        let may_replace = policy.adoption == AdoptionPolicy::Always && policy.replace == ReplacePolicy::Recreate;
        for step in &steps {
            if let Step::Delete { id, .. } = step {
                let deleted = before.templates.iter().find(|template| template.id == *id);
                let is_ours = |template: &Template| {
                    let is_wanted = desired.items.iter().any(|item| item.process_name == template.process_name);
                    template.process_name.starts_with("ptset-") || may_replace && is_wanted
                };
                prop_assert!(deleted.is_none_or(is_ours), "{:?}", deleted);
            }
        }
        for template in before.templates.iter().filter(|template| template.creator == "somebody") {
            prop_assert!(server.templates.contains(template), "a stranger's is untouched");
        }
    }

    #[test]
    fn a_swap_whose_status_is_lost_in_the_middle_is_finished(at in 0..4_usize) {
        let (mut server, memory) = settled(named(&[("x", "a"), ("y", "b"), ("z", "c")]));
        let (desired, policy) = set(named(&[("x", "b"), ("y", "a"), ("z", "c")]));
        interrupted(&mut server, &desired, &memory, &policy, at);
        let is_midway = at == 1 || at == 2;
        let mut lost = Memory::default();
        server.run(&desired, &mut lost, &policy, usize::MAX);
        if is_midway {
            prop_assert_eq!(server.templates.len(), 3, "nothing is created");
            prop_assert!(server.plan(&desired, &lost, &policy).is_settled());
        }
    }
}
