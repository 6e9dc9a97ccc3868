//! What every engine promises, written once and run on each.
//!
//! A case is an async function that is given a [`Subject`]: a place for one store and a way to open it
//! there, again and again. [`conformance_suite!`](crate::conformance_suite) makes a test of every case; an
//! engine's own tests call it once.

#![expect(clippy::unwrap_used, reason = "a suite of tests: where a promise is broken, it panics")]
#![expect(missing_docs, reason = "a case is documented by its name, which is the promise")]

pub mod accepting;
pub mod acting;
pub mod contacts;
pub mod finding;
pub mod following;
pub mod living;
pub mod people;
pub mod quarantine;
pub mod repeats;
pub mod retention;
pub mod samples;
pub mod seeking;
pub mod settling;
pub mod waiting;

use std::path::{Path, PathBuf};
use std::time::Duration;

use waypost_domain::limits::{DEDUPE_WINDOW, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use waypost_domain::{Clock, UnixMillis};

use crate::Store;

/// How a case wants a store to be opened.
#[derive(Clone, Debug)]
pub struct Opening {
    pub clock: Clock,
    pub queue_max: usize,
    pub queue_bytes_max: usize,
    pub dedupe_window: Duration,
    pub bytes_max: Option<u64>,
    pub free_bytes_min: u64,
}

impl Default for Opening {
    fn default() -> Self {
        Self {
            clock: Clock::manual(NOON),
            queue_max: WRITER_QUEUE_MAX,
            queue_bytes_max: WRITER_QUEUE_BYTES_MAX,
            dedupe_window: DEDUPE_WINDOW,
            bytes_max: None,
            free_bytes_min: 0,
        }
    }
}

/// The moment at which cases begin.
pub const NOON: UnixMillis = UnixMillis(1_795_262_400_000);

/// A place for one store.
#[derive(Debug)]
pub struct Subject {
    place: PathBuf,
    open: fn(&Path, Opening) -> Store,
}

impl Subject {
    /// A store at `place`, which is empty, opened by `open`.
    pub fn new(place: &Path, open: fn(&Path, Opening) -> Store) -> Self {
        Self { place: place.to_owned(), open }
    }

    /// Opens it; all earlier handles must be gone.
    pub fn open(&self) -> Store {
        self.open_with(Opening::default())
    }

    /// Opens it in another way.
    pub fn open_with(&self, opening: Opening) -> Store {
        (self.open)(&self.place, opening)
    }
}

/// Makes a test of every case. `$open` is a `fn(&Path, Opening) -> Store`; `tempfile` must be in reach.
#[macro_export]
macro_rules! conformance_suite {
    ($open:path) => {
        $crate::conformance_suite! { @room $open, accepting:
            what_was_accepted_is_kept_byte_for_byte
            identifiers_follow_the_order_of_acceptance
            any_content_is_kept
            nothing_of_a_refused_request_is_kept
            a_request_without_events_is_kept_and_owed_to_nobody
            concurrent_accepts_share_commits
            a_full_queue_refuses_at_once_and_recovers
            too_many_bytes_waiting_refuse_at_once_and_recover
            settlements_are_not_refused_while_accepts_are
            an_accept_that_nobody_awaits_does_no_harm
        }
        $crate::conformance_suite! { @room $open, repeats:
            a_repeat_is_owed_to_nobody
            of_many_at_once_exactly_one_is_new
            a_key_twice_in_one_request_is_new_once
            a_partly_new_request_is_owed_whole
            only_new_events_are_owed_by_themselves
            scopes_do_not_see_each_other
            after_the_window_a_key_is_new_again
            events_that_are_not_once_never_repeat
            keys_without_a_message_id_repeat_as_well
            repeats_are_known_after_reopening
        }
        $crate::conformance_suite! { @room $open, settling:
            what_is_owed_is_paged_in_order_of_acceptance
            an_owed_delivery_keeps_all_that_the_scheduler_needs
            a_delivered_one_is_owed_no_more
            a_retry_is_owed_later_and_counted
            a_dead_one_is_kept_with_its_attempts
            once_overtaken_always_overtaken
            a_late_settlement_is_recorded_and_changes_nothing
            an_outcome_of_an_earlier_round_is_recorded_and_changes_nothing
            a_settlement_of_nothing_fails_alone
            attempts_read_back
            destinations_and_counts_follow
        }
        $crate::conformance_suite! { @room $open, finding:
            an_event_is_found_by_its_message_id
            every_filter_admits_what_it_names_and_no_more
            conditions_on_deliveries_hold_of_one_delivery
            pages_cover_everything_once_the_newest_first
            a_time_range_is_exact_even_where_the_clock_stepped_back
            sparse_matches_are_reached_by_going_on
            dead_letters_are_found_among_many
            unknown_things_are_absent
        }
        $crate::conformance_suite! { @room $open, following:
            events_follow_in_the_order_of_acceptance
            an_event_knows_its_place_in_its_request
            whoever_follows_while_others_write_sees_each_event_once
            what_is_quarantined_follows_once
            the_ends_tell_what_is_kept_and_what_is_gone
            all_that_is_told_of_a_message_is_found_in_order
            of_a_message_with_too_many_events_the_latest_are_told
            messages_are_listed_by_their_latest_event_each_once
            every_message_filter_admits_what_it_names
            few_messages_are_reached_among_many
        }
        $crate::conformance_suite! { @room $open, retention:
            nothing_owed_is_ever_pruned
            a_delivered_body_goes_after_its_time_and_its_record_later
            a_body_goes_at_once_where_that_is_asked_for
            bodies_that_go_at_once_hold_nothing_else_up
            a_dead_delivery_keeps_all_of_its_request_for_its_time
            what_was_replayed_is_owed_and_stays
            what_nobody_was_owed_goes_with_the_records
            keys_outlive_their_window_and_their_events
            a_step_is_small_and_a_pass_gets_through
            clocks_that_step_neither_lose_nor_keep_for_ever
            identifiers_of_what_was_pruned_are_not_used_again
            what_is_pruned_makes_room
            too_little_free_space_refuses_accepts_alone
        }
        $crate::conformance_suite! { @room $open, waiting:
            what_failed_before_comes_back_by_due_time_and_then_in_order
            what_is_due_is_paged
            the_next_due_time_is_the_earliest_after_a_moment
            what_is_settled_or_moved_is_due_no_more
            what_was_stepped_over_is_marked_at_once
            a_turn_is_the_deliverys_own_number_at_first
        }
        $crate::conformance_suite! { @room $open, seeking:
            a_delivery_is_shown_with_what_it_carries
            every_filter_admits_the_deliveries_it_names_and_no_more
            only_the_last_attempt_counts_for_a_status_or_code
            few_deliveries_are_found_among_many
            many_deliveries_are_paged_once_each
        }
        $crate::conformance_suite! { @room $open, acting:
            only_owed_and_dead_ones_are_discarded
            only_what_has_ended_is_replayed
            a_replay_starts_anew_and_keeps_what_was
            a_replay_takes_its_turn_after_all_that_is_owed
            turns_are_never_used_again
            a_replay_needs_the_body
            a_retry_is_due_now_with_its_attempts_kept
            a_plan_counts_and_changes_nothing
            an_act_on_many_goes_so_far_and_can_be_gone_on_with
            acts_and_settlements_at_once_leave_nothing_by_half
            acts_are_recorded_with_who_and_when
            acts_go_with_what_they_were_done_to
            a_pause_lasts_until_it_is_ended
            whole_deliveries_and_single_ones_are_acted_on_alike
        }
        $crate::conformance_suite! { @room $open, contacts:
            what_one_source_says_of_people_binds_no_other
            one_person_under_several_identities_is_one_conversation
            a_number_that_was_given_to_somebody_else_is_another_conversation
            a_number_that_its_person_left_begins_a_conversation_of_its_own
            what_was_the_same_before_is_the_same
            two_conversations_that_turn_out_to_be_one_go_on_as_one_in_order
            a_repeat_teaches_nothing
            nothing_is_learnt_from_a_request_that_failed
            a_delivery_waits_for_all_that_it_covers
            people_are_forgotten_with_the_last_record_of_them
        }
        $crate::conformance_suite! { @room $open, people:
            the_first_that_is_heard_of_a_person_says_so_and_no_other
            a_new_name_or_identity_is_a_change_and_silence_is_none
            a_repeat_and_a_request_that_failed_tell_nothing_of_people
            two_who_turn_out_to_be_one_are_one_with_both_names
            people_are_read_back_with_all_that_is_known_of_them
            a_number_that_changed_hands_leads_to_whom_it_is_with_now
            every_contact_filter_admits_whom_it_names
            few_people_are_reached_among_many
            a_name_of_any_kind_is_kept_and_one_without_end_is_cut
            names_go_with_the_last_record_of_the_person
        }
        $crate::conformance_suite! { @room $open, quarantine:
            what_is_quarantined_is_kept_counted_and_owed_to_nobody
            what_is_released_is_owed_in_its_turn
            what_is_given_up_is_a_record
            releases_are_recorded_with_who_and_when
            many_are_released_in_steps_and_paged
            an_event_goes_to_so_many_and_no_more
            what_goes_beyond_a_requests_deliveries_is_quarantined
            a_quarantined_event_keeps_its_request_for_its_time
        }
        $crate::conformance_suite! { @room $open, living:
            what_was_answered_is_there_after_reopening
            identifiers_never_go_back
            entries_are_kept_replaced_and_forgotten
            a_probe_is_a_write
            closing_finishes_what_was_taken_in
            a_closed_store_says_so
        }
    };
    (@room $open:path, $room:ident: $($case:ident)+) => {
        mod $room {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let place = tempfile::tempdir().unwrap();
                    let subject = $crate::conformance::Subject::new(place.path(), $open);
                    $crate::conformance::$room::$case(&subject).await;
                }
            )+
        }
    };
}
