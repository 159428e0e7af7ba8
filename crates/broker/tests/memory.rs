//! The memory form passes the shared suite.

use lovage_broker::conformance::MemoryStage;

lovage_broker::conformance_suite!(MemoryStage::new());
