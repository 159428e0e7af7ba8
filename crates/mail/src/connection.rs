//! Connections to the mail server, and a mail said over one of them step by step: only so is it known, when a connection
//! breaks, whether the mail may have been taken.

use std::{fs, sync::Arc, time::Duration};

use lettre::{
    Message,
    transport::smtp::{
        Error as SmtpError,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, Certificate, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, Extension, MailParameter},
    },
};
use lovage_settings::{MailEncryption, MailSettings};
use tokio::{sync::Mutex, time::timeout};

use crate::{Error, Verdict, verdict};

/// So many connections are kept when nothing is sent.
const KEPT: usize = 4;

/// A mail server. Cloning shares its connections.
#[derive(Clone)]
pub(crate) struct Server {
    host: String,
    port: u16,
    encryption: MailEncryption,
    tls: Option<TlsParameters>,
    credentials: Option<Credentials>,
    patience: Duration,
    hello: ClientId,
    kept: Arc<Mutex<Vec<AsyncSmtpConnection>>>,
}

/// What went wrong in one step.
enum Wrong {
    Smtp(SmtpError),
    Silent,
    NoSmtpUtf8,
}

impl From<SmtpError> for Wrong {
    fn from(error: SmtpError) -> Self {
        Self::Smtp(error)
    }
}

impl Server {
    pub(crate) fn new(settings: &MailSettings, host: &str) -> Result<Self, Error> {
        let tls = match settings.encryption {
            MailEncryption::None => None,
            MailEncryption::StartTls | MailEncryption::Tls => Some(encryption(settings, host)?),
        };
        let credentials = settings.username.clone().zip(settings.password.as_ref());
        Ok(Self {
            host: host.to_owned(),
            port: settings.port,
            encryption: settings.encryption,
            tls,
            credentials: credentials
                .map(|(user, password)| Credentials::new(user, password.expose().to_owned())),
            patience: settings.timeout,
            hello: ClientId::default(),
            kept: Arc::default(),
        })
    }

    /// Says a mail, once.
    pub(crate) async fn send(&self, message: &Message) -> Verdict {
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            // Whatever is wrong is wrong with the server, the account or the settings, not with the mail.
            Err(wrong) => return Verdict::Later(self.told(&wrong)),
        };
        let began = self.step(begin(&mut connection, message)).await;
        if let Err(wrong) = began {
            // Nothing of the mail was said yet.
            connection.abort().await;
            let text = self.told(&wrong);
            return match wrong {
                Wrong::Smtp(error) => verdict::before(&error, text),
                Wrong::NoSmtpUtf8 => Verdict::Refused(text),
                Wrong::Silent => Verdict::Later(text),
            };
        }
        let lines = message.formatted();
        let said = self.step(async { Ok(connection.message(&lines).await?) });
        match said.await {
            Ok(answer) => {
                self.keep(connection).await;
                let text: Vec<&str> = answer.message().collect();
                Verdict::Sent(format!("{} {}", answer.code(), text.join(" ")))
            }
            Err(wrong) => {
                let text = self.told(&wrong);
                match wrong {
                    Wrong::Smtp(error) => verdict::after(&error, text),
                    _ => Verdict::Uncertain(text),
                }
            }
        }
    }

    /// One that was kept and still stands, or a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, Wrong> {
        loop {
            let kept = self.kept.lock().await.pop();
            let Some(mut kept) = kept else {
                break;
            };
            let stands = async { Ok(kept.test_connected().await) };
            if let Ok(true) = self.step(stands).await {
                return Ok(kept);
            }
        }
        self.step(self.connect()).await
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Wrong> {
        let wrapped = match self.encryption {
            MailEncryption::Tls => self.tls.clone(),
            _ => None,
        };
        let server = (self.host.as_str(), self.port);
        let patience = Some(self.patience);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, patience, &self.hello, wrapped, None)
                .await?;
        if self.encryption == MailEncryption::StartTls
            && let Some(tls) = &self.tls
        {
            connection.starttls(tls.clone(), &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }

    async fn keep(&self, connection: AsyncSmtpConnection) {
        let mut kept = self.kept.lock().await;
        if kept.len() < KEPT {
            kept.push(connection);
        }
    }

    /// One step, in bounded time: the library waits for an answer for ever.
    async fn step<T>(&self, step: impl Future<Output = Result<T, Wrong>>) -> Result<T, Wrong> {
        timeout(self.patience, step)
            .await
            .unwrap_or(Err(Wrong::Silent))
    }

    fn told(&self, wrong: &Wrong) -> String {
        match wrong {
            Wrong::Smtp(error) => verdict::told(error),
            Wrong::Silent => format!(
                "{}:{} was silent for {} s",
                self.host,
                self.port,
                self.patience.as_secs_f64()
            ),
            Wrong::NoSmtpUtf8 => {
                "the address is not ASCII, and the server does not take such (SMTPUTF8)".to_owned()
            }
        }
    }
}

/// What comes before the mail itself.
async fn begin(connection: &mut AsyncSmtpConnection, message: &Message) -> Result<(), Wrong> {
    let envelope = message.envelope();
    let mut options = Vec::new();
    let addresses = envelope.from().into_iter().chain(envelope.to());
    if !addresses.map(AsRef::<str>::as_ref).all(str::is_ascii) {
        if !connection
            .server_info()
            .supports_feature(Extension::SmtpUtfEight)
        {
            return Err(Wrong::NoSmtpUtf8);
        }
        options.push(MailParameter::SmtpUtfEight);
    }
    connection
        .command(Mail::new(envelope.from().cloned(), options))
        .await?;
    for to in envelope.to() {
        connection
            .command(Rcpt::new(to.clone(), Vec::new()))
            .await?;
    }
    connection.command(Data).await?;
    Ok(())
}

fn encryption(settings: &MailSettings, host: &str) -> Result<TlsParameters, Error> {
    let refused = |source| Error::Encryption {
        server: host.to_owned(),
        source,
    };
    let mut tls = TlsParameters::builder(host.to_owned());
    if let Some(path) = &settings.ca_file {
        let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| Error::Authorities {
            path: path.display().to_string(),
            source,
        };
        let pem = fs::read(path).map_err(|error| unreadable(error.into()))?;
        let authorities = Certificate::from_pem(&pem).map_err(|error| unreadable(error.into()))?;
        tls = tls.add_root_certificate(authorities);
    }
    tls.build_rustls().map_err(refused)
}
