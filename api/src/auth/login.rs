//! Coming in, staying in, going out: login, refresh, logout, and passwords that are changed or forgotten.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use lovage_database::{
    ConnectionTrait,
    store::{
        account::{self, Account, AccountChange},
        audit::{self, Deed},
        one_time::{self, NewOneTime},
        session::{self, NewToken, Use},
    },
};
use uuid::Uuid;

use super::{
    accounts::{Accounts, away},
    password, secret_text,
};
use crate::problem::{Code, Problem};

/// After so many wrong passwords in a row an account is locked for a while.
const WRONG_BEFORE_LOCK: i32 = 10;
/// How long the first lock holds; the next ones, if wrong passwords go on, as long again.
const LOCK: Duration = Duration::from_secs(15 * 60);
/// How long the link of a forgotten password is good.
pub(super) const RESET_LIFE: Duration = Duration::from_secs(30 * 60);
/// What single-use tokens of forgotten passwords are for.
const RESET: &str = "password-reset";

/// Where a request comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// The client's address.
    pub(crate) address: Option<String>,
    /// What it calls itself.
    pub(crate) user_agent: Option<String>,
    /// The request.
    pub(crate) request_id: String,
}

/// Tokens of a session.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    /// Says who somebody is.
    pub(crate) access: String,
    /// Gets the next pair.
    pub(crate) refresh: String,
    /// How long the access token holds.
    pub(crate) life: Duration,
}

impl Accounts {
    /// Lets somebody in.
    ///
    /// # Errors
    /// When address and password do not go together, there were too many attempts, or the database does not answer.
    pub(crate) async fn log_in(
        &self,
        email: &str,
        given: String,
        origin: &Origin,
    ) -> Result<Tokens, Problem> {
        let email = email.to_lowercase();
        self.throttle(&email, origin)?;
        let db = self.database.writer();
        let now = Utc::now();
        let known = account::by_email(self.database.reader(), &email)
            .await
            .map_err(away)?;
        let locked = known
            .as_ref()
            .and_then(|account| account.locked_until)
            .filter(|until| *until > now);
        // A locked account is checked like one that does not exist, so that nobody learns which it is.
        let hash = known
            .as_ref()
            .filter(|account| account.enabled && locked.is_none())
            .map(|account| account.password_hash.clone());
        let right = password::verify(given, hash).await?;
        let account = match known {
            Some(account) if right => account,
            known => {
                if let Some(account) = known
                    && locked.is_none()
                {
                    self.note_wrong(&account, origin, now).await?;
                }
                return Err(wrong());
            }
        };
        account::note_login(db, account.id, now)
            .await
            .map_err(away)?;
        self.note(&account, "auth.login", origin).await?;
        self.open_session(&account, Uuid::new_v4(), origin).await
    }

    fn throttle(&self, email: &str, origin: &Origin) -> Result<(), Problem> {
        let now = Instant::now();
        let address = origin.address.as_deref().unwrap_or("unknown");
        self.by_address.allow(address, now)?;
        self.by_email.allow(email, now)
    }

    async fn note_wrong(
        &self,
        account: &Account,
        origin: &Origin,
        now: DateTime<Utc>,
    ) -> Result<(), Problem> {
        let times = account.failed_logins.saturating_add(1);
        let lock = (times >= WRONG_BEFORE_LOCK).then(|| now + LOCK);
        account::note_failure(self.database.writer(), account.id, lock)
            .await
            .map_err(away)?;
        if lock.is_some() {
            tracing::warn!(
                user = account.email,
                "too many wrong passwords: locked for a while"
            );
            self.note(account, "auth.locked", origin).await?;
        }
        Ok(())
    }

    async fn open_session(
        &self,
        account: &Account,
        family: Uuid,
        origin: &Origin,
    ) -> Result<Tokens, Problem> {
        let now = Utc::now();
        let refresh = secret_text::secret();
        let token = NewToken {
            user: account.id,
            family,
            hash: self.signing.sessions.of(&refresh),
            expires_at: now + self.signing.session_life,
            user_agent: origin.user_agent.clone(),
            address: origin.address.clone(),
        };
        session::issue(self.database.writer(), token, now)
            .await
            .map_err(away)?;
        let tokens = &self.signing.tokens;
        Ok(Tokens {
            access: tokens.issue(account.id, family, account.version)?,
            refresh,
            life: tokens.life(),
        })
    }

    /// The next pair of tokens for one that was not used yet. One that is used twice ends its session.
    ///
    /// # Errors
    /// When the token is not good, or the database does not answer.
    pub(crate) async fn refresh(&self, given: &str, origin: &Origin) -> Result<Tokens, Problem> {
        let address = origin.address.as_deref().unwrap_or("unknown");
        self.by_address.allow(address, Instant::now())?;
        let no = || {
            Problem::new(
                Code::BadCredentials,
                "the refresh token is not good; log in",
            )
        };
        let db = self.database.writer();
        let hash = self.signing.sessions.of(given);
        let used = session::use_up(db, &hash, Utc::now()).await.map_err(away)?;
        match used {
            Use::No => Err(no()),
            Use::Again { user, family } => {
                session::end(db, family, Utc::now()).await.map_err(away)?;
                self.forget();
                tracing::warn!(%user, "a refresh token was used twice: its session is ended");
                if let Some(account) = account::by_id(db, user).await.map_err(away)? {
                    self.note(&account, "auth.reuse", origin).await?;
                }
                Err(no())
            }
            Use::Good { user, family } => {
                let account = account::by_id(db, user).await.map_err(away)?;
                let account = account.filter(|account| account.enabled).ok_or_else(no)?;
                self.open_session(&account, family, origin).await
            }
        }
    }

    /// Ends a session, or all of the user's.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn log_out(
        &self,
        user: Uuid,
        family: Option<Uuid>,
        everywhere: bool,
    ) -> Result<(), Problem> {
        let db = self.database.writer();
        match family {
            Some(family) if !everywhere => session::end(db, family, Utc::now()).await,
            _ => session::end_all(db, user, Utc::now()).await,
        }
        .map_err(away)?;
        self.forget();
        Ok(())
    }

    /// Changes a user's own password; all sessions end, this one too.
    ///
    /// # Errors
    /// When the old one is wrong, the new one is none, or the database does not answer.
    pub(crate) async fn change_password(
        &self,
        user: Uuid,
        old: String,
        new: String,
        origin: &Origin,
    ) -> Result<(), Problem> {
        password::judge(&new)?;
        let account = account::by_id(self.database.reader(), user)
            .await
            .map_err(away)?
            .ok_or_else(wrong)?;
        self.throttle(&account.email, origin)?;
        let hash = Some(account.password_hash.clone());
        if !password::verify(old, hash).await? {
            return Err(Problem::new(Code::Forbidden, "the old password is another"));
        }
        let hash = password::hash(new).await?;
        let transaction = self.database.begin().await.map_err(away)?;
        self.set_password(&transaction, &account, hash).await?;
        note(&transaction, &account, "auth.change", origin).await?;
        lovage_database::commit(transaction).await.map_err(away)?;
        self.forget();
        Ok(())
    }

    /// Sets a password, ends every session, and tells whose it is.
    async fn set_password(
        &self,
        transaction: &impl ConnectionTrait,
        account: &Account,
        hash: String,
    ) -> Result<(), Problem> {
        let change = AccountChange {
            password: Some((hash, false)),
            ..AccountChange::default()
        };
        let now = Utc::now();
        account::change(transaction, account.id, None, change, now)
            .await
            .map_err(away)?;
        session::end_all(transaction, account.id, now)
            .await
            .map_err(away)?;
        one_time::withdraw(transaction, RESET, account.id, now)
            .await
            .map_err(away)?;
        self.post.password_changed(transaction, account, now).await
    }

    /// Counts that somebody says to have forgotten the password.
    ///
    /// # Errors
    /// When that was said too often.
    pub(crate) fn allow_forgot(&self, email: &str, origin: &Origin) -> Result<(), Problem> {
        self.throttle(&email.to_lowercase(), origin)
    }

    /// Posts a link to somebody who has forgotten the password; nothing when there is nobody of this address. The caller
    /// answers the same in both cases, and has asked [`Accounts::allow_forgot`].
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn forgot(&self, email: &str, origin: &Origin) -> Result<(), Problem> {
        let known = account::by_email(self.database.reader(), email)
            .await
            .map_err(away)?;
        let Some(account) = known.filter(|account| account.enabled) else {
            return Ok(());
        };
        let transaction = self.database.begin().await.map_err(away)?;
        let now = Utc::now();
        one_time::withdraw(&transaction, RESET, account.id, now)
            .await
            .map_err(away)?;
        let text = secret_text::secret();
        let token = NewOneTime {
            purpose: RESET.to_owned(),
            user: Some(account.id),
            hash: self.signing.one_time.of(&text),
            detail: None,
            expires_at: now + RESET_LIFE,
        };
        one_time::issue(&transaction, token, now)
            .await
            .map_err(away)?;
        self.post.reset(&transaction, &account, &text).await?;
        note(&transaction, &account, "auth.forgot", origin).await?;
        lovage_database::commit(transaction).await.map_err(away)
    }

    /// Sets a new password with a link that is good for one use.
    ///
    /// # Errors
    /// When the link is not good, the password is none, or the database does not answer.
    pub(crate) async fn reset(
        &self,
        token: &str,
        new: String,
        origin: &Origin,
    ) -> Result<(), Problem> {
        password::judge(&new)?;
        let address = origin.address.as_deref().unwrap_or("unknown");
        self.by_address.allow(address, Instant::now())?;
        let new = password::hash(new).await?;
        // The link is used up by what it is used for, or not at all.
        let transaction = self.database.begin().await.map_err(away)?;
        let no = || Problem::new(Code::BadCredentials, "the link is not (any more) good");
        let hash = self.signing.one_time.of(token);
        let taken = one_time::take(&transaction, RESET, &hash, Utc::now())
            .await
            .map_err(away)?
            .ok_or_else(no)?;
        let user = taken.user.ok_or_else(no)?;
        let account = account::by_id(&transaction, user).await.map_err(away)?;
        let account = account.filter(|account| account.enabled).ok_or_else(no)?;
        self.set_password(&transaction, &account, new).await?;
        note(&transaction, &account, "auth.reset", origin).await?;
        lovage_database::commit(transaction).await.map_err(away)?;
        self.forget();
        Ok(())
    }

    async fn note(&self, account: &Account, action: &str, origin: &Origin) -> Result<(), Problem> {
        note(self.database.writer(), account, action, origin).await
    }
}

/// Notes what a user did about the own account.
async fn note(
    database: &impl ConnectionTrait,
    account: &Account,
    action: &str,
    origin: &Origin,
) -> Result<(), Problem> {
    let deed = Deed {
        actor_kind: "user".to_owned(),
        actor_id: Some(account.id.to_string()),
        actor_name: Some(account.email.clone()),
        action: action.to_owned(),
        target_kind: Some("user".to_owned()),
        target_id: Some(account.id.to_string()),
        detail: None,
        address: origin.address.clone(),
        request_id: Some(origin.request_id.clone()),
    };
    audit::note(database, deed, Utc::now()).await.map_err(away)
}

fn wrong() -> Problem {
    Problem::new(
        Code::BadCredentials,
        "e-mail address or password is wrong, or there were too many attempts",
    )
}
