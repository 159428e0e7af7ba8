use lovage_protocol::{Body, Headers, Map, Properties, TaskId, TaskName};

use crate::pool::KillSignal;

use super::*;

fn message() -> Message {
    let id = TaskId::from("id-1");
    let headers = Headers::new(TaskName::from("demo.add"), id);
    Message::new(
        headers,
        Properties::new("id-1", "celery"),
        &Body::new(vec![], Map::new()),
    )
}

fn rules() -> Rules {
    Rules::for_tests()
}

fn boom() -> ExceptionInfo {
    ExceptionInfo::new(
        "builtins",
        "ValueError",
        vec![Value::Str("boom".to_owned())],
    )
}

fn failure(timed_out: bool) -> Outcome {
    Outcome::Failure(Failure {
        exception: boom(),
        traceback: None,
        timed_out,
        transient: false,
        from_outside: false,
    })
}

fn ending(outcome: Outcome, message: &Message, settings: &TaskSettings) -> Ending {
    conclude(outcome, message, &rules(), settings, 0.5)
}

fn state(ending: &Ending) -> Option<&State> {
    ending.record.as_ref().map(|record| &record.state)
}

#[test]
fn a_success_is_acked_and_stored() {
    let ending = ending(
        Outcome::Success(Value::Int(5)),
        &message(),
        &TaskSettings::default(),
    );
    assert!(matches!(ending.settle, Settle::Ack));
    assert_eq!(state(&ending), Some(&State::Success));
    assert!(matches!(ending.next, Next::Continue(Value::Int(5))));
}

#[test]
fn a_failure_is_acked_unless_the_setting_says_otherwise() {
    let settings = TaskSettings::default();
    assert!(matches!(
        ending(failure(false), &message(), &settings).settle,
        Settle::Ack
    ));
    let keeps = TaskSettings {
        acks_on_failure: false,
        ..settings
    };
    let ended = ending(failure(false), &message(), &keeps);
    assert!(matches!(&ended.settle, Settle::DeadLetter(reason) if reason.code == "failed"));
    assert_eq!(state(&ended), Some(&State::Failure));
}

#[test]
fn a_hard_limit_is_acked_unless_the_setting_says_otherwise() {
    let settings = TaskSettings::default();
    assert!(matches!(
        ending(failure(true), &message(), &settings).settle,
        Settle::Ack
    ));
    let again = TaskSettings {
        acks_on_timeout: false,
        ..settings
    };
    assert!(matches!(
        ending(failure(true), &message(), &again).settle,
        Settle::Requeue
    ));
}

#[test]
fn a_retry_is_sent_and_acked_until_they_are_used_up() {
    let wish = |cause| {
        Outcome::Retry(Retry {
            cause,
            traceback: None,
            when: None,
        })
    };
    let mut message = message();
    let ended = ending(wish(Some(boom())), &message, &TaskSettings::default());
    assert!(matches!(ended.settle, Settle::Ack));
    assert_eq!(state(&ended), Some(&State::Retry));
    assert!(matches!(ended.next, Next::Retry(When::Countdown(_))));

    message.headers.retries = 3;
    let ended = ending(wish(Some(boom())), &message, &TaskSettings::default());
    assert!(matches!(&ended.next, Next::Fail(exception) if *exception == boom()));
    let ended = ending(wish(None), &message, &TaskSettings::default());
    let Next::Fail(exception) = ended.next else {
        panic!("retries are used up")
    };
    assert_eq!(exception.exc_type, "MaxRetriesExceededError");
    assert_eq!(
        exception.exc_message,
        [Value::from("Can't retry demo.add[id-1] args:() kwargs:{}")]
    );
}

#[test]
fn no_maximum_means_for_ever() {
    let mut message = message();
    message.headers.retries = 1_000_000;
    let wish = Outcome::Retry(Retry {
        cause: None,
        traceback: None,
        when: None,
    });
    let for_ever = Rules {
        max_retries: None,
        ..rules()
    };
    let ended = conclude(wish, &message, &for_ever, &TaskSettings::default(), 0.999);
    assert!(
        matches!(ended.next, Next::Retry(When::Countdown(wait)) if wait <= Duration::from_secs(600))
    );
}

#[test]
fn ignore_stores_nothing_and_reject_goes_back_or_is_kept() {
    let settings = TaskSettings::default();
    let ended = ending(Outcome::Ignore, &message(), &settings);
    assert!(matches!(ended.settle, Settle::Ack) && ended.record.is_none());

    let reject = |requeue| Outcome::Reject {
        requeue,
        reason: "no thanks".to_owned(),
    };
    let ended = ending(reject(true), &message(), &settings);
    assert!(matches!(ended.settle, Settle::Requeue) && ended.record.is_none());

    let ended = ending(reject(false), &message(), &settings);
    assert!(matches!(&ended.settle, Settle::DeadLetter(reason) if reason.code == "rejected"));
    let record = ended.record.unwrap();
    assert_eq!(record.state, State::Failure);
    assert_eq!(record.result.get("exc_type"), Some(&Value::from("Reject")));
    assert_eq!(
        record.result.get("exc_message"),
        Some(&Value::List(vec!["no thanks".into(), false.into()]))
    );
}

#[test]
fn the_producers_wish_about_results_wins() {
    let settings = TaskSettings::default();
    let mut message = message();
    let ignoring = Rules {
        ignore_result: true,
        ..rules()
    };
    assert!(!stores(&message, &ignoring, &settings, &State::Success));
    message.headers.ignore_result = Some(false);
    assert!(stores(&message, &ignoring, &settings, &State::Success));
    message.headers.ignore_result = Some(true);
    assert!(!stores(&message, &rules(), &settings, &State::Failure));
    let errors = TaskSettings {
        store_errors_even_if_ignored: true,
        ..settings
    };
    assert!(stores(&message, &rules(), &errors, &State::Failure));
    assert!(stores(&message, &rules(), &errors, &State::Retry));
    assert!(!stores(&message, &rules(), &errors, &State::Success));
}

#[test]
fn the_messages_limits_win_and_zero_is_none() {
    let mut message = message();
    let seconds = |seconds: f64| Some(Duration::from_secs_f64(seconds));
    let check = |message: &Message, own: Limits, hard, soft| {
        assert_eq!(limits(message, own), Limits { hard, soft });
    };
    let own = Limits {
        hard: seconds(9.0),
        soft: None,
    };
    check(&message, Limits::default(), None, None);
    check(&message, own, seconds(9.0), None);
    message.headers.timelimit.hard = Some(2.5);
    message.headers.timelimit.soft = Some(1.0);
    check(&message, own, seconds(2.5), seconds(1.0));
    message.headers.timelimit.hard = Some(0.0);
    message.headers.timelimit.soft = Some(f64::NAN);
    check(&message, own, seconds(9.0), None);
}

#[test]
fn a_lost_child_follows_retry_then_reject_then_failure() {
    let mut message = message();
    let death = Death::Signal(9);
    let with = |retry, reject, late| Rules {
        retry_on_worker_lost: retry,
        reject_on_worker_lost: reject,
        acks_late: late,
        max_retries: Some(2),
        ..rules()
    };
    let fate = |message: &Message, rules: &Rules| lost(death, 14, message, rules);
    assert!(matches!(
        fate(&message, &with(false, true, true)),
        Fate::GoesBack
    ));
    for rules in [with(false, false, true), with(false, true, false)] {
        let Fate::Ends(Outcome::Failure(failure)) = fate(&message, &rules) else {
            panic!("an early ack, or no requeue, is a failure");
        };
        assert_eq!(
            failure.exception.repr(),
            "WorkerLostError('Worker exited prematurely: signal 9 (SIGKILL) Job: 14.')"
        );
        assert!(!failure.timed_out && failure.traceback.is_none());
    }
    let retrying = with(true, true, true);
    assert!(matches!(
        fate(&message, &retrying),
        Fate::Ends(Outcome::Retry(_))
    ));
    message.headers.retries = 2;
    assert!(matches!(
        fate(&message, &retrying),
        Fate::Ends(Outcome::Failure(_))
    ));
}

#[test]
fn a_terminated_task_is_revoked_and_its_message_acknowledged() {
    let ending = ending(
        Outcome::Terminated(KillSignal::TERM),
        &message(),
        &TaskSettings::default(),
    );
    assert!(matches!(ending.settle, Settle::Ack));
    assert!(matches!(ending.next, Next::Nothing));
    let record = ending.record.unwrap();
    assert_eq!(record.state, State::Revoked);
    let exception = ExceptionInfo::from_value(&record.result).unwrap();
    assert_eq!(exception.repr(), "TaskRevokedError('terminated')");
}

/// Asks for a worker of 100 slots that may hold 400; gives what is taken and how much of it is started.
fn asked(held: usize, waiting: usize, running: usize, quick: bool) -> Option<(usize, usize)> {
    asked_of(100, 400, held, waiting, running, quick)
}

fn asked_of(
    concurrency: usize,
    prefetch: usize,
    held: usize,
    waiting: usize,
    running: usize,
    quick: bool,
) -> Option<(usize, usize)> {
    let load = Load {
        concurrency,
        prefetch,
        held,
        waiting,
        running,
        quick,
        lenient: true,
    };
    room(&load).map(|want| (want.max, want.start))
}

#[test]
fn a_fetch_waits_for_a_quarter_of_the_room_while_there_is_work() {
    assert_eq!(asked(0, 0, 0, false), Some((400, 100)));
    let idle_slot = asked(399, 0, 99, false);
    assert_eq!(idle_slot, Some((1, 1)), "an idle slot never waits");
    assert_eq!(asked(399, 299, 100, false), None);
    assert_eq!(asked(300, 200, 100, false), Some((100, 0)));
    assert_eq!(asked(400, 0, 0, false), None, "the prefetch is a bound");
    assert_eq!(asked_of(1, 1, 0, 0, 0, false), Some((1, 1)));
    let unlimited = asked_of(100, usize::MAX, 5_000, 0, 99, false);
    assert_eq!(
        unlimited,
        Some((1_000, 1)),
        "a fetch has a limit of its own"
    );
}

#[test]
fn while_tasks_are_quick_the_next_batch_is_fetched_as_the_last_one_runs() {
    assert_eq!(asked(0, 0, 0, true), Some((50, 50)), "half of the slots");
    assert_eq!(asked(100, 0, 100, true), Some((50, 50)));
    assert_eq!(asked(103, 3, 100, true), None, "the line is served first");
    assert_eq!(asked(390, 0, 100, true), None, "ends are on their way");
    assert_eq!(asked(400, 0, 0, true), None, "the prefetch is a bound");
}

#[test]
fn small_pools_take_half_of_themselves_and_nothing_is_marked_where_a_death_is_the_end() {
    assert_eq!(asked_of(3, 3, 0, 0, 0, true), Some((2, 2)));
    assert_eq!(asked_of(1, 1, 0, 0, 0, true), Some((1, 1)));
    assert_eq!(asked_of(100, 100, 0, 0, 0, true), Some((50, 50)));
    let strict = Load {
        concurrency: 100,
        prefetch: 400,
        held: 80,
        waiting: 0,
        running: 80,
        quick: true,
        lenient: false,
    };
    let want = room(&strict).map(|want| (want.max, want.start));
    assert_eq!(want, Some((50, 20)), "no more than there are free slots");
}

#[test]
fn a_slot_is_not_left_idle_in_the_hope_that_others_end() {
    let held = 80;
    assert_eq!(asked_of(100, 100, held, 0, held, true), Some((20, 20)));
}
