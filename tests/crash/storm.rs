//! The stories of a template's life while a quarter of all calls on both sides go wrong: lost before or after they took
//! effect, refused as CMDB refuses what it cannot do now, answered with somebody else's body.

use std::time::Duration;

use cmdb_sim::{Effect, Fault, Property};
use futures::future::join_all;
use serde_json::json;
use test_support::endurance;
use test_support::stories::{Damage, Run, Server, Story, stories};
use tokio::time::{Instant, sleep};

use crate::AT_A_TIME;

const SEEDS: &[u64] = &[1, 2, 3];

// Of a hundred calls, on each side.
const FAULTS_PERCENT: u64 = 25;

// Every fault may cost a wait that grows.
const PATIENCE: Duration = Duration::from_mins(4);

/// What somebody does while the story is told.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Nothing,
    /// A person changes a template in CMDB.
    EditByHand,
    /// A person deletes all templates in CMDB.
    DeleteByHand,
    /// The status is lost.
    WipeStatus,
    /// The operator is killed.
    Kill,
}

fn faults(seed: u64) -> impl Iterator<Item = Fault> {
    let effects = [
        Effect::drop_before_commit(),
        Effect::drop_after_commit(),
        Effect::code(1_199_066),
        Effect::code(1_199_997),
        Effect::raw(504, "text/html", "<html>no answer in time</html>"),
    ];
    let share = f64::from(u32::try_from(FAULTS_PERCENT).unwrap()) / 100.0 / 5.0;
    effects.into_iter().zip(1..).map(move |(effect, number)| Fault {
        probability: Some(share),
        seed: seed.wrapping_mul(1000) + number,
        ..Fault::every("*", effect)
    })
}

async fn told(name: String, story: Story, meanwhile: Meanwhile, seed: u64) {
    let _permit = AT_A_TIME.acquire().await.unwrap();
    let mut run = Run::begin(&name, story).await;
    for fault in faults(seed) {
        run.world.sim.add_fault(fault);
    }
    run.api_server.storm(seed, FAULTS_PERCENT);
    run.change().await;
    match meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::EditByHand => {
            let by_hand = json!({ "start_cmd": { "value": "by hand", "as_default_value": true } });
            let by_hand: Property = serde_json::from_value(by_hand).unwrap();
            for template in run.world.sim.state().process_templates {
                run.world.sim.edit_process_template(template.id, "zhang", &by_hand).unwrap();
            }
        }
        Meanwhile::DeleteByHand => run.world.sim.update_state(|state| state.process_templates.clear()),
        Meanwhile::WipeStatus => run.world.wipe_status("web").await,
        Meanwhile::Kill => {
            run.world.kill_operator().await;
            run.start().await;
        }
    }
    let deadline = Instant::now() + PATIENCE;
    // In the end CMDB and the status say the same, and nobody lent a hand.
    loop {
        let damage = run.damage(run.is_done().await).await;
        if damage == Damage::default() {
            break;
        }
        assert!(Instant::now() < deadline, "{name} ({meanwhile:?}): {damage:?}\n{}", run.world.operator_log());
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(run.world.names_sent_twice_without_a_list(), 0, "{name}");
    // And it stays so when the storm is over.
    run.world.sim.clear_faults();
    run.api_server.calm();
    run.world.kill_operator().await;
    run.start().await;
    assert!(run.until_done().await, "{name}");
    run.world.stop_operator().await;
    assert_eq!(run.damage(true).await, Damage::default(), "{name}");
    run.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a control plane: make test"]
async fn every_story_ends_well_while_a_quarter_of_all_calls_goes_wrong() {
    let steady = |name: &str| {
        let story = stories().into_iter().find(|story| story.name == name).unwrap();
        Story { before: story.after.clone(), ..story }
    };
    let all = |meanwhile| stories().into_iter().map(move |story| (story, meanwhile));
    let mut tests: Vec<(Story, Meanwhile)> = all(Meanwhile::Nothing).chain(all(Meanwhile::Kill)).collect();
    for meanwhile in [Meanwhile::EditByHand, Meanwhile::DeleteByHand, Meanwhile::WipeStatus] {
        tests.push((steady("create"), meanwhile));
    }
    if endurance::is_whole() {
        // Where the status is lost, only what is identical, or may be taken over, is found again.
        tests.extend(all(Meanwhile::EditByHand).chain(all(Meanwhile::DeleteByHand)));
        let flat = |(story, meanwhile): (Story, Meanwhile)| (Story { server: Server::Flat, ..story }, meanwhile);
        tests.extend(tests.clone().into_iter().map(flat));
    }
    let mut runs = Vec::new();
    for (number, (story, meanwhile)) in tests.iter().enumerate() {
        for seed in SEEDS {
            runs.push(told(format!("storm-{number}-{seed}"), story.clone(), *meanwhile, *seed));
        }
    }
    let done = join_all(runs).await.len();
    println!("fault storm: tests={} seeds={} failed={}", tests.len(), SEEDS.len(), tests.len() * SEEDS.len() - done);
}
