//! The worker and the sender as two processes, with a Redis between them.

use std::process::{Child, Command};

use lovage_broker::redis_server::RedisServer;

/// Ends the worker with the test, however that ends.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_reception_sends_and_the_hotel_answers() {
    let redis = RedisServer::start().unwrap();
    let url = redis.url(0);
    let worker = Command::new(env!("CARGO_BIN_EXE_own-tasks"))
        .args(["worker", "--loglevel", "warning"])
        .env("CELERY_BROKER_URL", &url)
        .spawn()
        .unwrap();
    let _worker = Worker(worker);
    // Sent before the worker is there or after: the result is waited for either way.
    let sent = Command::new(env!("CARGO_BIN_EXE_reception"))
        .args(["Ada", "3"])
        .env("CELERY_BROKER_URL", &url)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&sent.stdout);
    let complained = String::from_utf8_lossy(&sent.stderr);
    assert_eq!(said, "Welcome, Ada! That is 270.\n", "{complained}");
    assert!(sent.status.success());
    let invoiced = Command::new(env!("CARGO_BIN_EXE_reception"))
        .args(["Analytical", "3", "2", "2"])
        .env("CELERY_BROKER_URL", &url)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&invoiced.stdout);
    assert_eq!(said, "Analytical owes 630.00.\n");
}
