"""Which of the tests run on Windows, and why others do not.

Those of there.py run inside Windows Python; COMMANDS run here, with hvcopy's commands over there, but for
those in COMMANDS_TESTS_LEFT_OUT; COMMANDS_LEFT_OUT has the other files of tests/e2e.  FAULTS run here, with the faults build
over there, but for those in FAULTS_LEFT_OUT.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lanes.windows.reasons import (
    BY_REFERENCE,
    KEEPS_BUFFERS,
    NO_ANONYMOUS,
    NO_FIFOS,
    NO_FILE_AS_STREAM,
    NO_HOLES,
    NO_LESS_POWER,
    NO_LIMITS,
    NO_LINKS,
    NO_MODES,
    NO_MOUNTS,
    NO_OWNERS,
    NO_PROC,
    NO_RESETS,
    NO_SHELL,
    NO_SMALL_DISKS,
    NO_SOCKET_FILES,
    NO_SUCH_ERROR,
    NO_SUCH_NAMES,
    NO_TERMINAL,
    NO_TIME,
    NO_USERS,
    NO_WORD,
    WINE_FOLLOWS,
)
from lanes.windows.there import LEFT_OUT

COMMANDS_SHARES = (
    ("access", "attributes", "breaks", "changing_sources", "configuration", "damage", "directory_rules", "existing_files"),
    ("bench", "bench_hostile", "forward", "forward_breaks", "forward_http", "many_clients", "output", "wrong_peers"),
    ("hostile_receiver", "hostile_sender", "hostile_server", "interrupts", "local_failures", "main_job", "one_shot"),
    ("nc", "pipe", "pipe_ends", "pipe_listening", "pipe_zeros"),
)
"""Files of tests/e2e.  Their commands are workers (work.py); a unix address in them stands for a port (tests/ports.py).

Those of a share are in one pytest, and are done by the same workers.
"""

COMMANDS = tuple(name for share in COMMANDS_SHARES for name in share)

COMMANDS_ON_NEXT = ("interrupts", "main_job", "nc", "one_shot", "pipe", "pipe_zeros")
"""Those of them that run on the newer of the lane's two Pythons, too: a file, a tree, both kinds of streams, Ctrl-C."""

COMMANDS_LEFT_OUT = {
    "bench_raw": "its other ends are Linux programs on unix sockets",
    "bench_run": "it compares with Linux programs, over unix sockets",
    "demo": "hvcopy has no demo on Windows",
    **dict.fromkeys(("doctor", "service", "vms"), "about Linux machines; for Windows the lane's other files have them"),
    "exhausted": NO_LIMITS,
    **dict.fromkeys(("forward_hybrid", "nc_hybrid"), "Windows has no hybrid: addresses"),
    "forward_ssh": "sshd runs an hvcopy of this machine",
    "nc_parity": "it compares with nc, socat and ncat, which are Linux programs on unix sockets",
    "unread_messages": "on Windows nothing says whether a pipe takes more",
    "receive_flags": "it puts functions of this system in the place of others",
    "open_stream": "the library's calls are made by the test itself, on this machine; test_windows.py has some over there",
}
"""By the name of a file in tests/e2e."""

COMMANDS_TESTS_LEFT_OUT = {
    "access": {
        "test_key_makes_a_private_file": NO_MODES,
        "test_key_tells_of_a_name_that_could_drive_a_terminal_without_doing_so": NO_SUCH_NAMES,
        "test_a_key_file_that_others_can_use_is_9": NO_MODES,
        "test_the_command_that_makes_a_key_file_private_can_be_typed": NO_MODES,
        "test_the_command_to_start_where_nobody_listens_lets_this_side_in": NO_SOCKET_FILES,
        "test_a_key_file_that_may_not_be_read_is_10_and_no_other_is_to_be_made": NO_LESS_POWER,
        "test_a_program_may_give_the_key": "a shell of this machine runs the command",
        "test_a_program_that_takes_its_time_for_the_key_is_waited_for": NO_FIFOS,
        "test_allow_lets_in_and_refuses_by_user": NO_USERS,
        "test_owners_are_taken_over_tcp_only_from_who_proves_a_key": NO_OWNERS,
        "test_allowing_who_can_never_come_is_2[unix:{}/s-127.0.0.1]": NO_SOCKET_FILES,
        "test_allowing_who_can_never_come_is_2[tcp:127.0.0.1:0-unix:0]": NO_USERS,
        "test_a_unix_socket_is_private": NO_SOCKET_FILES,
        "test_a_socket_of_another_user_is_9_with_what_to_do": NO_SOCKET_FILES,
        "test_a_port_that_needs_a_right_is_9_with_what_to_choose": "Windows asks for no right to listen on any port",
    },
    "attributes": {
        **dict.fromkeys(
            (
                "test_modes_and_nanosecond_times_are_kept",
                "test_modes_and_times_of_directories_are_kept",
                "test_set_id_bits_",
                "test_a_folder_that_stands_there_keeps_its_upper_bits_unless_owners_are_kept",
                "test_a_pull_into_a_folder_that_stands_there_leaves_its_sticky_bit",
            ),
            NO_MODES,
        ),
        "test_times_beyond_64_bits_of_nanoseconds_become_the_nearest[10000000000]": "Windows has times of 100 ns",
        "test_symbolic_links_are_skipped_and_said_so": WINE_FOLLOWS,
        "test_symbolic_links_are_recreated_on_request": NO_LINKS,
        "test_small_files_beside_those_that_do_not_go_along_have_their_own_contents": NO_OWNERS,
        "test_what_is_skipped_is_said_on_both_sides": WINE_FOLLOWS,
        "test_a_name_that_fails_takes_none_of_its_hard_links_along": NO_SUCH_NAMES,
        "test_a_symbolic_link_does_not_replace_what_is_not_older": WINE_FOLLOWS,
        "test_a_small_file_with_an_extended_attribute_": NO_OWNERS,
        "test_owners_": NO_OWNERS,
        "test_extended_attributes_are_kept_by_archive_and_only_then": NO_OWNERS,
        "test_a_sparse_file_of_100_gib_takes_seconds_and_no_more_disk": NO_HOLES,
        "test_holes_stay_holes": NO_HOLES,
    },
    "bench": {
        **dict.fromkeys(("test_against_itself_", "test_an_interrupted_sweep_", "test_the_second_process_"), NO_SOCKET_FILES),
        "test_a_server_stops_cleanly_and_tells_its_client": NO_SOCKET_FILES,
        "test_a_sweep_is_drawn": "this Windows Python has no matplotlib",
        "test_a_smaller_buffer_is_set_at_both_ends": KEEPS_BUFFERS,
    },
    "breaks": {
        "test_a_program_whose_copy_breaks_keeps_nothing_open": NO_PROC,
        **{
            f"test_a_killed_{what}[{way}-{share}]": NO_TIME
            for what in ("server_is_6_and_the_command_given_completes", "client_leaves_only_what_the_next_one_uses")
            for way in ("push", "pull")
            for share in (0, 60)
        },
    },
    "changing_sources": {
        "test_a_file_that_changes_between_question_and_answer_fails[wait_for_a_writer]": NO_FIFOS,
        "test_a_file_that_takes_the_inode_number_of_a_deleted_one_is_no_link_to_it": "NTFS gives no number a second time",
        "test_a_small_file_that_vanishes_before_it_is_read_is_reported[a link]": WINE_FOLLOWS,
    },
    "configuration": {
        "test_a_fifo_for_a_configuration_": NO_FIFOS,
        "test_a_link_that_leads_nowhere_is_not_no_configuration": WINE_FOLLOWS,
        "test_a_configuration_that_may_not_be_read_is_10": NO_MODES,
        "test_a_path_that_the_locale_has_not_is_2": NO_SOCKET_FILES,
    },
    "damage": {"test_damage_of_a_name_or_attribute_is_found[old-target]": WINE_FOLLOWS},
    "directory_rules": {"test_a_source_goes_into_a_link_to_a_directory_that_is_not_whole": WINE_FOLLOWS},
    "existing_files": {
        "test_a_dry_run_writes_nothing_and_says_what_would_be": WINE_FOLLOWS,
        "test_a_dry_run_counts_the_links_that_would_be_made": WINE_FOLLOWS,
        "test_a_device_fifo_or_socket_is_never_replaced": NO_FIFOS,
        "test_a_fifo_is_not_replaced_by_a_link_either": NO_FIFOS,
        "test_a_dry_run_refuses_what_the_copy_would": NO_SUCH_NAMES,
    },
    "forward_breaks": {
        **dict.fromkeys(
            (
                "test_nobody_at_the_target_is_a_reset_and_one_line_and_the_next_client_is_served",
                "test_a_target_that_resets_is_no_end_for_the_client",
                "test_a_client_that_resets_is_no_end_for_the_target",
                "test_a_client_that_goes_with_an_answer_unread_is_no_end_for_the_target",
                "test_a_client_killed_in_mid_stream_breaks_its_target_and_not_the_forwarder",
            ),
            NO_RESETS,
        ),
        "test_a_client_of_a_target_that_never_answers_is_given_up": "Windows has no hybrid: addresses",
        "test_what_a_client_said_before_it_left_is_still_delivered": NO_SOCKET_FILES,
        "test_a_client_that_leaves_while_its_target_is_waited_for_gives_its_place_to_the_next": NO_SOCKET_FILES,
        "test_a_client_that_only_sends_nothing_more_has_not_left": NO_SOCKET_FILES,
        "test_a_signal_leaves_no_socket_file": NO_SOCKET_FILES,
        "test_who_is_not_on_the_list_is_closed_and_the_target_never_hears_of_it": NO_USERS,
        "test_v_tells_of_each_connection_and_q_of_none": NO_SOCKET_FILES,
        "test_what_cannot_be_is_told_before_anything_starts[unix:missing": NO_SOCKET_FILES,
        "test_what_cannot_be_is_told_before_anything_starts[unix:taken": NO_SOCKET_FILES,
        "test_a_client_for_whose_target_no_descriptor_is_left_": NO_LIMITS,
        "test_without_descriptors_for_more_": NO_LIMITS,
        "test_without_memory_for_more_": NO_LIMITS,
    },
    "hostile_sender": {
        "test_a_link_that_stands_where_a_directory_goes_is_not_followed": WINE_FOLLOWS,
        "test_a_link_in_place_of_the_part_is_not_written_through": WINE_FOLLOWS,
        "test_an_attribute_that_gives_rights_is_not_planted": NO_OWNERS,
        "test_a_pull_of_what_lies_outside_is_refused": WINE_FOLLOWS,
        "test_a_server_log_line_cannot_be_forged": "it waits for the name of a unix user",
    },
    "local_failures": {
        **dict.fromkeys(
            (
                "test_a_full_disk_",
                "test_files_of_every_size_arrive_where_there_is_no_proc",
                "test_the_file_of_a_pipe_is_whole_where_there_is_no_proc",
                "test_a_read_only_file_system_is_10",
                "test_what_a_read_only_file_system_does_not_take_of_a_tree_is_named",
                "test_a_copy_is_done_twice_onto_a_disk_that_is_full",
                "test_a_copy_is_done_twice_onto_a_file_system_that_became_read_only",
                "test_a_log_goes_on_when_its_full_disk_has_room_again",
            ),
            NO_MOUNTS,
        ),
        **dict.fromkeys(
            (
                "test_an_unreadable_",
                "test_a_closed_folder_of_the_server_is_told_with_whose_right_is_missing",
                "test_a_file_of_the_destination_that_may_not_be_read_fails_alone",
                "test_a_destination_without_permission_is_10",
                "test_a_pull_into_a_folder_without_permission_is_10",
                "test_a_copy_is_done_twice_into_folders_that_take_nothing_new",
                "test_a_folder_that_is_there_is_not_to_be_made_first",
            ),
            NO_LESS_POWER,
        ),
        "test_what_is_no_regular_file_is_refused_by_name_and_skipped_in_a_tree": NO_FIFOS,
        "test_a_fifo_in_place_of_the_file_blocks_nobody": NO_FIFOS,
        "test_pulling_a_device_is_refused": NO_FIFOS,
        "test_a_standard_input_or_output_that_has_vanished_is_told_by_its_name": NO_PROC,
        "test_a_served_folder_that_was_deleted_is_10": "a folder that a process has open is not deleted there",
    },
    "main_job": {
        "test_more_sources_than_may_be_open_at_once_are_refused_as_such": "Windows has no such limit",
        "test_names_that_are_not_utf8_survive": NO_SUCH_NAMES,
        "test_names_that_only_windows_forbids_survive": NO_SUCH_NAMES,
        "test_a_name_that_is_not_utf8_can_be_given_on_the_command_line": NO_SUCH_NAMES,
        "test_a_source_with_an_unsafe_name_is_refused_alone": NO_SUCH_NAMES,
        "test_more_sources_than_one_job_holds_are_refused_as_such": "a command line has 32,767 characters there",
        "test_ls_lists_kind_size_and_name": WINE_FOLLOWS,
        "test_ls_escapes_what_could_drive_a_terminal": NO_SUCH_NAMES,
    },
    "hostile_receiver": {
        "test_a_receiver_that_lies_is_not_believed[ACK before the end]": "TCP's buffers hold all that it does not read",
    },
    "interrupts": {
        "test_ctrl_c_while_the_command_starts_leaves_no_traceback": "it puts a module on the path of this machine's Python",
        "test_ctrl_c_in_the_middle_of_pythons_bookkeeping_is_not_lost": "os.kill ends a process there",
        "test_what_only_this_shell_knows_is_no_word_to_type_again": NO_SHELL,
        "test_an_interrupted_client_ends_though_nobody_reads_what_it_says": "there is no SIGALRM, nor symbolic links from hvcopy",
        "test_a_listener_whose_terminal_is_closed_leaves_no_socket_file": NO_SOCKET_FILES,
        "test_a_listener_that_is_to_outlive_its_terminal_does": "there is no SIGHUP, and no nohup",
    },
    "many_clients": {
        "test_a_lane_that_comes_too_late_to_be_wanted_is_no_failure_of_the_server": "TCP's sender does not see that nobody reads",
        "test_a_client_that_asks_for_a_listing_and_never_reads_is_given_up": "TCP's buffers hold all that it does not read",
        "test_memory_and_threads_are_given_back": NO_PROC,
        "test_sessions_that_break_in_the_middle_keep_nothing_open": NO_PROC,
    },
    "nc": {
        "test_a_standard_input_that_has_nothing_is_an_end": NO_SHELL,
        "test_a_closed_standard_output_is_10": NO_SHELL,
        "test_a_full_disk_is_10_and_ends_the_connection": "Windows has no /dev/full",
        "test_a_terminal_is_read_by_lines_and_ended_with_the_peer": NO_TERMINAL,
        "test_a_device_that_says_nothing_keeps_nobody_from_the_end": NO_FIFOS,
        "test_the_modes_of_shared_pipes_stay_as_they_are": NO_PROC,
        "test_a_reader_of_standard_output_that_goes_ends_both_sides[False-": NO_WORD,
        "test_who_closes_both_ends_of_it_wants_nothing_more": NO_WORD,
        "test_a_peer_that_closes_before_everything_was_sent_is_6": NO_RESETS,
        "test_a_peer_that_closes_when_all_was_said_is_0": "over TCP a close is only an end, until something is sent",
        "test_who_is_not_on_the_list_is_closed_and_the_next_one_may_come": NO_USERS,
        "test_socat_understands_it_both_ways[unix": NO_SOCKET_FILES,
        "test_z_says_whether_somebody_listens": NO_SOCKET_FILES,
    },
    "one_shot": {"test_either_side_may_listen[unix": NO_SOCKET_FILES},
    "output": {
        "test_a_name_that_the_locale_lacks_is_escaped": "on Windows hvcopy writes UTF-8, whatever the locale",
        "test_json_has_stable_keys_whatever_happens": NO_SOCKET_FILES,
        "test_ls_json_is_one_object_a_line": "Windows has times of 100 ns",
        "test_quiet_says_nothing_but_errors": WINE_FOLLOWS,
        "test_a_bar_is_shown_on_a_terminal_without_a_size": NO_TERMINAL,
        "test_a_result_for_which_there_is_no_room_is_10": "Windows has no /dev/full",
        "test_a_result_that_goes_nowhere_is_10": NO_SHELL,
        "test_who_has_no_results_needs_no_standard_output": NO_SHELL,
    },
    "pipe": {
        **dict.fromkeys(
            (
                "test_one_byte_at_a_time_is_gathered_before_the_socket",
                "test_a_tree_through_tar_arrives_whole",
                "test_tar_behind_a_listener_fails_with_it_when_a_byte_is_not_what_it_was",
                "test_a_pipeline_whose_head_has_enough_ends_to_its_beginning",
                "test_a_cut_connection_fails_both_pipelines",
            ),
            NO_SHELL,
        ),
        "test_a_file_goes_from_its_position_and_is_moved_along": NO_FILE_AS_STREAM,
        "test_the_mode_of_shared_descriptors_is_left_alone": NO_PROC,
        "test_a_reader_that_leaves_ends_both_sides_as_sigpipe_would[while nothing comes-": NO_WORD,
    },
    "pipe_ends": {
        "test_a_stream_needs_no_file_to_pass_through": NO_LIMITS,
        "test_progress_knows_the_size_of_a_file_on_both_sides_and_of_a_pipe_on_none[standard input]": NO_FILE_AS_STREAM,
        "test_an_end_in_the_middle_leaves_the_old_file[killed]": NO_ANONYMOUS,
        "test_a_file_that_says_it_is_longer_than_it_is_is_sent_as_it_is": NO_PROC,
        "test_a_full_disk_is_10_on_both_sides_and_leaves_nothing": NO_SMALL_DISKS,
        "test_devices_and_fifos_are_written_to_as_they_are": NO_FIFOS,
        "test_what_others_write_to_a_descriptor_that_o_names_stays": NO_FIFOS,
        "test_a_descriptor_that_is_not_open_is_10": NO_FIFOS,
        "test_an_input_with_nothing_in_it_is_one_direction_only": NO_SHELL,
        "test_a_closed_output_is_fine_until_something_comes": NO_SHELL,
        "test_an_input_that_says_nothing_keeps_nobody_from_noticing_that_the_peer_is_gone": NO_FIFOS,
        "test_two_people_at_terminals_talk_until_one_of_them_ends": NO_TERMINAL,
        "test_a_terminal_is_not_read_when_the_output_goes_on_to_a_program": NO_TERMINAL,
        "test_what_is_no_plain_text_does_not_reach_a_terminal": NO_TERMINAL,
        "test_plain_text_and_anything_that_is_forced_reach_a_terminal": NO_TERMINAL,
        "test_a_stream_is_whole_through_a_vmm_whatever_it_makes_of_half_close": "Windows has no hybrid: addresses",
        "test_wait_finds_the_listener_that_comes_after_it_was_looked_for_in_vain": "Windows has no hybrid: addresses",
    },
    "pipe_listening": {
        "test_keys_and_lists_decide_who_is_let_in_and_others_do_not_end_it": NO_USERS,
        "test_ten_peers_at_once_are_taken_one_after_the_other": "ten commands at once are the starts of ten workers",
        "test_a_session_whose_output_cannot_be_opened_keeps_no_descriptor": NO_PROC,
    },
    "wrong_peers": {"test_a_file_that_is_no_socket_is_left_alone": NO_SOCKET_FILES},
}
"""In files of COMMANDS: a name stands for every test that begins so."""


FAULTS = "tests/faults"

FAULTS_LEFT_OUT = {
    "tests/faults/test_links.py": {"test_": NO_SUCH_ERROR},
    "tests/faults/test_packs.py": {
        "test_write_files_on_a_poorer_filesystem_still_places_every_file[REPLACE SYNC SET_OWNER": NO_OWNERS,
        "test_write_files_one_failing_leaves_nothing_of_it_and_all_of_the_others[SET_OWNER": NO_OWNERS,
        "test_write_files_all_failing_leave_an_empty_directory[unsynced-link_tmpfile": NO_ANONYMOUS,
        "test_write_files_all_failing_leave_an_empty_directory[synced-link_tmpfile": NO_ANONYMOUS,
        "test_write_files_sync_out_of_descriptors_commits_what_waits_and_goes_on": NO_ANONYMOUS,
        "test_write_files_rewritten_under_a_temporary_name_is_synced_as_well": NO_ANONYMOUS,
        "test_write_files_syncs_each_file_system_of_the_pack": "each file is synced by itself on Windows",
        "test_write_files_replacing_tries_another_temporary_name_when_one_is_taken": NO_ANONYMOUS,
    },
    "tests/faults/test_pipes.py": {
        "test_send_pipe_": BY_REFERENCE,
        "test_share_pipe_": BY_REFERENCE,
    },
    "tests/faults/test_relay.py": {
        "test_waiting_that_fails_raises_its_errno": NO_SUCH_ERROR,
        "test_an_end_that_cannot_be_looked_at_is_refused": NO_SUCH_ERROR,
        "test_a_failing_file_is_told_with_its_side_and_what_had_arrived[splice": BY_REFERENCE,
    },
    "tests/faults/test_streams.py": {
        **dict.fromkeys(
            (
                f"test_send_all_failing_midway_raises_and_counts_what_was_sent[{name}]"
                for name in ("ENOMEM", "EPIPE", "EIO")
            ),
            NO_SUCH_ERROR,
        ),
        "test_recv_exact_reset_is_reported_once_and_the_meter_stays_exact[EIO]": NO_SUCH_ERROR,
        "test_recv_file_whose_socket_fails_raises[EIO]": NO_SUCH_ERROR,
        "test_wait_failing_raises_its_errno": NO_SUCH_ERROR,
        "test_send_file_": BY_REFERENCE,
    },
}


def options() -> list[str]:
    """What pytest is told there."""
    return deselected(LEFT_OUT)


def faults() -> list[str]:
    """What pytest here is told to run those with the faults build."""
    return [FAULTS, *deselected(FAULTS_LEFT_OUT)]


def deselected(left_out: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Options of pytest: a name stands for every test that begins so."""
    return [f"--deselect={path}::{name}" for path, names in left_out.items() for name in names]


def commands(names: Iterable[str]) -> list[str]:
    """What pytest here is told to run files of COMMANDS."""
    left_out = {f"tests/e2e/test_{name}.py": COMMANDS_TESTS_LEFT_OUT.get(name, {}) for name in names}
    return [*left_out, *deselected(left_out)]
