//! `lovage user`: who may use the API.

use std::io::Read;

use chrono::Utc;
use clap::{Args, Subcommand, ValueEnum};
use lovage_api::{
    auth::{Post, Role, Users},
    problem::Problem,
};
use lovage_database::{
    Database,
    store::{
        account::Account,
        audit::{self, Deed},
    },
};
use lovage_settings::Settings;
use serde_json::{Value, json};

use crate::{failure::Failure, output, table::Table};

/// Look after the users of the HTTP API.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  lovage user create ada@example.org --role operator
  lovage user list
  lovage user disable ada@example.org")]
pub(crate) enum UserCommand {
    /// Make a user; the password is made up and printed unless it is given
    Create(CreateArgs),
    /// List the users
    List(ListArgs),
    /// Give a user another role
    Role(RoleArgs),
    /// Set another password; it is made up and printed unless it is given
    Password(PasswordArgs),
    /// Let a user log in again
    Enable(WhoArgs),
    /// Let a user log in no longer, and end every session
    Disable(WhoArgs),
    /// Delete a user with sessions and API keys
    Delete(DeleteArgs),
}

/// A user to be made.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The e-mail address
    email: String,
    /// What the user may do
    #[arg(long, value_enum, default_value_t = RoleName::Viewer)]
    role: RoleName,
    #[command(flatten)]
    password: Given,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Where a password comes from.
#[derive(Debug, Args)]
pub(crate) struct Given {
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
}

/// How it is told.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Another role.
#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    /// The e-mail address
    email: String,
    /// What the user may do
    #[arg(value_enum)]
    role: RoleName,
}

/// Another password.
#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// The e-mail address
    email: String,
    #[command(flatten)]
    password: Given,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which user.
#[derive(Debug, Args)]
pub(crate) struct WhoArgs {
    /// The e-mail address
    email: String,
}

/// Which user to delete.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The e-mail address
    email: String,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// The roles by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Looks at everything that has to do with tasks
    Viewer,
    /// Sends, revokes and repairs tasks
    Operator,
    /// Also looks after users
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Viewer => Self::Viewer,
            RoleName::Operator => Self::Operator,
            RoleName::Admin => Self::Admin,
        }
    }
}

/// So many users are listed.
const MOST: u64 = 10_000;

/// Runs the command.
pub(crate) async fn run(command: UserCommand, settings: &Settings) -> Result<u8, Failure> {
    let database = Database::connect(&settings.database, "user").await?;
    let desk = Desk {
        users: Users::new(database.clone(), Post::new(settings)),
        database,
    };
    match command {
        UserCommand::Create(args) => desk.create(args).await,
        UserCommand::List(args) => desk.list(&args).await,
        UserCommand::Role(args) => {
            let account = desk.users.set_role(&args.email, args.role.into()).await;
            desk.told(account, "user.change", "has another role").await
        }
        UserCommand::Password(args) => desk.password(args).await,
        UserCommand::Enable(args) => {
            let account = desk.users.set_enabled(&args.email, true).await;
            desk.told(account, "user.change", "may log in").await
        }
        UserCommand::Disable(args) => {
            let account = desk.users.set_enabled(&args.email, false).await;
            desk.told(account, "user.change", "may log in no longer")
                .await
        }
        UserCommand::Delete(args) => desk.delete(&args).await,
    }
}

/// Where users are looked after.
struct Desk {
    users: Users,
    database: Database,
}

impl Desk {
    async fn create(&self, args: CreateArgs) -> Result<u8, Failure> {
        let (password, made_up) = password(&args.password)?;
        let account = self
            .users
            .create(&args.email, password.clone(), args.role.into(), made_up)
            .await
            .map_err(refused)?;
        self.note(&account, "user.create").await?;
        tell_password(&account, made_up.then_some(&password), args.json)
    }

    async fn password(&self, args: PasswordArgs) -> Result<u8, Failure> {
        let (password, made_up) = password(&args.password)?;
        let account = self
            .users
            .set_password(&args.email, password.clone())
            .await
            .map_err(refused)?;
        self.note(&account, "user.change").await?;
        tell_password(&account, made_up.then_some(&password), args.json)
    }

    async fn list(&self, args: &ListArgs) -> Result<u8, Failure> {
        let accounts = self.users.list(None, MOST).await.map_err(refused)?;
        if args.json {
            output::json(&accounts.iter().map(describe).collect())?;
            return Ok(0);
        }
        if accounts.is_empty() {
            output::note(
                "there are no users; make one with `lovage user create EMAIL --role admin`",
            );
            return Ok(0);
        }
        let mut table = Table::new(["EMAIL", "ROLE", "MAY LOG IN", "LAST LOGIN"]);
        for account in &accounts {
            let last = account
                .last_login_at
                .map_or_else(|| "never".to_owned(), |at| at.format("%F %T").to_string());
            table.push([
                output::one_line(&account.email),
                account.role.clone(),
                if account.enabled { "yes" } else { "no" }.to_owned(),
                last,
            ]);
        }
        output::line(table)?;
        Ok(0)
    }

    async fn delete(&self, args: &DeleteArgs) -> Result<u8, Failure> {
        let account = self.users.by_email(&args.email).await.map_err(refused)?;
        if !args.force {
            if !output::can_ask() {
                return Err(Failure::usage(
                    "this deletes a user and there is no terminal to ask at; use -f",
                ));
            }
            let question = format!("This deletes {} with all API keys. Go on?", account.email);
            if !output::confirm(question)? {
                return Err(Failure::failed("nobody was deleted"));
            }
        }
        self.users.delete(&account).await.map_err(refused)?;
        self.note(&account, "user.delete").await?;
        output::line(format_args!("{} is deleted", account.email))?;
        Ok(0)
    }

    async fn told(
        &self,
        account: Result<Account, Problem>,
        action: &str,
        what: &str,
    ) -> Result<u8, Failure> {
        let account = account.map_err(refused)?;
        self.note(&account, action).await?;
        output::line(format_args!("{} {what}", account.email))?;
        Ok(0)
    }

    async fn note(&self, account: &Account, action: &str) -> Result<(), Failure> {
        let deed = Deed {
            actor_kind: "cli".to_owned(),
            action: action.to_owned(),
            target_kind: Some("user".to_owned()),
            target_id: Some(account.id.to_string()),
            detail: Some(json!({"email": account.email, "role": account.role})),
            ..Deed::default()
        };
        Ok(audit::note(self.database.writer(), deed, Utc::now()).await?)
    }
}

/// The password that was given, or one that is made up.
fn password(given: &Given) -> Result<(String, bool), Failure> {
    if !given.password_stdin {
        return Ok((Users::make_up_password(), true));
    }
    let mut text = String::new();
    std::io::stdin()
        .take(4096)
        .read_to_string(&mut text)
        .map_err(|error| Failure::failed(format!("the password cannot be read: {error}")))?;
    Ok((text.trim_end_matches(['\r', '\n']).to_owned(), false))
}

fn tell_password(account: &Account, password: Option<&String>, json: bool) -> Result<u8, Failure> {
    if json {
        let mut told = describe(account);
        told["password"] = json!(password);
        output::json(&told)?;
        return Ok(0);
    }
    match password {
        Some(password) => output::line(format_args!(
            "{}, {}: the password is {password} (shown only now)",
            account.email, account.role
        ))?,
        None => output::line(format_args!("{}, {}", account.email, account.role))?,
    }
    Ok(0)
}

fn describe(account: &Account) -> Value {
    json!({
        "id": account.id,
        "email": account.email,
        "role": account.role,
        "enabled": account.enabled,
        "last_login_at": account.last_login_at,
        "created_at": account.created_at,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn refused(problem: Problem) -> Failure {
    Failure::failed(problem.detail().to_owned())
}
