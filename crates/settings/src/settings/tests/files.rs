//! Variables of the system and of the file beside them.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt, path::Path, time::Duration};

use crate::{Faults, Settings, Warning, settings::gather};

fn gathered(real: &[(&str, &[u8])], file: &Path) -> Result<(Settings, Vec<Warning>), Faults> {
    let real = real
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from_vec(value.to_vec())));
    Settings::read(gather(real, file))
}

#[test]
fn a_real_variable_wins_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    let text = "# mine\nLOVAGE_LEASE=9s\nexport LOVAGE_MAX_DEATHS=7\nCELERY_TASK_ROUTES='{\"a\": \"b\"}'\n";
    fs::write(&file, text).unwrap();
    let (settings, warnings) = gathered(&[("LOVAGE_MAX_DEATHS", b"5")], &file).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(settings.worker.lease, Duration::from_secs(9));
    assert_eq!(settings.worker.max_deaths, 5);
    assert_eq!(settings.tasks.routes.len(), 1);

    let (settings, _) = gathered(&[("LOVAGE_ENV", b"production")], &file).unwrap();
    assert_eq!(settings.worker.lease, Duration::from_secs(6));
    assert!(gathered(&[], &folder.path().join("none")).is_ok());
}

#[test]
fn a_broken_file_is_a_fault_that_shows_none_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    fs::write(
        &file,
        "LOVAGE_LEASE=9s\nCELERY_BROKER_URL=redis://:hunter2 oops@h\n",
    )
    .unwrap();
    let faults = gathered(&[], &file).unwrap_err();
    assert_eq!(faults.0[0].variable, ".env");
    assert_eq!(
        faults.0[0].problem,
        "cannot be understood from its variable number 2 on"
    );
    assert!(!faults.to_string().contains("hunter2"));
}

#[test]
fn bytes_that_are_no_text_matter_only_in_our_variables() {
    let none = Path::new("/nowhere/.env");
    assert!(gathered(&[("OTHER", b"\xff")], none).is_ok());
    let faults = gathered(&[("LOVAGE_LEASE", b"\xff")], none).unwrap_err().0;
    assert_eq!(
        (faults[0].value.as_str(), faults[0].problem.as_str()),
        ("(1 bytes)", "is not UTF-8 text")
    );
}
