//! The Lua scripts. Each is one step that no crash can cut in two.

use std::sync::LazyLock;

use redis::Script;

/// Takes messages and records them as held.
pub(crate) static FETCH: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/fetch.lua")));

/// Finds what a fetch took whose answer was lost.
pub(crate) static RECOVER: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/recover.lua")));

/// Does everything that follows from a batch of deliveries; see [`super::batch`].
pub(crate) static APPLY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/store.lua"),
        include_str!("lua/delayed.lua"),
        include_str!("lua/apply.lua")
    ))
});

/// The same for a batch of which some leave the gate. By itself, since a script makes all its functions anew in each call.
pub(crate) static APPLY_GATED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/store.lua"),
        include_str!("lua/delayed.lua"),
        include_str!("lua/gate.lua"),
        include_str!("lua/apply.lua")
    ))
});

/// [`APPLY`] for a batch of which something is written into the journal.
pub(crate) static APPLY_TOLD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/store.lua"),
        include_str!("lua/delayed.lua"),
        include_str!("lua/journal.lua"),
        include_str!("lua/apply.lua")
    ))
});

/// [`APPLY_GATED`] for a batch of which something is written into the journal.
pub(crate) static APPLY_GATED_TOLD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/store.lua"),
        include_str!("lua/delayed.lua"),
        include_str!("lua/gate.lua"),
        include_str!("lua/journal.lua"),
        include_str!("lua/apply.lua")
    ))
});

/// Begins a journal, or goes on keeping it.
pub(crate) static JOURNAL_KEEP: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/journal_keep.lua")));

/// Reads the journal.
pub(crate) static JOURNAL_READ: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/journal_read.lua")));

/// Drops what was read of the journal.
pub(crate) static JOURNAL_FORGET: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/journal_forget.lua")));

/// Decides whether deliveries may run.
pub(crate) static ADMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/delayed.lua"),
        include_str!("lua/gate.lua"),
        include_str!("lua/line.lua"),
        include_str!("lua/admit.lua")
    ))
});

/// Sends a message, and decides about it as it is sent.
pub(crate) static PUBLISH_GATED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/delayed.lua"),
        include_str!("lua/gate.lua"),
        include_str!("lua/line.lua"),
        include_str!("lua/publish_gated.lua")
    ))
});

/// Ends a chord.
pub(crate) static CHORD_CLOSE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/store.lua"),
        include_str!("lua/chord_close.lua")
    ))
});

/// Writes the bindings of queues.
pub(crate) static DECLARE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/declare.lua")));

/// Binds a queue that expires.
pub(crate) static BIND_EXPIRING: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/bind_expiring.lua")));

/// Puts due messages back into their lists.
pub(crate) static DUE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/delayed.lua"),
        include_str!("lua/due.lua")
    ))
});

/// Puts the delayed messages of tasks back into their lists, due or not.
pub(crate) static RECALL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/delayed.lua"),
        include_str!("lua/recall.lua")
    ))
});

/// Looks through the delayed messages.
pub(crate) static SWEEP: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/sweep.lua")));

/// Records revocations.
pub(crate) static REVOKE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/revoke.lua")));

/// Puts back what a Python worker held for longer than the visibility time-out.
pub(crate) static RESTORE_FOREIGN: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/restore_foreign.lua")));

/// Replays or discards a dead letter.
pub(crate) static LETTER: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/letter.lua")));

/// Publishes what was not published before.
pub(crate) static RELAY: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/relay.lua")));

/// Takes or renews a lease.
pub(crate) static RENEW: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/renew.lua")));

/// Moves the scores of held deliveries to now.
pub(crate) static REFRESH: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/refresh.lua")));

/// Removes what is left of a dead worker, unless it lives again.
pub(crate) static BURY: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/bury.lua")));

/// Deletes a key while it has the value given.
pub(crate) static RELEASE_LOCK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0",
    )
});

/// Takes or prolongs the lead of the timetable.
pub(crate) static LEAD: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/lead.lua")));

/// Gives up the lead of the timetable.
pub(crate) static STEP_DOWN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0",
    )
});

/// Makes ticks of the timetable happen.
pub(crate) static TICK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/schedule_past.lua"),
        include_str!("lua/tick.lua")
    ))
});

/// Makes or changes an entry of the timetable.
pub(crate) static SCHEDULE_PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/schedule_past.lua"),
        include_str!("lua/schedule_put.lua")
    ))
});

/// Sends what was due in a time that has passed.
pub(crate) static SCHEDULE_MAKE_UP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/schedule_past.lua"),
        include_str!("lua/schedule_make_up.lua")
    ))
});

/// Removes an entry of the timetable.
pub(crate) static SCHEDULE_REMOVE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/schedule_remove.lua")));

/// What has changed in the timetable.
pub(crate) static SCHEDULE_CHANGES: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/schedule_changes.lua")));

/// Runs the `EVALSHA` of a script over a blocking connection, loading it when the server does not have it.
pub(crate) fn run_blocking(
    script: &Script,
    cmd: &redis::Cmd,
    connection: &mut redis::Connection,
) -> redis::RedisResult<redis::Value> {
    match cmd.query(connection) {
        Err(error)
            if error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::NoScript) =>
        {
            script.load(connection)?;
            cmd.query(connection)
        }
        answered => answered,
    }
}

/// Begins the `EVALSHA` of a script.
pub(crate) fn call(script: &Script, keys: &[&str]) -> redis::Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(script.get_hash()).arg(keys.len()).arg(keys);
    cmd
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests {
    use super::*;
    use crate::redis_server::RedisServer;

    fn run<T: redis::FromRedisValue>(server: &RedisServer, script: &Script, cmd: &redis::Cmd) -> T {
        let mut connection = server.connection(0).unwrap();
        script.load(&mut connection).unwrap();
        cmd.query(&mut connection).unwrap()
    }

    fn ask<T: redis::FromRedisValue>(server: &RedisServer, words: &[&str]) -> T {
        let mut cmd = redis::cmd(words[0]);
        cmd.arg(&words[1..])
            .query(&mut server.connection(0).unwrap())
            .unwrap()
    }

    fn fetch(epoch: u64) -> redis::Cmd {
        let mut cmd = call(
            &FETCH,
            &["lease", "worker", "unacked", "unacked_index", "journal"],
        );
        cmd.arg("w")
            .arg(epoch)
            .arg(1)
            .arg(10)
            .arg(1)
            .arg(1)
            .arg(1)
            .arg(", \"\", \"q\"]")
            .arg("q");
        cmd
    }

    /// A connection that was given up may still have a fetch in its buffer, which the server reads much later.
    #[test]
    fn a_fetch_that_was_given_up_takes_nothing() {
        let server = RedisServer::start().unwrap();
        ask::<()>(&server, &["LPUSH", "q", "one", "two"]);
        assert_eq!(run::<String>(&server, &FETCH, &fetch(0)), "NOLEASE");
        ask::<()>(&server, &["SET", "lease", "w@test"]);
        let mut recover = call(&RECOVER, &["worker", "unacked", "unacked_index"]);
        recover.arg("w").arg(1).arg(1).arg(10);
        assert!(run::<Vec<String>>(&server, &RECOVER, &recover).is_empty());
        assert_eq!(run::<String>(&server, &FETCH, &fetch(0)), "STALE");
        assert_eq!(ask::<usize>(&server, &["LLEN", "q"]), 2);
        let taken: (usize, Vec<String>) = run(&server, &FETCH, &fetch(1));
        assert_eq!(taken, (1, vec!["one".to_owned(), "two".to_owned()]));
        // What it took can be read again.
        let mut recover = call(&RECOVER, &["worker", "unacked", "unacked_index"]);
        recover.arg("w").arg(2).arg(1).arg(10);
        let found: Vec<(u64, String, f64)> = run(&server, &RECOVER, &recover);
        assert_eq!((found[0].0, found[0].1.as_str()), (1, "[one, \"\", \"q\"]"));
        assert_eq!(
            (found.len(), found[0].2.fract(), found[1].2.fract()),
            (2, 0.5, 0.0)
        );
    }
}
