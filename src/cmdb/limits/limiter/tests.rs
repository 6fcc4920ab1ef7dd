//! What the limiter does for those who call.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Answer, Limiter, Member, Permit, Rejected};
use crate::cmdb::limits::rate_limiter::Quota;
use crate::cmdb::{LimiterReadings, Limits, PollKey, Priority};

fn limits(requests_per_second: u32, max_concurrent: usize) -> Limits {
    Limits { requests_per_second, max_concurrent }
}

fn limiter(requests_per_second: u32, max_concurrent: usize) -> (Arc<Limiter>, Member) {
    limiter_until(&CancellationToken::new(), requests_per_second, max_concurrent)
}

fn limiter_until(ends: &CancellationToken, requests_per_second: u32, max_concurrent: usize) -> (Arc<Limiter>, Member) {
    let limiter = Limiter::new(ends.clone());
    let member = limiter.join(limits(requests_per_second, max_concurrent));
    (limiter, member)
}

async fn work(limiter: &Arc<Limiter>) -> Permit {
    limiter.enter(Priority::Interactive).await.unwrap()
}

// A poll never waits.
fn poll(limiter: &Arc<Limiter>, of: u32) -> Result<Permit, Rejected> {
    limiter.enter(Priority::Background(PollKey::of(of))).now_or_never().unwrap()
}

fn busy_for(refused: &Result<Permit, Rejected>) -> Duration {
    let Err(Rejected::Busy(wait)) = refused else { panic!("{refused:?}") };
    *wait
}

async fn fail(limiter: &Arc<Limiter>, times: usize) {
    for _ in 0..times {
        work(limiter).await.ended(Answer::NotReached("no connection"), None);
    }
}

async fn until_probe(limiter: &Arc<Limiter>) {
    let (cause, wait) = limiter.down().unwrap();
    assert_eq!(cause, "no connection");
    sleep(wait).await;
}

#[tokio::test(start_paused = true)]
async fn work_is_served_in_the_order_in_which_it_came() {
    let (limiter, _member) = limiter(1000, 1);
    let held = work(&limiter).await;
    let (sender, mut order) = mpsc::unbounded_channel();
    for number in 0..5 {
        let (limiter, sender) = (Arc::clone(&limiter), sender.clone());
        tokio::spawn(async move {
            let _permit = work(&limiter).await;
            sender.send(number).unwrap();
        });
        tokio::task::yield_now().await;
    }
    drop(held);
    for number in 0..5 {
        assert_eq!(order.recv().await, Some(number));
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_end_all_who_wait_are_sent_away_but_who_settles_a_write() {
    let ends = CancellationToken::new();
    let (limiter, _member) = limiter_until(&ends, 1, 1);
    drop(work(&limiter).await);
    let enter = |priority| {
        let limiter = Arc::clone(&limiter);
        async move { (limiter.enter(priority).await.map(drop), Instant::now()) }
    };
    let waiting =
        [Priority::Interactive, Priority::Interactive, Priority::Resolve, Priority::Resolve, Priority::Interactive];
    let begun = Instant::now();
    let (outcomes, ()) = tokio::join!(join_all(waiting.map(enter)), async {
        sleep(Duration::from_millis(100)).await;
        ends.cancel();
    });
    for (priority, (outcome, at)) in waiting.into_iter().zip(outcomes) {
        let after = at - begun;
        match priority {
            // Behind the others, which keep nobody waiting now.
            Priority::Resolve => {
                assert!(outcome.is_ok() && after < Duration::from_millis(2100), "{outcome:?} {after:?}")
            }
            _ => assert_eq!(outcome, Err(Rejected::Ending)),
        }
    }
    assert_eq!(enter(Priority::Interactive).await.0, Err(Rejected::Ending));
    assert_eq!(poll(&limiter, 1).map(drop), Err(Rejected::Ending));
}

#[tokio::test(start_paused = true)]
async fn work_goes_at_the_rate() {
    let (limiter, _member) = limiter(20, 4);
    let begun = Instant::now();
    for _ in 0..120 {
        drop(work(&limiter).await);
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(5) && took < Duration::from_millis(5200), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_cannot_go_is_sent_away_with_a_ticket_and_goes_when_it_comes_back() {
    let (limiter, _member) = limiter(20, 4);
    while poll(&limiter, 0).is_ok() {}
    let waits: Vec<Duration> = (0..200).map(|of| busy_for(&poll(&limiter, of))).collect();
    assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "each has its own");
    let come_back = (0..).zip(waits).map(|(of, wait)| {
        let limiter = Arc::clone(&limiter);
        async move {
            sleep(wait).await;
            poll(&limiter, of).is_ok()
        }
    });
    let begun = Instant::now();
    let gone = join_all(come_back).await;
    assert!(gone.iter().filter(|gone| **gone).count() > 190);
    assert!(begun.elapsed() < Duration::from_secs(11));
}

// Polls of as many sets, each again a while after it has gone; how often each has gone.
async fn gone_of(limiter: &Arc<Limiter>, sets: u32, interval: Duration, time: Duration) -> Vec<u32> {
    let ends = Instant::now() + time;
    let set = |of: u32| async move {
        let mut gone = 0;
        sleep(interval * of / sets).await;
        while Instant::now() < ends {
            let wait = match poll(limiter, of) {
                Ok(permit) => {
                    sleep(Duration::from_millis(20)).await;
                    permit.ended(Answer::Reached, None);
                    gone += 1;
                    interval
                }
                refused => busy_for(&refused),
            };
            sleep(wait).await;
        }
        gone
    };
    join_all((0..sets).map(set)).await
}

#[tokio::test(start_paused = true)]
async fn polls_beyond_the_limit_take_turns_evenly() {
    for rate in [1, 5, 20] {
        let (limiter, _member) = limiter(rate, 4);
        let interval = Duration::from_secs(20);
        // Three times as many as may go.
        let sets = rate * 60;
        let gone = gone_of(&limiter, sets, interval, interval * 15).await;
        let (least, most) = (*gone.iter().min().unwrap(), *gone.iter().max().unwrap());
        assert!(least >= 4 && most <= 6, "with {rate} a second: {least} to {most} times");
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_does_not_come_again_costs_two_seconds_at_most() {
    let (limiter, _member) = limiter(1, 1);
    drop(poll(&limiter, 0).unwrap());
    let (first, second) = (busy_for(&poll(&limiter, 1)), busy_for(&poll(&limiter, 2)));
    assert!(first < second);
    advance(second).await;
    busy_for(&poll(&limiter, 2));
    advance(Duration::from_secs(1)).await;
    assert!(poll(&limiter, 2).is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_place_is_kept_for_work_where_there_are_several() {
    let (limiter, member) = limiter(1000, 3);
    let _held = [poll(&limiter, 0).unwrap(), poll(&limiter, 0).unwrap()];
    busy_for(&poll(&limiter, 0));
    let _work = work(&limiter).await;
    drop(member);
    let (single, _member) = self::limiter(1000, 1);
    let _held = poll(&single, 0).unwrap();
    busy_for(&poll(&single, 0));
}

#[tokio::test(start_paused = true)]
async fn polls_give_way_to_work_that_waits() {
    let (limiter, _member) = limiter(1000, 2);
    let held = [work(&limiter).await, work(&limiter).await];
    let mut waiting = Box::pin(limiter.enter(Priority::Interactive));
    assert!(futures::poll!(&mut waiting).is_pending());
    let mut behind = Box::pin(limiter.enter(Priority::Interactive));
    assert!(futures::poll!(&mut behind).is_pending());
    drop(held);
    busy_for(&poll(&limiter, 0));
    drop((waiting.await, behind.await));
    assert!(poll(&limiter, 0).is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_holds_nobody_back() {
    let (limiter, _member) = limiter(1000, 1);
    let held = work(&limiter).await;
    let mut waiting = Box::pin(limiter.enter(Priority::Interactive));
    assert!(futures::poll!(&mut waiting).is_pending());
    let mut behind = Box::pin(limiter.enter(Priority::Interactive));
    assert!(futures::poll!(&mut behind).is_pending());
    drop(waiting);
    drop(held);
    assert!(behind.await.is_ok());
    assert!(poll(&limiter, 0).is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_lowest_limits_of_the_living_hold() {
    let (limiter, _member) = limiter(100, 10);
    assert!((limiter.rate() - 100.0).abs() < 1e-9);
    let lower = limiter.join(limits(5, 1));
    assert!((limiter.rate() - 5.0).abs() < 1e-9);
    let held = work(&limiter).await;
    assert!(timeout(Duration::from_mins(1), limiter.enter(Priority::Interactive)).await.is_err(), "one at a time");
    drop(lower);
    assert!((limiter.rate() - 100.0).abs() < 1e-9);
    let _second = work(&limiter).await;
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_long_stop_is_told_and_a_short_one_is_waited_for() {
    let (limiter, _member) = limiter(100, 4);
    let quota = |seconds| Some(Quota { limit: Some(100), remaining: 0, reset: Duration::from_secs(seconds) });
    work(&limiter).await.ended(Answer::Throttled, quota(30));
    let refused = limiter.enter(Priority::Interactive).await.unwrap_err();
    assert_eq!(refused, Rejected::Stopped(Duration::from_secs(30)));
    assert!(busy_for(&poll(&limiter, 0)) >= Duration::from_secs(30));
    advance(Duration::from_secs(21)).await;
    let begun = Instant::now();
    drop(work(&limiter).await);
    assert_eq!(begun.elapsed(), Duration::from_secs(9));
}

#[tokio::test(start_paused = true)]
async fn after_throttling_work_waits_until_one_call_was_let_through() {
    let (limiter, _member) = limiter(100, 4);
    work(&limiter).await.ended(Answer::Throttled, None);
    let begun = Instant::now();
    let probe = work(&limiter).await;
    assert_eq!(begun.elapsed(), Duration::from_millis(500));
    busy_for(&poll(&limiter, 0));
    let mut waiting = Box::pin(limiter.enter(Priority::Interactive));
    assert!(timeout(Duration::from_secs(20), &mut waiting).await.is_err());
    probe.ended(Answer::Reached, None);
    drop(waiting.await);
    advance(Duration::from_millis(100)).await;
    assert!(poll(&limiter, 0).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_down_endpoint_is_not_called_until_one_probe_is_due_and_comes_back_for_all() {
    let (limiter, _member) = limiter(1000, 10);
    fail(&limiter, 2).await;
    assert_eq!(limiter.down(), None);
    fail(&limiter, 1).await;
    for priority in [Priority::Interactive, Priority::Background(PollKey::default())] {
        let refused = limiter.enter(priority).now_or_never().unwrap().unwrap_err();
        assert!(matches!(&refused, Rejected::Down(cause, _) if cause == "no connection"), "{refused:?}");
    }
    until_probe(&limiter).await;
    let probe = poll(&limiter, 0).unwrap();
    let mut others: Vec<_> = (0..5).map(|_| Box::pin(limiter.enter(Priority::Interactive))).collect();
    others.extend((0..3).map(|_| Box::pin(limiter.enter(Priority::Background(PollKey::default())))));
    for other in &mut others {
        assert!(futures::poll!(other).is_pending(), "they wait for the outcome");
    }
    probe.ended(Answer::Reached, None);
    let gone = join_all(others.drain(..5)).await;
    assert!(gone.iter().all(Result::is_ok));
    assert_eq!(limiter.down(), None);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_sends_away_all_who_waited_for_it() {
    let (limiter, _member) = limiter(1000, 10);
    fail(&limiter, 3).await;
    until_probe(&limiter).await;
    let probe = work(&limiter).await;
    let others = join_all((0..5).map(|_| limiter.enter(Priority::Interactive)));
    let (others, ()) = tokio::join!(others, async {
        sleep(Duration::from_secs(45)).await;
        probe.ended(Answer::NotReached("no answer in time"), None);
    });
    for refused in others {
        let Err(Rejected::Down(cause, wait)) = refused else { panic!("{refused:?}") };
        assert_eq!(cause, "no connection");
        assert!(wait >= Duration::from_millis(1600), "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_does_not_wait_long_for_a_probe_that_hangs() {
    let (limiter, _member) = limiter(1000, 10);
    fail(&limiter, 3).await;
    until_probe(&limiter).await;
    let _probe = work(&limiter).await;
    let begun = Instant::now();
    busy_for(&limiter.enter(Priority::Background(PollKey::default())).await);
    assert_eq!(begun.elapsed(), Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_leaves_the_probe_to_the_next() {
    let (limiter, _member) = limiter(1000, 10);
    fail(&limiter, 3).await;
    until_probe(&limiter).await;
    let probe = work(&limiter).await;
    let waiting = limiter.enter(Priority::Interactive);
    let (next, ()) = tokio::join!(waiting, async { drop(probe) });
    let mut behind = Box::pin(limiter.enter(Priority::Interactive));
    assert!(timeout(Duration::from_mins(1), &mut behind).await.is_err(), "there is a probe again");
    next.unwrap().ended(Answer::Reached, None);
    assert!(behind.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_what_was_sent_before_opens_the_way() {
    let (limiter, _member) = limiter(1000, 10);
    let slow = work(&limiter).await;
    fail(&limiter, 3).await;
    assert!(limiter.down().is_some());
    slow.ended(Answer::Throttled, None);
    assert_eq!(limiter.down(), None, "who throttles is there");
}

#[tokio::test(start_paused = true)]
async fn what_is_true_of_a_limiter_can_be_read() {
    let (limiter, _member) = limiter(20, 2);
    let read = || {
        let mut readings = LimiterReadings::default();
        limiter.read(&mut readings);
        readings
    };
    let full = LimiterReadings { full: 1, ..LimiterReadings::default() };
    assert_eq!(read(), full);
    let (first, second) = (work(&limiter).await, work(&limiter).await);
    let waiting = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { work(&limiter).await.ended(Answer::Throttled, None) }
    });
    tokio::task::yield_now().await;
    assert!(poll(&limiter, 0).is_err());
    assert_eq!(read(), LimiterReadings { in_flight: 2, edits_waiting: 1, polls_waiting: 1, ..full });
    drop((first, second));
    waiting.await.unwrap();
    advance(Duration::from_secs(10)).await;
    assert_eq!(read(), LimiterReadings { slowed: 1, ..LimiterReadings::default() }, "it was throttled");
    work(&limiter).await.ended(Answer::Reached, None);
    advance(Duration::from_mins(10)).await;
    assert_eq!(read(), full, "it has its rate again");
    fail(&limiter, 3).await;
    assert_eq!(read(), LimiterReadings { down: 1, ..LimiterReadings::default() });
}
