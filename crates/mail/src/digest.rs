//! Telling operators of tasks that failed for good: not of each, but now and then of all of them.

use chrono::{DateTime, TimeDelta, Utc};
use lovage_database::{
    Database,
    store::{lease::Lease, mail, task_run},
};
use lovage_settings::MailSettings;

use crate::{Error, FailedTask, TasksFailed, Template, post::post, template::TASKS_FAILED};

/// So many tasks are named; the others are counted.
const NAMED: u64 = 20;
/// What happened so shortly before the last mail may not have been in the database then: rather told of twice than never.
const OVERLAP: TimeDelta = TimeDelta::seconds(10);
/// What a task raised is cut here.
const LONGEST: usize = 300;

/// Puts one mail for each operator into the post, if tasks failed since the last such mail and that is long enough ago. Gives how
/// many tasks they are told of. To be called again and again, by the one that has the lease: who has lost it writes nothing.
///
/// # Errors
/// When the database refuses, the lease is lost, or an operator has no address.
pub async fn tell_of_failures(
    database: &Database,
    settings: &MailSettings,
    lease: &Lease,
    now: DateTime<Utc>,
) -> Result<u64, Error> {
    if settings.operators.is_empty() {
        return Ok(0);
    }
    let last = mail::last_of(database.reader(), TASKS_FAILED).await?;
    let Some(since) = since(last, settings, now) else {
        return Ok(0);
    };
    let failed = task_run::failed(database.reader(), since, now, NAMED).await?;
    if failed.total == 0 {
        return Ok(0);
    }
    let tasks: Vec<FailedTask> = failed
        .last
        .into_iter()
        .map(|run| FailedTask {
            name: run
                .name
                .unwrap_or_else(|| "a task without a name".to_owned()),
            id: run.task_id.as_str().to_owned(),
            exception: shortened(run.exception.as_deref().unwrap_or("no exception is known")),
            at: run.finished_at.unwrap_or(run.state_at),
        })
        .collect();
    let template = Template::TasksFailed(TasksFailed {
        total: failed.total,
        since,
        more: failed.total.saturating_sub(tasks.len() as u64),
        tasks,
    });
    let language = settings.language.parse()?;
    let transaction = database.begin().await?;
    lease.confirm(&transaction).await?;
    for operator in &settings.operators {
        post(&transaction, &template, language, operator).await?;
    }
    transaction.commit().await.map_err(Error::committing)?;
    Ok(failed.total)
}

/// From when on failures are told of now; nothing while the last mail is too new.
fn since(
    last: Option<DateTime<Utc>>,
    settings: &MailSettings,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let every = TimeDelta::from_std(settings.digest_every).unwrap_or(TimeDelta::MAX);
    let before = now.checked_sub_signed(every)?;
    match last {
        // Of what was there before there were mails, nobody wants to hear.
        None => Some(before),
        Some(last) if last <= before => last.checked_sub_signed(OVERLAP),
        Some(_) => None,
    }
}

fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(LONGEST).collect();
    if short.len() < text.trim_end().len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use lovage_settings::MailSettings;

    use super::{shortened, since};

    #[test]
    fn one_mail_an_hour_tells_of_all_since_the_last() {
        let settings = MailSettings::default();
        let now: DateTime<Utc> = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let ago = |seconds| now - TimeDelta::seconds(seconds);
        let check = |last: Option<i64>, expected: Option<i64>| {
            let told = since(last.map(ago), &settings, now);
            assert_eq!(told, expected.map(ago), "{last:?}");
        };
        check(None, Some(3_600));
        check(Some(3_599), None);
        check(Some(3_600), Some(3_610));
        check(Some(90_000), Some(90_010));
    }

    #[test]
    fn a_long_exception_is_cut() {
        assert_eq!(shortened("ValueError: x"), "ValueError: x");
        assert_eq!(shortened("a\nb"), "a…");
        assert_eq!(shortened(&"é".repeat(400)).chars().count(), 301);
    }
}
