//! Looking after API keys.

use chrono::{DateTime, Utc};
use lovage_database::store::api_key::{self, ApiKey, NewApiKey};
use uuid::Uuid;

use super::{
    Identity, Permission, Reach,
    accounts::{Accounts, away, new_key},
};
use crate::problem::{Code, Problem};

/// A key that is wished for.
#[derive(Debug, Clone)]
pub(crate) struct KeyWish {
    pub(crate) name: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) queues: Vec<String>,
    pub(crate) tasks: Vec<String>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

/// A key that was made. The text is shown once.
#[derive(Debug, Clone)]
pub(crate) struct FreshKey {
    pub(crate) key: ApiKey,
    pub(crate) text: String,
}

impl Accounts {
    /// Makes a key for whoever asks, who cannot give it more than they have.
    ///
    /// # Errors
    /// When a scope or pattern is none, the caller lacks a permission, or the database does not answer.
    pub(crate) async fn create_key(
        &self,
        caller: &Identity,
        wish: KeyWish,
    ) -> Result<FreshKey, Problem> {
        for scope in &wish.scopes {
            let permission = Permission::of_scope(scope)
                .filter(|permission| permission.is_for_keys())
                .ok_or_else(|| {
                    let known: Vec<&str> = Permission::ALL
                        .iter()
                        .filter(|permission| permission.is_for_keys())
                        .map(|permission| permission.scope())
                        .collect();
                    Problem::invalid(format!(
                        "{scope} is no scope; there are {}",
                        known.join(", ")
                    ))
                })?;
            if !caller.may(permission) {
                let detail = format!("a key cannot have {scope}, which its owner has not");
                return Err(Problem::new(Code::Forbidden, detail));
            }
        }
        for patterns in [&wish.queues, &wish.tasks] {
            Reach::new(patterns.clone())
                .map_err(|error| Problem::invalid(format!("a pattern is none: {error}")))?;
        }
        if wish.expires_at.is_some_and(|at| at <= Utc::now()) {
            return Err(Problem::invalid("expires_at has gone already"));
        }
        let (text, prefix) = new_key();
        let new = NewApiKey {
            name: wish.name,
            prefix,
            hmac: self.signing.keys.of(&text),
            user: caller.user,
            scopes: wish.scopes,
            queues: wish.queues,
            tasks: wish.tasks,
            expires_at: wish.expires_at,
        };
        let key = api_key::create(self.database.writer(), new, Utc::now())
            .await
            .map_err(away)?;
        Ok(FreshKey { key, text })
    }

    /// The keys of a user, or everybody's: so many after the first `offset`, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn keys(
        &self,
        user: Option<Uuid>,
        offset: u64,
        limit: u64,
    ) -> Result<Vec<ApiKey>, Problem> {
        api_key::list(self.database.reader(), user, offset, limit)
            .await
            .map_err(away)
    }

    /// Withdraws a key; with `user` only one of theirs.
    ///
    /// # Errors
    /// When there is no such key, or the database does not answer.
    pub(crate) async fn revoke_key(&self, id: Uuid, user: Option<Uuid>) -> Result<(), Problem> {
        let revoked = api_key::revoke(self.database.writer(), id, user, Utc::now())
            .await
            .map_err(away)?;
        self.forget();
        if revoked {
            return Ok(());
        }
        Err(Problem::not_found(format!(
            "there is no key {id} of yours that is good"
        )))
    }
}
