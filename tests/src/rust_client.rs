//! Lovage's own client, made from settings as a program makes it.

use lovage_client::{Client, ClientOptions};
use lovage_settings::Settings;

/// A client of any broker and result store; nothing of the environment reaches it.
///
/// # Errors
/// When the settings are refused or a server cannot be reached.
pub async fn client_at(broker: &str, results: &str) -> Result<Client, Box<dyn std::error::Error>> {
    let variables = [
        ("CELERY_BROKER_URL", broker),
        ("CELERY_RESULT_BACKEND", results),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (settings, _) = Settings::from_lookup(variables).map_err(|faults| faults.to_string())?;
    let url = settings.broker.url.clone().ok_or("no broker URL is set")?;
    let broker = lovage_broker::connect(&settings.broker).await?;
    let results = lovage_results::connect(&settings.results, &url, None).await?;
    Ok(Client::new(broker, results, ClientOptions::from(&settings)))
}
