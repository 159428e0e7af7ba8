//! Looking after users. The command line does it through [`Users`], the API through the accounts that hold one.

use chrono::Utc;
use lovage_database::{
    Database,
    store::{
        account::{self, Account, AccountChange, NewAccount},
        session,
    },
};
use lovage_settings::HttpSettings;
use uuid::Uuid;

use super::{
    Post, Role,
    accounts::{Accounts, away},
    password, secret_text,
};
use crate::problem::{Code, Problem};

/// Looks after the users of a database.
#[derive(Debug, Clone)]
pub struct Users {
    database: Database,
    post: Post,
}

/// The first user of a new database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirstAdmin {
    /// There are users already, or none was asked for.
    Nothing,
    /// It was made with the password of the settings.
    Made {
        /// Its e-mail address.
        email: String,
    },
    /// It was made with a password that is shown now and never again.
    WithPassword {
        /// Its e-mail address.
        email: String,
        /// Its password.
        password: String,
    },
}

/// The first user of somebody who only tries it.
const SOMEBODY: &str = "admin@localhost";

/// What is to be changed of a user.
#[derive(Debug, Clone, Default)]
pub(crate) struct UserChange {
    pub(crate) role: Option<Role>,
    pub(crate) enabled: Option<bool>,
    pub(crate) password: Option<String>,
}

impl Users {
    /// Those of a database, who get mails about what happens to their accounts.
    pub fn new(database: Database, post: Post) -> Self {
        Self { database, post }
    }

    /// Makes the first administrator, if there is no user yet: the one of `LOVAGE_ADMIN_EMAIL` and `LOVAGE_ADMIN_PASSWORD`.
    /// With `make_up` what is missing of the two is made up.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn first_admin(
        &self,
        http: &HttpSettings,
        make_up: bool,
    ) -> Result<FirstAdmin, Problem> {
        if account::count(self.database.reader()).await.map_err(away)? > 0 {
            return Ok(FirstAdmin::Nothing);
        }
        let email = match &http.admin_email {
            Some(email) => email.clone(),
            None if make_up => SOMEBODY.to_owned(),
            None => return Ok(FirstAdmin::Nothing),
        };
        let (password, made_up) = match &http.admin_password {
            Some(password) => (password.expose().to_owned(), false),
            None if make_up => (secret_text::random(15), true),
            None => return Ok(FirstAdmin::Nothing),
        };
        let new = new_account(&email, password.clone(), Role::Admin, false).await?;
        // Whoever starts the first one is there, and wants no mail to be welcomed by.
        let made = account::create(self.database.writer(), new, Utc::now()).await;
        let made = made.map_err(away)?.ok_or_else(|| taken(&email));
        match made {
            Ok(account) if made_up => Ok(FirstAdmin::WithPassword {
                email: account.email,
                password,
            }),
            Ok(account) => Ok(FirstAdmin::Made {
                email: account.email,
            }),
            // Another process was faster.
            Err(problem) if problem.code() == Code::Conflict => Ok(FirstAdmin::Nothing),
            Err(problem) => Err(problem),
        }
    }

    /// Makes a user, who is told by mail.
    ///
    /// # Errors
    /// When the address is none or somebody's already, the password is none, or the database does not answer.
    pub async fn create(
        &self,
        email: &str,
        password: String,
        role: Role,
        must_change_password: bool,
    ) -> Result<Account, Problem> {
        let new = new_account(email, password, role, must_change_password).await?;
        let transaction = self.database.begin().await.map_err(away)?;
        let made = account::create(&transaction, new, Utc::now()).await;
        let account = made.map_err(away)?.ok_or_else(|| taken(email))?;
        self.post.welcome(&transaction, &account).await?;
        lovage_database::commit(transaction).await.map_err(away)?;
        Ok(account)
    }

    /// A password that was made up.
    pub fn make_up_password() -> String {
        secret_text::random(15)
    }

    /// Users by address, those behind `after`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn list(&self, after: Option<&str>, limit: u64) -> Result<Vec<Account>, Problem> {
        account::list(self.database.reader(), after, limit)
            .await
            .map_err(away)
    }

    /// The user of an address.
    ///
    /// # Errors
    /// When there is none, or the database does not answer.
    pub async fn by_email(&self, email: &str) -> Result<Account, Problem> {
        account::by_email(self.database.reader(), email)
            .await
            .map_err(away)?
            .ok_or_else(|| Problem::not_found(format!("there is no user {email}")))
    }

    /// The user of an id.
    ///
    /// # Errors
    /// When there is none, or the database does not answer.
    pub async fn by_id(&self, id: Uuid) -> Result<Account, Problem> {
        account::by_id(self.database.reader(), id)
            .await
            .map_err(away)?
            .ok_or_else(|| Problem::not_found(format!("there is no user {id}")))
    }

    /// Sets another role.
    ///
    /// # Errors
    /// As [`Users::by_email`], and when it is the last administrator.
    pub async fn set_role(&self, email: &str, role: Role) -> Result<Account, Problem> {
        let change = UserChange {
            role: Some(role),
            ..UserChange::default()
        };
        self.change(&self.by_email(email).await?, None, change)
            .await
    }

    /// Lets a user log in, or not.
    ///
    /// # Errors
    /// As [`Users::set_role`].
    pub async fn set_enabled(&self, email: &str, enabled: bool) -> Result<Account, Problem> {
        let change = UserChange {
            enabled: Some(enabled),
            ..UserChange::default()
        };
        self.change(&self.by_email(email).await?, None, change)
            .await
    }

    /// Sets another password, to be changed at the next login, and ends every session.
    ///
    /// # Errors
    /// As [`Users::by_email`], and when the password is none.
    pub async fn set_password(&self, email: &str, password: String) -> Result<Account, Problem> {
        let change = UserChange {
            password: Some(password),
            ..UserChange::default()
        };
        self.change(&self.by_email(email).await?, None, change)
            .await
    }

    /// Deletes a user with sessions and keys.
    ///
    /// # Errors
    /// As [`Users::set_role`].
    pub async fn delete(&self, account: &Account) -> Result<(), Problem> {
        self.keep_an_admin(account, None, Some(false)).await?;
        account::delete(self.database.writer(), account.id)
            .await
            .map_err(away)
            .map(drop)
    }

    /// Changes a user, with `version` only while it is that one. Whoever is switched off, gets another role or another
    /// password has to log in again.
    pub(crate) async fn change(
        &self,
        account: &Account,
        version: Option<i64>,
        change: UserChange,
    ) -> Result<Account, Problem> {
        self.keep_an_admin(account, change.role, change.enabled)
            .await?;
        let password = match change.password {
            None => None,
            Some(password) => {
                password::judge(&password)?;
                Some((password::hash(password).await?, true))
            }
        };
        let has_password = password.is_some();
        let change = AccountChange {
            role: change.role.map(|role| role.as_str().to_owned()),
            enabled: change.enabled,
            password,
        };
        let transaction = self.database.begin().await.map_err(away)?;
        let now = Utc::now();
        let changed = account::change(&transaction, account.id, version, change, now)
            .await
            .map_err(away)?;
        if !changed {
            return Err(Problem::new(
                Code::Changed,
                "the user was changed meanwhile; look again",
            ));
        }
        session::end_all(&transaction, account.id, now)
            .await
            .map_err(away)?;
        if has_password {
            self.post
                .password_changed(&transaction, account, now)
                .await?;
        }
        lovage_database::commit(transaction).await.map_err(away)?;
        self.by_id(account.id).await
    }

    /// Somebody must be left who can look after users.
    async fn keep_an_admin(
        &self,
        account: &Account,
        role: Option<Role>,
        enabled: Option<bool>,
    ) -> Result<(), Problem> {
        let admin = Role::Admin.as_str();
        let stays = role.is_none_or(|role| role == Role::Admin) && enabled.unwrap_or(true);
        if account.role != admin || !account.enabled || stays {
            return Ok(());
        }
        let admins = account::count_enabled(self.database.reader(), admin)
            .await
            .map_err(away)?;
        if admins > 1 {
            return Ok(());
        }
        Err(Problem::new(
            Code::Conflict,
            format!(
                "{} is the last administrator; make another first",
                account.email
            ),
        ))
    }
}

impl Accounts {
    /// The users.
    pub(crate) fn users(&self) -> Users {
        Users::new(self.database.clone(), self.post.clone())
    }

    /// Changes a user, and lets nobody be taken for what they were before.
    pub(crate) async fn change_user(
        &self,
        account: &Account,
        version: Option<i64>,
        change: UserChange,
    ) -> Result<Account, Problem> {
        let changed = self.users().change(account, version, change).await;
        self.forget();
        changed
    }

    /// Deletes a user, and lets nobody be taken for them.
    pub(crate) async fn delete_user(&self, account: &Account) -> Result<(), Problem> {
        let deleted = self.users().delete(account).await;
        self.forget();
        deleted
    }
}

async fn new_account(
    email: &str,
    password: String,
    role: Role,
    must_change_password: bool,
) -> Result<NewAccount, Problem> {
    judge_email(email)?;
    password::judge(&password)?;
    Ok(NewAccount {
        email: email.to_owned(),
        password_hash: password::hash(password).await?,
        role: role.as_str().to_owned(),
        must_change_password,
    })
}

fn taken(email: &str) -> Problem {
    Problem::new(Code::Conflict, format!("there is a user {email} already"))
}

fn judge_email(email: &str) -> Result<(), Problem> {
    let is_fine = email.len() <= 254
        && !email.contains(|c: char| c.is_whitespace() || c.is_control())
        && email
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if is_fine {
        return Ok(());
    }
    Err(Problem::invalid(
        "the e-mail address is none; it looks like ada@example.org",
    ))
}
