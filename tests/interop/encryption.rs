//! Python and Rust over encrypted connections, with certificates on both sides.

use lovage_integration_tests::{Authority, LovageWorker, Python, lovage_worker::lovage_with};
use serde_json::json;

#[test]
fn python_and_rust_reach_each_other_over_encrypted_connections() {
    let authority = Authority::new();
    let (_redis, port) = authority.redis("server", true);
    let folder = authority.folder().display();
    let url = format!(
        "rediss://localhost:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={folder}/authority.pem\
         &ssl_certfile={folder}/client.pem&ssl_keyfile={folder}/client.key"
    );
    let _worker = LovageWorker::at(&url, &url).start();
    let mut python = Python::start(&url, &url, &json!({}));
    let sum = python.run(r#"answer(app.send_task("demo.add", [2, 3]).get(timeout=15))"#);
    assert_eq!(sum, json!(5));
    let output = lovage_with(
        &[("CELERY_BROKER_URL", &url), ("CELERY_RESULT_BACKEND", &url)],
        &["call", "demo.add", "3", "4", "--wait"],
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "7");
    let again = python.run(
        r#"
        from celery.result import AsyncResult
        result = app.send_task("demo.echo", ["ü"], {"k": 1})
        answer(AsyncResult(result.id, app=app).get(timeout=15))
        "#,
    );
    assert_eq!(again, json!([["ü"], {"k": 1}]));
}
