//! The OpenAPI document is the contract: whatever it allows is answered as it says, and a client made from it works.

use std::process::Command;

use lovage_integration_tests::api_server::Caller;
use lovage_integration_tests::{ApiServer, LovageWorker, RedisServer, place};

/// Streams do not end, and who logs out is not let in any more.
const LEFT_OUT: [&str; 2] = ["stream_events", "logout"];

/// There are more than these.
const OPERATIONS: usize = 60;

/// What every answer is held to.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,response_headers_conformance,unsupported_method,\
                      allow_header_conformance,ignored_auth,use_after_free,\
                      negative_data_rejection";

/// How much is tried: a minute's worth on a quiet machine, or, for `scripts/full contract`, so many examples of each operation.
fn examples() -> String {
    std::env::var("LOVAGE_TEST_CONTRACT").unwrap_or_else(|_| "5".to_owned())
}

/// How many operations the report says were tested: a run that tested nothing ends well, too.
fn tested(report: &str) -> usize {
    let line = report
        .lines()
        .find_map(|line| line.trim().strip_prefix("Tested: "));
    line.and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

#[test]
fn whatever_comes_is_answered_as_documented() {
    let redis = RedisServer::start();
    // Nobody is there to be waited for.
    let api = ApiServer::with(&redis, &[("LOVAGE_API_MAX_WAIT", "100ms")]);
    let caller = api.admin();
    let own = caller.get("/api/v1/auth/me").json();
    let own_id = own["id"].as_str().expect("a user has an id");
    let mut command = Command::new(place::python());
    command
        .args(["-m", "schemathesis.cli", "run"])
        .arg(format!("http://127.0.0.1:{}/openapi.json", api.port()))
        .args(["--phases", "examples,coverage,fuzzing,stateful"])
        .args(["--seed", "7", "--workers", "1"])
        .args(["--max-examples", &examples()])
        .args(["--checks", CHECKS, "--continue-on-failure"])
        .args(["--suppress-health-check", "all", "--warnings", "off"])
        .args(["--request-timeout", "40"])
        .arg("--header")
        .arg(format!("Authorization: Bearer {}", token(&caller)))
        .current_dir(std::env::temp_dir())
        .env("PYTHONPATH", place::python_sources())
        .env("SCHEMATHESIS_HOOKS", "contract_hooks")
        .env("CONTRACT_OWN_ID", own_id)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_COLOR", "1");
    for operation in LEFT_OUT {
        command.args(["--exclude-operation-id", operation]);
    }
    let output = command.output().expect("Python can be started");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(tested(&report) >= OPERATIONS, "{report}");
    // It was let in to the end, and nothing broke.
    assert_eq!(caller.get("/api/v1/auth/me").status, 200);
}

#[test]
fn a_client_made_from_the_document_sends_a_task_and_reads_its_result() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let document = folder.path().join("openapi.json");
    std::fs::write(&document, api.nobody().get("/openapi.json").text).expect("it can be written");
    let config = folder.path().join("config.yaml");
    std::fs::write(
        &config,
        "post_hooks: []\npackage_name_override: lovage_http\n",
    )
    .expect("it can be written");
    let made = Command::new(place::python())
        .args(["-m", "openapi_python_client", "generate", "--meta", "none"])
        .arg("--path")
        .arg(&document)
        .arg("--config")
        .arg(&config)
        .arg("--output-path")
        .arg(folder.path().join("lovage_http"))
        .output()
        .expect("Python can be started");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&made.stdout),
        String::from_utf8_lossy(&made.stderr)
    );
    assert!(made.status.success(), "{said}");
    let used = Command::new(place::python())
        .arg(place::python_sources().join("http_client.py"))
        .env("PYTHONPATH", folder.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("API_URL", format!("http://127.0.0.1:{}", api.port()))
        .env("API_TOKEN", token(&caller))
        .output()
        .expect("Python can be started");
    assert!(
        used.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&used.stderr)
    );
    assert_eq!(String::from_utf8_lossy(&used.stdout).trim(), "5 23 SUCCESS");
}

fn token(caller: &Caller) -> &str {
    caller.token().expect("who is logged in has a token")
}
