//! What the planner says of a template that differs, and what can be done.

use process_template_operator::api::ProcessTemplateSetSpec;
use process_template_operator::plan::{Desired, Memory, Pair, Policy, SetName, explain, plan};
use serde_json::{Value, json};

use crate::model::Server;

// What is said of a template made by hand, whose `bind_info` differs as the change says.
fn said(policies: &Value, change: impl Fn(&mut Pair)) -> String {
    let process = json!({ "name": "nginx", "funcName": "nginx", "bindInfo": [{ "port": 80, "protocol": "TCP" }] });
    let mut spec = json!({ "bizId": 2, "serviceTemplate": { "name": "web" }, "processes": [process] });
    spec.as_object_mut().unwrap().extend(policies.as_object().unwrap().clone());
    let spec: ProcessTemplateSetSpec = serde_json::from_value(spec).unwrap();
    let desired = Desired::from_spec(SetName::default(), &spec);
    let mut server = Server::stored(&desired, "somebody");
    let mut sockets = server.templates[0].properties.get("bind_info").unwrap().clone();
    change(&mut sockets);
    server.templates[0].properties.insert("bind_info", sockets);
    let plan = plan(&desired, &server.observed(), &[], &Memory::default(), &Policy::of(&spec));
    explain(&plan.items[0])
}

#[test]
fn the_outer_flag_of_the_sockets_is_named_with_what_it_does() {
    for policy in ["Never", "IfIdentical", "Always"] {
        let said = said(&json!({ "adoptionPolicy": policy }), |pair| pair.locked = false);
        println!("words: {policy}: {said}");
        for part in [
            "bindInfo (only its outer as_default_value)",
            "outer as_default_value of bindInfo is false in CMDB, and the set wants true",
            "comparison of instances does not look at sockets at all",
            "synchronisation applies them all the same",
        ] {
            assert!(said.contains(part), "{policy}: {part}: {said}");
        }
        assert!(!said.contains("lock only") && !said.contains("make the manifest"), "{policy}: {said}");
        assert_eq!(said.contains("adoptionPolicy to Always"), policy != "Always", "{policy}: {said}");
    }
}

#[test]
fn a_set_that_takes_nothing_over_is_not_advised_to_make_the_manifest_equal() {
    let said = |policy: &str| said(&json!({ "adoptionPolicy": policy }), |pair| *pair = Pair::EMPTY);
    let never = said("Never");
    assert!(never.contains("differs in bindInfo;") && never.contains("adoptionPolicy to Always"), "{never}");
    assert!(!never.contains("make the manifest") && !never.contains("outer"), "{never}");
    assert!(said("IfIdentical").contains("make the manifest"));
}
