//! The schedules that come with the platform. They can be paused, and follow the settings at each start of beat.

use std::time::Duration;

use lovage_beat::{Draft, WithUnit};
use lovage_settings::{ResultUrl, Settings};

/// As Celery's beat has it: a cleanup that nobody has run by the afternoon is tomorrow's.
const CLEANUP_EXPIRES: Duration = Duration::from_secs(12 * 60 * 60);

/// What these settings ask for.
pub(crate) fn chores(settings: &Settings) -> Vec<Draft> {
    let mut chores = Vec::new();
    let in_database = matches!(settings.results.url, Some(ResultUrl::Database(_)));
    if in_database && settings.results.expires.is_some() {
        // Nothing in a database ends by itself. Celery's workers know the task as ours do.
        let mut cleanup = Draft::new("celery.backend_cleanup", "celery.backend_cleanup");
        cleanup.crontab = Some("0 4 * * *".to_owned());
        cleanup.expires = Some(WithUnit(CLEANUP_EXPIRES));
        cleanup.description = Some("removes results that have expired".to_owned());
        cleanup.unchecked = true;
        chores.push(cleanup);
    }
    chores
}

#[cfg(test)]
mod tests {
    use lovage_settings::Settings;

    use super::chores;

    #[test]
    fn results_in_a_database_are_cleaned_up() {
        let check = |pairs: &[(&str, &str)], expected: &[&str]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let (settings, _) = Settings::from_lookup(pairs).unwrap();
            let chores = chores(&settings);
            let names: Vec<&str> = chores.iter().map(|chore| chore.name.as_str()).collect();
            assert_eq!(names, expected);
        };
        let database = ("CELERY_RESULT_BACKEND", "db+sqlite:///results.db");
        check(&[database], &["celery.backend_cleanup"]);
        check(&[database, ("CELERY_RESULT_EXPIRES", "0")], &[]);
        check(&[("CELERY_RESULT_BACKEND", "redis://localhost/0")], &[]);
    }
}
