//! The HTTP API that `lovage up` serves beside its worker, and the database that it has.

use std::{fs, io, net::SocketAddr, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use lovage_api::{
    ServerError,
    auth::{FirstAdmin, Post, Secrets, Users},
};
use lovage_database::Database;
use lovage_registry::TaskSpec;
use lovage_settings::{DatabaseSettings, DatabaseUrl, Secret, Settings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{
    command::{api::Api, schedule::kept},
    connect,
    failure::{Failure, chain},
    output,
};

/// An API that is served in this process.
#[derive(Debug)]
pub(crate) struct ApiBeside {
    /// Where it is.
    pub(crate) url: String,
    /// Who may come in, when that was made up just now.
    pub(crate) admin: Option<(String, String)>,
    stop: CancellationToken,
    served: JoinHandle<Result<(), Failure>>,
}

impl ApiBeside {
    /// Opens the database, makes its tables and the first administrator, and serves.
    ///
    /// # Errors
    /// What is in the way.
    pub(crate) async fn start(
        data: &Path,
        settings: &Settings,
        specs: Vec<TaskSpec>,
    ) -> Result<Self, Failure> {
        let as_given = settings;
        let mut settings = settings.clone();
        if settings.database.url == DatabaseSettings::default().url {
            settings.database.url = DatabaseUrl::Sqlite(data.join("lovage.db"));
        }
        if settings.http.secret_key.is_none() {
            settings.http.secret_key = Some(kept_secret(&data.join("secret-key"))?);
        }
        let secrets = Secrets::from_settings(&settings)
            .map_err(|error| Failure::settings(error.to_string()))?;
        let database = Database::connect(&settings.database, "up").await?;
        lovage_migrations::up(database.writer(), None).await?;
        let listening = listen(&settings).await?;
        let connected = connect::patiently(&settings, &specs).await?;
        // Last: whoever gives up before has not made an account whose password nobody saw.
        let users = Users::new(database.clone(), Post::new(&settings));
        let admin = users.first_admin(&settings.http, true).await;
        let admin = admin.map_err(|problem| Failure::failed(problem.detail().to_owned()))?;
        // Links in mails lead to where it really listens.
        settings.http.bind = listening.address();
        let url = format!("http://{}", listening.address());
        // Where the beat beside it looks, which does not know of this database.
        let schedules = kept::beside(as_given, &connected.broker, &database);
        let api = Api {
            listening,
            client: connected.client,
            database,
            schedules,
            secrets,
            specs,
            settings: Arc::new(settings),
        };
        let stop = CancellationToken::new();
        let served = tokio::spawn(api.serve(stop.clone()));
        Ok(Self {
            url,
            admin: match admin {
                FirstAdmin::WithPassword { email, password } => Some((email, password)),
                _ => None,
            },
            stop,
            served,
        })
    }

    /// Stops it: what was begun ends first.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        match self.served.await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => failure.warn("the API has ended"),
            Err(panic) => error!("the API has ended: {panic}"),
        }
    }
}

/// The address of the settings; when somebody else has the usual port, any.
async fn listen(settings: &Settings) -> Result<lovage_api::Listening, Failure> {
    let bind = settings.http.bind;
    match lovage_api::Listening::at(bind).await {
        Ok(listening) => Ok(listening),
        Err(ServerError::Bind { source, .. })
            if source.kind() == io::ErrorKind::AddrInUse
                && bind == lovage_settings::HttpSettings::default().bind =>
        {
            let any = SocketAddr::new(bind.ip(), 0);
            let listening = lovage_api::Listening::at(any).await;
            let listening = listening.map_err(|error| Failure::failed(chain(&error)))?;
            output::note(format_args!(
                "port {} is taken: the API is on port {}",
                bind.port(),
                listening.address().port()
            ));
            Ok(listening)
        }
        Err(error) => Err(Failure::failed(chain(&error))),
    }
}

/// The key that signs, kept for the next time in a file that is its owner's alone.
fn kept_secret(path: &Path) -> Result<Secret, Failure> {
    let failed = |error: io::Error| {
        Failure::failed(format!(
            "the key that signs tokens cannot be kept in {}: {error}",
            path.display()
        ))
    };
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(Secret::new(text.trim())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let secret = lovage_api::auth::made_up_secret();
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    io::Write::write_all(&mut file, secret.as_bytes()).map_err(failed)?;
    Ok(Secret::new(secret))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/secret-key");
        let first = kept_secret(&path).unwrap();
        assert_eq!(kept_secret(&path).unwrap(), first);
        assert!(first.expose().len() >= 32);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
