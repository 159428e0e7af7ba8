//! The Redis form passes the shared suite, each test on a server of its own.

use lovage_broker::conformance::RedisStage;

lovage_broker::conformance_suite!(RedisStage::new().await);
