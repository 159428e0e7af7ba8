//! The schedules that come with the platform. People can pause them, run them and change their times; what they do follows version
//! and settings at each start of beat.

use std::time::Duration;

use lovage_beat::{Draft, WithUnit};
use lovage_database::store::chore::{DIGEST, OUTBOX, PRUNE, REAP};
use lovage_settings::{ResultUrl, Settings};

/// As Celery's beat has it: a cleanup that nobody has run by the afternoon is tomorrow's.
const CLEANUP_EXPIRES: Duration = Duration::from_secs(12 * 60 * 60);
/// What is kept is counted in days.
const PRUNE_EVERY: Duration = Duration::from_secs(15 * 60);
/// How often is looked for what is to be told; mails themselves are as far apart as the settings say.
const DIGEST_EVERY: Duration = Duration::from_secs(60);
/// Workers give back within a lease what their fellows held; this is for where none is left.
const REAP_EVERY: Duration = Duration::from_secs(30);
/// A relay sends within moments; this is for where none does.
const OUTBOX_EVERY: Duration = Duration::from_secs(60);

/// What these settings ask for, for any place.
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
    let about = "the beat that leads gives back what dead workers held";
    chores.push(silent(REAP, REAP_EVERY, about));
    chores
}

/// Those of the database that schedules are kept in: their ticks are what its keeper looks for, and the beat that leads.
pub(crate) fn of_the_database(settings: &Settings) -> Vec<Draft> {
    let sweep = "the beat that leads sends what waits in the outbox and nobody relays";
    let mut chores = vec![
        silent(PRUNE, PRUNE_EVERY, "a keeper removes old rows"),
        silent(OUTBOX, OUTBOX_EVERY, sweep),
    ];
    if !settings.mail.operators.is_empty() {
        let every = DIGEST_EVERY.min(settings.mail.digest_every);
        let every = every.max(Duration::from_secs(1));
        let about = "a keeper tells operators by mail of tasks that failed for good";
        chores.push(silent(DIGEST, every, about));
    }
    chores
}

/// One whose ticks have no message.
fn silent(name: &str, every: Duration, about: &str) -> Draft {
    let mut chore = Draft::new(name, name);
    chore.every = Some(WithUnit(every));
    chore.description = Some(about.to_owned());
    chore.unchecked = true;
    chore
}

#[cfg(test)]
mod tests {
    use lovage_settings::Settings;

    use super::{chores, of_the_database};

    #[test]
    fn dead_workers_are_reaped_and_results_in_a_database_are_cleaned_up() {
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
        check(&[database], &["celery.backend_cleanup", "lovage.reap"]);
        check(
            &[database, ("CELERY_RESULT_EXPIRES", "0")],
            &["lovage.reap"],
        );
        let redis = ("CELERY_RESULT_BACKEND", "redis://localhost/0");
        check(&[redis], &["lovage.reap"]);
    }

    #[test]
    fn in_a_database_there_is_pruning_the_outbox_and_news_for_operators_where_there_are_any() {
        let check = |pairs: &[(&str, &str)], expected: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let (settings, _) = Settings::from_lookup(pairs).unwrap();
            let chores = of_the_database(&settings);
            let found: Vec<(String, String)> = chores
                .iter()
                .map(|chore| (chore.name.clone(), chore.every.unwrap().to_string()))
                .collect();
            let found: Vec<(&str, &str)> = found
                .iter()
                .map(|(name, every)| (name.as_str(), every.as_str()))
                .collect();
            assert_eq!(found, expected);
        };
        let usual = [("lovage.prune", "15m"), ("lovage.outbox", "1m")];
        check(&[], &usual);
        let operators = ("LOVAGE_MAIL_OPERATORS", "ada@example.org");
        check(
            &[operators, ("LOVAGE_MAIL_DIGEST_EVERY", "10s")],
            &[usual[0], usual[1], ("lovage.digest", "10s")],
        );
    }
}
