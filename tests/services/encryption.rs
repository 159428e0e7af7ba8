//! `rediss://`: what is encrypted, what is asked of certificates, and what is said when they are not good.

use std::process::Output;
use std::time::{Duration, Instant};

use lovage_integration_tests::{Authority, LovageWorker, eventually, lovage_worker::lovage_with};

use crate::assert_works;

/// One refusal takes no longer than connecting may, and then some for the start of the program.
const BOUND: Duration = Duration::from_secs(10);

#[test]
fn a_worker_runs_over_encrypted_connections_with_its_own_certificate() {
    let authority = Authority::new();
    let (redis, port) = authority.redis("server", true);
    let folder = authority.folder().display();
    let url = format!(
        "rediss://localhost:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={folder}/authority.pem\
         &ssl_certfile={folder}/client.pem&ssl_keyfile={folder}/client.key"
    );
    let _worker = LovageWorker::at(&url, &url).start();
    assert_works(&redis);
    // The thread that renews the lease blocks on a connection of its own: that one works too.
    let keys: Vec<String> = redis.command(&["KEYS", "lovage:lease:*"]);
    let life = || redis.command::<i64>(&["PTTL", &keys[0]]);
    eventually("a lease that has aged", || life() < 5400);
    eventually("a lease that was renewed", || life() > 5600);
}

#[test]
fn settings_encrypt_what_the_url_does_not() {
    let authority = Authority::new();
    let (redis, port) = authority.redis("server", false);
    let url = format!("redis://localhost:{port}/0");
    let use_ssl = format!(
        r#"{{"ssl_cert_reqs": "required", "ssl_ca_certs": "{}"}}"#,
        authority.path("authority.pem").display()
    );
    let _worker = LovageWorker::at(&url, &url)
        .variable("CELERY_BROKER_USE_SSL", &use_ssl)
        .variable("CELERY_REDIS_BACKEND_USE_SSL", &use_ssl)
        .start();
    assert_works(&redis);
}

/// Runs a command that needs the broker and expects it to say in one line what is wrong.
fn refused(url: &str) -> String {
    let began = Instant::now();
    let Output { status, stderr, .. } = lovage_with(
        &[("CELERY_BROKER_URL", url)],
        &["call", "demo.add", "2", "3"],
    );
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!status.success(), "{url} was accepted");
    assert!(began.elapsed() < BOUND, "{:?}: {said}", began.elapsed());
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.to_lowercase().contains("error"))
        .collect();
    assert_eq!(lines.len(), 1, "one line of error:\n{said}");
    lines[0].to_owned()
}

#[test]
fn a_certificate_that_is_not_good_is_refused_in_one_line() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let trusted = authority.path("authority.pem");
    let trusted = format!("ssl_cert_reqs=required&ssl_ca_certs={}", trusted.display());
    let (_redis, port) = authority.redis("server", false);

    let elsewhere = stranger.path("authority.pem");
    let line = refused(&format!(
        "rediss://localhost:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={}",
        elsewhere.display()
    ));
    assert!(
        line.contains("certificate") && line.contains("not accepted"),
        "{line}"
    );

    let line = refused(&format!(
        "rediss://localhost:{port}/0?ssl_cert_reqs=required&ssl_ca_certs=/nowhere/authority.pem"
    ));
    assert!(
        line.contains("ssl_ca_certs /nowhere/authority.pem"),
        "{line}"
    );

    let (redis, port) = authority.redis("other", false);
    let line = refused(&format!("rediss://localhost:{port}/0?{trusted}"));
    assert!(
        line.contains("certificate") && line.contains("localhost"),
        "{line}"
    );
    // The same certificate does when nobody asks whose it is, or nobody asks at all.
    for parameters in [
        format!("{trusted}&ssl_check_hostname=false"),
        "ssl_cert_reqs=none".to_owned(),
    ] {
        let url = format!("rediss://localhost:{port}/0?{parameters}");
        let _worker = LovageWorker::at(&url, &url).start();
        assert_works(&redis);
    }
}

#[test]
fn a_server_that_wants_a_certificate_and_a_port_that_is_not_encrypted_are_named() {
    let authority = Authority::new();
    let trusted = authority.path("authority.pem");
    let trusted = format!("ssl_cert_reqs=required&ssl_ca_certs={}", trusted.display());
    let (redis, port) = authority.redis("server", true);
    let line = refused(&format!("rediss://localhost:{port}/0?{trusted}"));
    assert!(line.to_lowercase().contains("certificate"), "{line}");
    let line = refused(&format!("rediss://localhost:{}/0?{trusted}", redis.port()));
    assert!(line.contains("TLS"), "{line}");
    // And the other way round.
    let line = refused(&format!("redis://localhost:{port}/0"));
    assert!(line.contains(&format!("localhost:{port}")), "{line}");
    assert_eq!(redis.depth("celery"), 0);
}
