//! Accounts, sessions, keys, the audit log and idempotency keys, on both databases.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use chrono::{DateTime, TimeDelta, Utc};
use lovage_database::{
    Database,
    store::{
        account::{self, Account, AccountChange, NewAccount},
        api_key::{self, NewApiKey},
        audit::{self, Deed, Wanted},
        idempotency::{self, Claim, Request},
        one_time::{self, NewOneTime},
        session::{self, NewToken, Use},
    },
    testing::on_both,
};
use serde_json::json;
use uuid::Uuid;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn later(seconds: i64) -> DateTime<Utc> {
    now() + TimeDelta::seconds(seconds)
}

async fn made(database: &Database, email: &str) -> Account {
    let new = NewAccount {
        email: email.to_owned(),
        password_hash: "hash".to_owned(),
        role: "viewer".to_owned(),
        must_change_password: false,
    };
    let made = account::create(database.writer(), new, now())
        .await
        .unwrap();
    made.expect("there is no such account yet")
}

fn token(user: Uuid, family: Uuid, text: &str, expires: i64) -> NewToken {
    NewToken {
        user,
        family,
        hash: text.as_bytes().to_vec(),
        expires_at: later(expires),
        user_agent: None,
        address: None,
    }
}

on_both! {
    async fn an_address_is_one_account_whatever_its_case(database: Database) {
        let ada = made(&database, "Ada@Example.org").await;
        assert_eq!(ada.email, "ada@example.org");
        let again = NewAccount {
            email: "ADA@example.org".to_owned(),
            password_hash: String::new(),
            role: "admin".to_owned(),
            must_change_password: true,
        };
        let again = account::create(database.writer(), again, now()).await.unwrap();
        assert_eq!(again, None);
        let found = account::by_email(database.reader(), "ada@EXAMPLE.org").await.unwrap();
        assert_eq!(found, Some(ada));
        assert_eq!(account::count(database.reader()).await.unwrap(), 1);
    }

    async fn a_change_holds_only_for_the_version_it_was_meant_for(database: Database) {
        let ada = made(&database, "ada@example.org").await;
        let role = |role: &str| AccountChange {
            role: Some(role.to_owned()),
            ..AccountChange::default()
        };
        let change = async |version, to: &str| {
            account::change(database.writer(), ada.id, version, role(to), later(1)).await.unwrap()
        };
        assert!(change(Some(ada.version), "admin").await);
        assert!(!change(Some(ada.version), "operator").await);
        assert!(change(None, "operator").await);
        let now_is = account::by_id(database.reader(), ada.id).await.unwrap().unwrap();
        assert_eq!((now_is.role.as_str(), now_is.version), ("operator", ada.version + 2));
        assert_eq!(account::count_enabled(database.reader(), "operator").await.unwrap(), 1);
        assert_eq!(account::count_enabled(database.reader(), "admin").await.unwrap(), 0);
    }

    async fn wrong_passwords_are_counted_until_a_login(database: Database) {
        let ada = made(&database, "ada@example.org").await;
        account::note_failure(database.writer(), ada.id, None).await.unwrap();
        account::note_failure(database.writer(), ada.id, Some(later(60))).await.unwrap();
        let locked = account::by_id(database.reader(), ada.id).await.unwrap().unwrap();
        assert_eq!((locked.failed_logins, locked.locked_until), (2, Some(later(60))));
        account::note_login(database.writer(), ada.id, later(61)).await.unwrap();
        let open = account::by_id(database.reader(), ada.id).await.unwrap().unwrap();
        assert_eq!((open.failed_logins, open.locked_until), (0, None));
        assert_eq!(open.last_login_at, Some(later(61)));
    }

    async fn a_refresh_token_is_good_once_and_ends_with_its_family(database: Database) {
        let ada = made(&database, "ada@example.org").await;
        let (user, family) = (ada.id, Uuid::new_v4());
        session::issue(database.writer(), token(user, family, "one", 60), now()).await.unwrap();
        let give = async |text: &str, at| {
            session::use_up(database.writer(), text.as_bytes(), at).await.unwrap()
        };
        assert_eq!(give("none", now()).await, Use::No);
        assert_eq!(give("one", later(61)).await, Use::No);
        assert_eq!(give("one", now()).await, Use::Good { user, family });
        assert_eq!(give("one", now()).await, Use::Again { user, family });
        assert!(session::goes_on(database.reader(), family).await.unwrap());
        session::issue(database.writer(), token(user, family, "two", 60), now()).await.unwrap();
        session::end(database.writer(), family, later(2)).await.unwrap();
        assert!(!session::goes_on(database.reader(), family).await.unwrap());
        assert_eq!(give("two", later(3)).await, Use::No);
        let other = Uuid::new_v4();
        session::issue(database.writer(), token(user, other, "three", 60), now()).await.unwrap();
        session::end_all(database.writer(), user, later(4)).await.unwrap();
        assert!(!session::goes_on(database.reader(), other).await.unwrap());
    }

    async fn of_many_who_use_a_token_at_once_one_is_right(database: Database) {
        let ada = made(&database, "ada@example.org").await;
        session::issue(database.writer(), token(ada.id, Uuid::new_v4(), "one", 60), now()).await.unwrap();
        let uses = (0..8).map(|_| session::use_up(database.writer(), b"one", now()));
        let uses = futures::future::join_all(uses).await;
        let good = uses.iter().filter(|used| matches!(used, Ok(Use::Good { .. })));
        assert_eq!(good.count(), 1);
    }

    async fn a_single_use_token_is_for_one_purpose(database: Database) {
        let ada = made(&database, "ada@example.org").await;
        let keep = async |text: &str| {
            let new = NewOneTime {
                purpose: "reset".to_owned(),
                user: Some(ada.id),
                hash: text.as_bytes().to_vec(),
                detail: Some(json!({"a": 1})),
                expires_at: later(60),
            };
            one_time::issue(database.writer(), new, now()).await.unwrap();
        };
        let take = async |purpose: &str, text: &str, at| {
            one_time::take(database.writer(), purpose, text.as_bytes(), at).await.unwrap()
        };
        keep("one").await;
        assert_eq!(take("stream", "one", now()).await, None);
        assert_eq!(take("reset", "one", later(61)).await, None);
        let taken = take("reset", "one", now()).await.unwrap();
        assert_eq!((taken.user, taken.detail), (Some(ada.id), Some(json!({"a": 1}))));
        assert_eq!(take("reset", "one", now()).await, None);
        keep("two").await;
        one_time::withdraw(database.writer(), "reset", ada.id, now()).await.unwrap();
        assert_eq!(take("reset", "two", now()).await, None);
    }

    async fn a_key_is_found_by_its_prefix_and_withdrawn_by_its_owner(database: Database) {
        let ada = made(&database, "ada@example.org").await;
        let new = NewApiKey {
            name: "shop".to_owned(),
            prefix: "abc".to_owned(),
            hmac: vec![0, 255],
            user: ada.id,
            scopes: vec!["tasks:send".to_owned()],
            queues: Vec::new(),
            tasks: vec!["shop.*".to_owned()],
            expires_at: Some(later(60)),
        };
        let key = api_key::create(database.writer(), new, now()).await.unwrap();
        let found = api_key::by_prefix(database.reader(), "abc").await.unwrap();
        assert_eq!(found.as_ref(), Some(&key));
        assert_eq!(api_key::by_prefix(database.reader(), "ab").await.unwrap(), None);
        api_key::note_use(database.writer(), &[key.id], later(5)).await.unwrap();
        let revoke = async |user| {
            api_key::revoke(database.writer(), key.id, user, later(6)).await.unwrap()
        };
        assert!(!revoke(Some(Uuid::new_v4())).await);
        assert!(revoke(Some(ada.id)).await);
        assert!(!revoke(None).await);
        let kept = api_key::list(database.reader(), Some(ada.id), 0, 10).await.unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!((kept[0].last_used_at, kept[0].revoked_at), (Some(later(5)), Some(later(6))));
        assert!(account::delete(database.writer(), ada.id).await.unwrap());
        assert_eq!(api_key::by_id(database.reader(), key.id).await.unwrap(), None);
    }

    async fn changes_are_read_backwards_by_what_and_by_whom(database: Database) {
        for (number, action) in ["a", "b", "a"].into_iter().enumerate() {
            let deed = Deed {
                actor_kind: "user".to_owned(),
                actor_id: Some(format!("u{number}")),
                action: action.to_owned(),
                target_id: Some("q".to_owned()),
                detail: Some(json!({"text": "nul \0 in it"})),
                ..Deed::default()
            };
            audit::note(database.writer(), deed, now()).await.unwrap();
        }
        let list = async |wanted: Wanted, limit| {
            let found = audit::list(database.reader(), &wanted, limit).await.unwrap();
            let ids: Vec<i64> = found.iter().map(|noted| noted.id).collect();
            let actors = found.into_iter().filter_map(|noted| noted.deed.actor_id);
            (ids, actors.collect::<Vec<String>>())
        };
        let of = |action: &str| Wanted { action: Some(action.to_owned()), ..Wanted::default() };
        assert_eq!(list(of("a"), 10).await.1, ["u2", "u0"]);
        let (ids, first) = list(Wanted::default(), 2).await;
        assert_eq!(first, ["u2", "u1"]);
        let rest = Wanted { before: ids.last().copied(), ..Wanted::default() };
        assert_eq!(list(rest, 2).await.1, ["u0"]);
    }

    async fn a_request_is_done_once_under_its_key(database: Database) {
        let request = |hash| Request { caller: "user:1", key: "k", hash };
        let (same, other) = (request(b"a".as_slice()), request(b"b".as_slice()));
        let claim = async |request: &Request<'_>, at| {
            idempotency::claim(database.writer(), request, at, at + TimeDelta::seconds(60)).await.unwrap()
        };
        assert_eq!(claim(&same, now()).await, Claim::New);
        assert_eq!(claim(&same, now()).await, Claim::InProgress);
        assert_eq!(claim(&other, now()).await, Claim::Other);
        idempotency::give_up(database.writer(), &same).await.unwrap();
        assert_eq!(claim(&same, now()).await, Claim::New);
        idempotency::finish(database.writer(), &same, Some("id"), 202, b"body".to_vec()).await.unwrap();
        let done = Claim::Done { status: 202, response: b"body".to_vec() };
        assert_eq!(claim(&same, later(59)).await, done);
        // What was done is not given up, and is forgotten in the end.
        idempotency::give_up(database.writer(), &same).await.unwrap();
        assert_eq!(claim(&same, later(59)).await, done);
        assert_eq!(claim(&same, later(60)).await, Claim::New);
        assert_eq!(idempotency::prune(database.writer(), later(200)).await.unwrap(), 1);
    }
}
