//! The suite that every form of the broker passes. Each test is a function of a [`Stage`], a fresh broker with what a
//! test needs around it; [`conformance_suite`](crate::conformance_suite) makes a test module of them.
//!
//! Failures are panics, as in any test.

mod asking;
pub mod chords;
pub mod deaths;
pub mod delays;
pub mod entering;
pub mod exchanges;
pub mod fanout;
pub mod fetching;
pub mod finishing;
pub mod journal;
pub mod letters;
pub mod limits;
pub mod locks;
pub mod pauses;
pub mod relaying;
pub mod revocations;
mod stage;
pub mod starting;
pub mod survey;
pub mod timetable;
pub mod waiting;

pub use stage::{MemoryStage, RedisStage, Stage};

/// Makes one test of each function of the suite. The argument is an expression that makes a stage.
#[macro_export]
macro_rules! conformance_suite {
    ($stage:expr) => {
        $crate::conformance_suite!(@all $stage;
            fetching: {
                takes_in_order_of_priority_then_of_arrival, shares_between_queues, takes_no_more_than_wanted,
                hands_out_bytes_as_they_came, what_waits_can_be_looked_at_and_stays, depth_counts_all_priorities_and_purge_empties,
                publishes_to_the_queues_bound, a_queue_is_consumed_from_when_it_is_set, peers_are_seen_while_they_live
            }
            waiting: {
                wakes_for_a_message, a_dropped_fetch_loses_nothing, many_wait_and_each_message_is_taken_once,
                close_ends_a_waiting_fetch, a_waiting_fetch_holds_nobody_up
            }
            starting: {
                start_keeps_and_early_ack_settles, start_of_what_was_lost_is_refused, start_or_release_wins_but_not_both,
                a_start_can_be_taken_back
            }
            finishing: {
                ack_removes_and_does_everything_else, a_lost_delivery_does_nothing, a_second_finish_is_lost,
                requeue_goes_to_the_end_and_restore_to_the_head, without_a_settlement_only_the_rest_is_done,
                a_success_is_never_overwritten, a_result_elsewhere_is_refused, large_batches_are_finished_whole,
                release_keeps_what_was_started, close_puts_everything_back_in_order
            }
            delays: { a_delayed_message_is_away_until_it_is_due, the_payload_can_be_replaced, the_last_to_close_gives_delayed_messages_back }
            letters: { a_letter_can_be_listed_shown_replayed_and_discarded }
            relaying: { what_is_handed_over_twice_is_published_once, who_was_taken_over_publishes_nothing }
            deaths: {
                the_dead_workers_messages_come_back_in_order, only_started_messages_count_deaths,
                a_message_that_kills_is_given_up, the_death_of_one_process_counts_while_its_worker_lives, success_forgets_deaths, a_suspect_is_told_apart,
                a_bystander_gives_back_what_the_dead_held
            }
            chords: {
                the_last_part_claims_and_closes, a_part_counts_once, added_parts_are_waited_for_once, a_failed_chord_keeps_its_members,
                the_claim_of_a_dead_worker_is_taken_over
            }
            locks: {
                a_lock_is_held_until_its_task_has_ended, a_retry_keeps_its_lock,
                a_dead_workers_lock_waits_for_the_redelivery, the_lock_of_a_lost_task_is_free,
                a_lock_may_end_at_the_start_or_after_a_time, who_joins_waits_for_the_end_of_the_first,
                only_the_last_call_runs_after_the_window, a_replaced_call_never_runs_after_the_last_one,
                what_was_lost_is_not_admitted
            }
            entering: {
                a_duplicate_is_refused_as_it_is_sent, who_has_no_room_waits_in_the_line_from_the_start,
                nobody_in_the_queue_is_overtaken_by_who_is_sent_later, a_used_up_rate_lets_wait_from_the_start,
                a_later_call_takes_the_place_of_the_earlier_as_it_is_sent, without_a_worker_everything_goes_to_the_queue,
                what_is_sent_again_after_a_lost_answer_waits_once, a_call_for_later_takes_its_lock_and_no_place_in_a_line
            }
            limits: {
                a_full_limit_lets_wait_in_order_of_arrival, the_slots_of_a_dead_worker_are_freed,
                a_rate_spreads_starts_over_time, the_last_to_close_gives_back_who_waits,
                who_is_called_and_does_not_run_lets_the_next_one_go,
                who_comes_from_another_line_stands_where_its_ticket_says
            }
            revocations: {
                what_was_revoked_is_known_to_who_asks_later, the_oldest_revocations_make_room, a_revocation_is_heard,
                delayed_messages_of_a_task_are_recalled, delayed_messages_are_recalled_by_what_they_contain
            }
            pauses: { a_pause_holds_until_it_is_ended }
            journal: {
                what_ends_is_told_in_the_same_step, an_early_ack_is_told_as_it_starts,
                a_death_is_told_by_whoever_puts_the_message_back, beyond_the_budget_the_oldest_go,
                a_journal_that_nobody_keeps_ends
            }
            survey: { every_message_is_shown_wherever_it_is, a_chord_is_open_until_it_is_closed }
            timetable: {
                one_leads_until_its_lease_is_over, a_tick_and_its_messages_are_one_step, who_leads_no_more_does_nothing,
                changes_are_told_in_their_order, a_past_is_told_span_by_span, what_is_made_up_for_is_one_step
            }
            fanout: { a_broadcast_reaches_who_listens, a_request_gathers_its_replies }
            exchanges: {
                a_topic_exchange_matches_words, every_consumer_gets_a_broadcast_once,
                a_queue_of_its_own_goes_with_its_consumer
            }
        );
    };
    (@all $stage:expr; $($module:ident: { $($name:ident),* $(,)? })*) => {
        $(mod $module {
            #[allow(unused_imports, reason = "the stage may be written with names of the file around")]
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    $crate::conformance::$module::$name($stage).await;
                }
            )*
        })*
    };
}
