//! Random histories: messages are published, fetched, started, ended, put back; workers die and are robbed, the server
//! restarts. After each step every message must be exactly where the steps so far have brought it.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod step;
mod system;
mod world;

use lovage_broker::{MemoryBroker, RedisBroker, redis_server::RedisServer};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tokio::runtime::Runtime;

use self::{
    step::{Step, steps},
    system::System,
    world::{Memory, Redis},
};

struct Histories;

impl ReferenceStateMachine for Histories {
    type State = ();
    type Transition = Step;

    fn init_state() -> BoxedStrategy<()> {
        Just(()).boxed()
    }

    fn transitions((): &()) -> BoxedStrategy<Step> {
        steps()
    }

    fn apply((): (), _: &Step) {}
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

struct MemoryTest;

impl StateMachineTest for MemoryTest {
    type SystemUnderTest = System;
    type Reference = Histories;

    fn init_test((): &()) -> System {
        System::new(runtime(), Box::new(Memory(MemoryBroker::new())))
    }

    fn apply(mut system: System, (): &(), step: Step) -> System {
        system.step(step);
        system.check();
        system
    }
}

struct RedisTest;

impl StateMachineTest for RedisTest {
    type SystemUnderTest = System;
    type Reference = Histories;

    fn init_test((): &()) -> System {
        let runtime = runtime();
        let server = RedisServer::durable().unwrap();
        let broker = runtime
            .block_on(RedisBroker::connect(&server.settings()))
            .unwrap();
        System::new(runtime, Box::new(Redis { server, broker }))
    }

    fn apply(mut system: System, (): &(), step: Step) -> System {
        system.step(step);
        system.check();
        system
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_history_loses_a_message_in_memory(sequential 1..60 => MemoryTest);
}

prop_state_machine! {
    // A death takes most of a second to be noticed.
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_history_loses_a_message_in_redis(sequential 1..40 => RedisTest);
}
