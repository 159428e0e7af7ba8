//! Which of the platform's own tasks a program has.

use lovage_settings::Settings;
use lovage_worker::Module;

/// Those that the settings ask for.
pub(crate) fn modules(settings: &Settings) -> Vec<Module> {
    let mut modules = Vec::new();
    if settings.worker.demo_tasks {
        modules.push(lovage_tasks::demo());
    }
    if settings.mail.server.is_some() {
        modules.push(lovage_tasks::mail());
    }
    modules
}

/// Those that `lovage up` has besides: mails are printed there when no server is set.
pub(crate) fn printed_mail(settings: &Settings) -> Option<Module> {
    settings.mail.server.is_none().then(lovage_tasks::mail)
}
