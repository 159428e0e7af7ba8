//! The database: whether its tables are this version's. Nothing is made by looking.

use lovage_database::Database;
use lovage_settings::{DatabaseSettings, DatabaseUrl, Settings};
use serde_json::json;

use super::finding::Finding;

/// Looks where the tables stand. Where no database was ever named or made there is none to look at: a worker needs none.
pub(super) async fn look(settings: &Settings) -> Vec<Finding> {
    let url = &settings.database.url;
    let wrong = match url {
        DatabaseUrl::Foreign { .. } => return Vec::new(),
        DatabaseUrl::Sqlite(path) if !path.exists() => {
            if *url == DatabaseSettings::default().url {
                return Vec::new();
            }
            "there is no such file".to_owned()
        }
        _ => match schema(settings).await {
            Ok(None) => return Vec::new(),
            Ok(Some(why)) | Err(why) => why,
        },
    };
    vec![Finding {
        check: "database",
        subject: url.to_string(),
        text: wrong,
        remedy: "lovage migrate up, once the database answers".to_owned(),
        facts: json!({}),
        repair: None,
        hint: false,
    }]
}

async fn schema(settings: &Settings) -> Result<Option<String>, String> {
    let database = Database::connect(&settings.database, "doctor").await;
    let database = database.map_err(|error| crate::failure::chain(&error))?;
    let schema = database.schema().await;
    let schema = schema.map_err(|error| crate::failure::chain(&error))?;
    Ok((!schema.is_usable()).then(|| schema.to_string()))
}
