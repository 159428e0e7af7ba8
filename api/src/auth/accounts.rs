//! Recognising whoever asks: people by access tokens, programs by API keys.
//!
//! What the database says of them is kept for some seconds, so that a thousand requests cost one look; a change made through
//! this process holds at once, one made through another within [`FRESH`].

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::Utc;
use lovage_database::{
    Database,
    store::{
        account::{self, Account},
        api_key::{self, ApiKey},
        session,
    },
};
use uuid::Uuid;

use super::{
    AccessTokens, Identity, Key, Permission, Post, Reach, Role, Seal, secret_text,
    throttle::Throttle,
};
use crate::problem::{Code, Problem};

/// How long what the database said is taken for true.
pub(crate) const FRESH: Duration = Duration::from_secs(5);
/// So much is remembered of each kind.
const MOST: usize = 10_000;
/// How an API key begins: people and scanners recognise it by that.
const KEY_MARK: &str = "lvg_";
/// Random bytes of the part of a key that may be shown.
const PREFIX_BYTES: usize = 6;

/// What signs, and how long what it signs holds.
pub(crate) struct Signing {
    /// Access tokens.
    pub(crate) tokens: AccessTokens,
    /// Refresh tokens.
    pub(crate) sessions: Seal,
    /// Texts that are good for one use.
    pub(crate) one_time: Seal,
    /// API keys.
    pub(crate) keys: Seal,
    /// How long a refresh token that is not used holds.
    pub(crate) session_life: Duration,
}

/// Users, their sessions and keys.
pub(crate) struct Accounts {
    pub(super) database: Database,
    pub(super) signing: Signing,
    pub(super) post: Post,
    pub(super) by_address: Throttle,
    pub(super) by_email: Throttle,
    people: Memory<(Uuid, Uuid), Arc<Person>>,
    keys: Memory<String, Option<Arc<Program>>>,
    used: Mutex<HashSet<Uuid>>,
}

/// What is remembered of a person with a session.
#[derive(Debug)]
struct Person {
    account: Option<Account>,
    session_goes_on: bool,
}

/// What is remembered of a key. Its patterns are compiled once, which takes longer than anything else about a request.
#[derive(Debug)]
struct Program {
    key: ApiKey,
    owner: Account,
    reach: Key,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

impl Accounts {
    pub(crate) fn new(database: Database, signing: Signing, post: Post) -> Self {
        Self {
            database,
            signing,
            post,
            // A person mistypes; a program that guesses gets nowhere.
            by_address: Throttle::new(20, Duration::from_secs(3)),
            by_email: Throttle::new(10, Duration::from_secs(10)),
            people: Memory::default(),
            keys: Memory::default(),
            used: Mutex::default(),
        }
    }

    /// Who comes with this token or key.
    ///
    /// # Errors
    /// When it is not (any more) good, or the database does not answer.
    pub(crate) async fn recognise(&self, token: &str) -> Result<Identity, Problem> {
        match token.strip_prefix(KEY_MARK) {
            Some(key) => self.program(token, key).await,
            None => self.person(token).await,
        }
    }

    async fn person(&self, token: &str) -> Result<Identity, Problem> {
        let claims = self.signing.tokens.read(token)?;
        let place = (claims.sub, claims.family);
        let person = match self.people.get(&place) {
            Some(person) => person,
            None => {
                let reader = self.database.reader();
                let person = Arc::new(Person {
                    account: account::by_id(reader, claims.sub).await.map_err(away)?,
                    session_goes_on: session::goes_on(reader, claims.family)
                        .await
                        .map_err(away)?,
                });
                self.people.keep(place, Arc::clone(&person));
                person
            }
        };
        let gone = || Problem::new(Code::Unauthenticated, "the session has ended; log in again");
        let account = person.account.as_ref().ok_or_else(gone)?;
        if !account.enabled || !person.session_goes_on || account.version != claims.version {
            return Err(gone());
        }
        Ok(Identity {
            user: account.id,
            role: role(account)?,
            email: account.email.clone(),
            session: Some(claims.family),
            key: None,
        })
    }

    async fn program(&self, whole: &str, key: &str) -> Result<Identity, Problem> {
        let no = || Problem::new(Code::Unauthenticated, "this API key is not (any more) good");
        let (prefix, _) = key.split_once('_').ok_or_else(no)?;
        let found = match self.keys.get(prefix) {
            Some(found) => found,
            None => {
                let found = self.look_up(prefix).await?;
                self.keys.keep(prefix.to_owned(), found.clone());
                found
            }
        };
        let found = found.ok_or_else(no)?;
        let Program { key, owner, reach } = &*found;
        let expired = key.expires_at.is_some_and(|at| at <= Utc::now());
        if !self.signing.keys.verifies(whole, &key.hmac)
            || expired
            || key.revoked_at.is_some()
            || !owner.enabled
        {
            return Err(no());
        }
        self.used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.id);
        Ok(Identity {
            user: owner.id,
            role: role(owner)?,
            email: owner.email.clone(),
            session: None,
            key: Some(reach.clone()),
        })
    }

    /// The identity that somebody had who is known by user and session or key; `None` when that is no longer good.
    pub(super) async fn identity_of(
        &self,
        user: Uuid,
        session: Option<Uuid>,
        key: Option<Uuid>,
    ) -> Result<Option<Identity>, Problem> {
        if let Some(session) = session {
            let goes_on = session::goes_on(self.database.reader(), session).await;
            if !goes_on.map_err(away)? {
                return Ok(None);
            }
        } else if key.is_none() {
            return Ok(None);
        }
        let who = self.who_began(user, key).await?;
        Ok(who.map(|who| Identity { session, ..who }))
    }

    /// Who began something that goes on without them: the user, or the key with its owner's role, if they are still good.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn who_began(
        &self,
        user: Uuid,
        key: Option<Uuid>,
    ) -> Result<Option<Identity>, Problem> {
        let reader = self.database.reader();
        let account = account::by_id(reader, user).await.map_err(away)?;
        let Some(account) = account.filter(|account| account.enabled) else {
            return Ok(None);
        };
        let key = match key {
            None => None,
            Some(id) => match self.good_key(id).await? {
                None => return Ok(None),
                good => good,
            },
        };
        Ok(Some(Identity {
            user: account.id,
            role: role(&account)?,
            email: account.email,
            session: None,
            key,
        }))
    }

    async fn good_key(&self, id: Uuid) -> Result<Option<Key>, Problem> {
        let found = api_key::by_id(self.database.reader(), id).await;
        let good = found.map_err(away)?.filter(|key| {
            key.revoked_at.is_none() && key.expires_at.is_none_or(|at| at > Utc::now())
        });
        good.as_ref().map(key_of).transpose()
    }

    async fn look_up(&self, prefix: &str) -> Result<Option<Arc<Program>>, Problem> {
        let reader = self.database.reader();
        let Some(key) = api_key::by_prefix(reader, prefix).await.map_err(away)? else {
            return Ok(None);
        };
        let owner = match key.user {
            Some(user) => account::by_id(reader, user).await.map_err(away)?,
            None => None,
        };
        let Some(owner) = owner else {
            return Ok(None);
        };
        let reach = key_of(&key)?;
        Ok(Some(Arc::new(Program { key, owner, reach })))
    }

    /// Forgets what is remembered: something was changed.
    pub(super) fn forget(&self) {
        self.people.clear();
        self.keys.clear();
    }

    /// Writes down which keys were used since the last time.
    pub(crate) async fn note_used_keys(&self) {
        let used: Vec<Uuid> = {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.drain().collect()
        };
        if used.is_empty() {
            return;
        }
        let noted = api_key::note_use(self.database.writer(), &used, Utc::now()).await;
        if let Err(error) = noted {
            // It will be used again.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the use of API keys is not noted"
            );
        }
    }
}

/// A new key: what is shown once, and what may be shown of it.
pub(super) fn new_key() -> (String, String) {
    // The mark and the prefix end at an underscore, so there is none within the prefix.
    let prefix = secret_text::random(PREFIX_BYTES).replace(['_', '-'], "x");
    (
        format!("{KEY_MARK}{prefix}_{}", secret_text::secret()),
        prefix,
    )
}

fn role(account: &Account) -> Result<Role, Problem> {
    Role::parse(&account.role).ok_or_else(|| {
        let text = format!("the user {} has the role {}", account.email, account.role);
        Problem::internal(&std::io::Error::other(text))
    })
}

fn key_of(key: &ApiKey) -> Result<Key, Problem> {
    let reach = |patterns: &[String]| {
        Reach::new(patterns.to_vec())
            .map_err(|error| Problem::internal(&std::io::Error::other(error)))
    };
    Ok(Key {
        id: key.id,
        // A scope that an older version knew is none.
        permissions: key
            .scopes
            .iter()
            .filter_map(|scope| Permission::of_scope(scope))
            .collect(),
        tasks: reach(&key.tasks)?,
        queues: reach(&key.queues)?,
    })
}

/// What the database refuses, as a client is told.
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
pub(crate) fn away(error: lovage_database::Error) -> Problem {
    if error.is_transient() {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the database is away"
        );
        return Problem::new(Code::DatabaseAway, "the database does not answer").retry_after(2);
    }
    Problem::internal(&error)
}

/// What was looked up a moment ago.
struct Memory<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (when, value) = known.get(key)?;
        (when.elapsed() < FRESH).then(|| value.clone())
    }

    fn keep(&self, key: K, value: V) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, (when, _)| when.elapsed() < FRESH);
        }
        // Whoever makes up more keys than that in five seconds is looked up each time.
        if known.len() < MOST {
            known.insert(key, (Instant::now(), value));
        }
    }

    fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
