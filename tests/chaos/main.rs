//! Nothing lost: each scenario of `lovage_integration_tests::chaos`, briefly. `scripts/chaos` plays them for long.

use lovage_integration_tests::chaos::play_briefly;

#[test]
fn nothing_is_lost_when_workers_are_killed_under_load() {
    play_briefly("kill");
}

#[test]
fn nothing_is_lost_when_workers_die_with_a_full_prefetch() {
    play_briefly("kill-prefetch");
}

#[test]
fn nothing_is_lost_when_workers_with_child_processes_are_killed() {
    play_briefly("kill-prefork");
}

#[test]
fn nothing_is_lost_when_workers_with_threads_are_killed() {
    play_briefly("kill-threads");
}

#[test]
fn the_work_of_a_dead_worker_runs_again_within_ten_seconds() {
    play_briefly("kill-default-lease");
}

#[test]
fn nothing_runs_twice_in_rolling_warm_restarts() {
    play_briefly("restart");
}

#[test]
fn promise_04_a_worker_whose_lease_ran_out_neither_stores_nor_settles() {
    play_briefly("lost-lease");
}

#[test]
fn nothing_is_lost_when_workers_stand_still_for_a_while() {
    play_briefly("stop");
}

#[test]
fn nothing_is_lost_and_nothing_repeated_when_a_durable_redis_restarts() {
    play_briefly("redis-restart");
}

#[test]
fn nothing_is_lost_and_nothing_repeated_when_connections_are_killed() {
    play_briefly("redis-connections");
}

#[test]
fn nothing_is_lost_and_nothing_repeated_when_redis_stands_still() {
    play_briefly("redis-standstill");
}

#[test]
fn a_task_longer_than_the_visibility_timeout_runs_once_beside_python_workers() {
    play_briefly("visibility");
}

#[test]
fn waits_for_an_eta_outlive_the_workers_that_began_them() {
    play_briefly("eta");
}

#[test]
fn waits_for_a_rate_limit_outlive_the_workers_that_began_them() {
    play_briefly("rate-limit");
}

#[test]
fn nothing_is_lost_beside_python_workers_when_rust_workers_die() {
    play_briefly("mixed-rust-dies");
}

#[test]
fn nothing_is_lost_when_workers_of_both_kinds_die() {
    play_briefly("mixed-both-die");
}

#[test]
fn promise_04_of_each_key_one_unique_task_runs_at_a_time_while_workers_are_killed() {
    play_briefly("unique");
}

#[test]
fn no_more_run_than_a_limit_allows_and_nothing_is_stuck_while_workers_are_killed() {
    play_briefly("limited");
}

#[test]
fn nothing_is_lost_beside_python_workers_when_redis_restarts() {
    play_briefly("mixed-redis-restart");
}

#[test]
fn bodies_and_last_steps_are_sent_once_while_workers_are_killed() {
    play_briefly("workflows");
}

#[test]
fn the_body_of_a_large_chord_runs_once_while_workers_are_killed_between_its_members() {
    play_briefly("large-chord");
}
