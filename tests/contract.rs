//! What every engine promises, checked through the traits alone: the same cases on the scripted fake, on the embedded engine (which needs
//! root, namespaces and cgroups, and says so when it has not got them), and on remote daemons: a real dockerd and a real podman, by socket, TLS and
//! ssh. A case knows no implementation; `World` hides how one is made.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, unreachable_pub)] // a program of the test house

#[allow(dead_code)] // another test program uses the rest
#[path = "remote/certificates.rs"]
mod certificates;
#[path = "contract/copying.rs"]
mod copying;
#[allow(dead_code)] // another test program uses the rest
#[path = "remote/daemons.rs"]
mod daemons;
#[path = "contract/errors.rs"]
mod errors;
#[path = "contract/files.rs"]
mod files;
#[path = "contract/images.rs"]
mod images;
#[path = "contract/lifecycle.rs"]
mod lifecycle;
#[path = "contract/lists.rs"]
mod lists;
#[path = "contract/peers.rs"]
mod peers;
#[path = "common/program.rs"]
mod program;
#[path = "contract/sink.rs"]
mod sink;
#[allow(dead_code)] // another test program uses the rest
#[path = "remote/sshd.rs"]
mod sshd;
#[path = "contract/streams.rs"]
mod streams;
#[path = "contract/things.rs"]
mod things;
#[path = "contract/world.rs"]
mod world;

use world::World;

/// Every case, once for each engine.
macro_rules! contract {
    ($($area:ident { $($case:ident)* })*) => {
        mod fake {
            $(mod $area { $(#[test] fn $case() {
                crate::world::run(crate::World::fake(), crate::$area::$case);
            })* })*
        }
        mod embedded {
            $(mod $area { $(#[test] fn $case() {
                match crate::World::embedded() {
                    Ok(world) => crate::world::run(world, crate::$area::$case),
                    Err(why) => crate::world::not_here(stringify!($case), &why),
                }
            })* })*
        }
        /// The same once more, for daemons that all cases share.
        const CASES: &[(&str, fn(World))] = &[
            $($((stringify!($case), |world| world::run(world, $area::$case)),)*)*
        ];
    };
}

contract! {
    lifecycle {
        a_container_runs_and_its_exit_code_is_told
        what_a_state_says_follows_the_life
        start_of_a_running_one_changes_nothing
        stop_ends_it_and_a_second_stop_changes_nothing
        kill_needs_a_running_container
        pause_and_unpause
        restart_runs_it_again
        rename_moves_the_name
        remove_needs_force_while_it_runs
        auto_remove_leaves_nothing
        wait_registered_before_the_start_sees_the_exit
        wait_for_removal
        restart_policy_starts_it_again
    }
    lists {
        only_running_ones_unless_all
        filters_select
        newest_first_and_limited
        ids_names_and_prefixes_find_it
    }
    streams {
        attach_before_start_loses_nothing
        attach_replays_the_log_when_asked
        stdin_reaches_the_process_and_its_end_too
        logs_tail_and_follow
        logs_end_with_the_container
        stats_of_a_stopped_one_are_zeros
        events_come_in_order
        exec_runs_and_tells_its_code
        exec_needs_a_running_container
    }
    errors {
        unknown_things_are_not_found
        a_taken_name_is_a_conflict
        bad_requests_are_invalid
        a_missing_command_is_127
        unknown_filters_are_refused
        nothing_is_left_of_a_refused_create
    }
    things {
        volumes_are_made_listed_and_removed
        images_are_listed_tagged_and_removed
        networks_are_there
        the_engine_tells_of_itself
        prune_takes_the_stopped
        prunes_heed_their_filters
        inspect_shows_what_was_asked
    }
    files {
        files_are_copied_in_and_out
        a_copy_says_what_is_not_there
        changes_are_told
        an_export_has_every_file
        a_commit_keeps_what_was_changed
        a_commit_is_told_in_the_history
    }
    images {
        saved_images_come_back_with_their_names
        an_image_saved_by_its_id_has_no_name
        an_import_takes_message_and_changes
        filters_of_images_select
        names_move_and_several_need_force
        a_used_image_stays
        prune_takes_what_has_no_name_and_all_with_all
        disk_use_knows_images_containers_and_volumes
        files_of_layers_are_told
        what_was_pushed_is_pulled_again
        a_pull_says_why_not
        a_login_is_proved
        a_search_finds_by_name
    }
}
