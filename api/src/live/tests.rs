use lovage_protocol::Map;

use super::*;

fn event(kind: &str, fields: &[(&str, &str)]) -> Event {
    let fields: Map = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Carried::from(*value)))
        .collect();
    Event {
        kind: kind.to_owned(),
        hostname: "w@h".to_owned(),
        timestamp: 1.5,
        clock: None,
        fields,
    }
}

fn kinds(missed: &Missed) -> Vec<&str> {
    let Missed::Kept(missed) = missed else {
        panic!("{missed:?}");
    };
    missed.iter().map(|one| one.kind.as_str()).collect()
}

fn hearing() -> Live {
    let live = Live::new();
    live.begin_to_hear();
    live
}

#[test]
fn whoever_comes_back_is_told_what_it_missed() {
    let live = hearing();
    let received = [("uuid", "1"), ("name", "a"), ("root_id", "r")];
    live.take(&event("task-received", &received));
    live.take(&event("worker-heartbeat", &[]));
    live.take(&event("task-started", &[("uuid", "1")]));
    let first = live.state.lock().unwrap().kept[0].id.clone();
    let back = live.begin(Some(&first)).missed;
    assert_eq!(kinds(&back), ["started"]);
    // What later events do not say is known from earlier ones.
    let Missed::Kept(back) = back else {
        unreachable!()
    };
    assert_eq!(back[0].task.as_deref(), Some("a"));
    assert_eq!(back[0].root_id.as_deref(), Some("r"));
    assert_eq!(live.begin(None).missed, Missed::Nothing);
    assert_eq!(live.begin(Some("made-up")).missed, Missed::Unknown);
}

#[test]
fn what_is_not_kept_here_is_to_be_looked_up_by_its_time() {
    let live = hearing();
    live.take(&event("task-sent", &[("uuid", "first")]));
    let first = live.state.lock().unwrap().kept[0].id.clone();
    for _ in 0..=KEPT {
        live.take(&event("task-started", &[("uuid", "1")]));
    }
    let check = |live: &Live, last: &str, expected: usize| {
        let Missed::Recorded { since, kept } = live.begin(Some(last)).missed else {
            panic!("it cannot be kept");
        };
        assert_eq!((since, kept.len()), (moment(1.5), expected));
    };
    check(&live, &first, KEPT);
    // Another process's, and of this one before it lost the broker.
    let other = hearing();
    check(&other, &first, 0);
    let mut listener = live.begin(None).next;
    live.begin_to_hear();
    check(&live, &first, 0);
    assert_eq!(listener.try_recv().unwrap().kind, GAP);
}
