"""Attacks that take sockets, files, processes or a development server to make, and their tests.

Those on the pure room are rows of test_client_attacks and test_server_attacks; those that one site
makes are rows of test_connect_attacks and test_refused_everywhere.
"""

from typing import NamedTuple

_MACHINE = "tests/auth/test_authorization.py"
_CALLBACK = "tests/transports/auth/test_auth_callback.py"
_STORES = "tests/transports/auth/test_auth_stores.py"
_BROWSER = "tests/transports/auth/test_auth_browser.py"
_FETCHING = "tests/transports/auth/test_auth_fetching.py"
_SECRETS = "tests/transports/auth/test_auth_secrets.py"
_MARKED = "tests/transports/auth/test_marked_secrets.py"
_CLIENT = "tests/transports/auth/test_auth_client.py"
_CONNECT = "tests/transports/auth/test_connect_attacks.py"
_AUTHORIZER = "tests/transports/auth/test_auth_authorizer.py"
_SITES = "tests/transports/auth/test_auth_attacks.py"
_SIMULATION = "tests/simulation/test_simulation_authorization.py"
_GUARD = "tests/transports/auth/test_resource_server.py"
_SOCKETS = "tests/transports/auth/test_resource_server_attacks.py"
_ENDS = "tests/transports/auth/test_auth_ends.py"
_ISSUERS = "tests/transports/auth/test_issuer_attacks.py"
_HOOK = "tests/transports/auth/test_authentication.py"
_DEVELOPMENT = "tests/auth/test_development_server.py"
_EXCHANGE = "tests/transports/auth/test_auth_exchange.py"
_RESOURCES = "tests/service/test_resources.py"
_VISIBILITY = "tests/service/test_visibility.py"


class Shown(NamedTuple):
    """An attack, what must happen, and the tests that show it."""

    number: int
    name: str
    must: str
    file: str
    tests: tuple[str, ...]


CLIENT = (
    Shown(
        14,
        "a callback for another path, method or Host",
        "refused, and waited on",
        _CALLBACK,
        ("test_nothing_else_is_heard",),
    ),
    Shown(
        14,
        "a page whose name was made to point to the callback",
        "421",
        _SITES,
        ("test_14_a_page_that_was_made_to_point_here_is_not_heard",),
    ),
    Shown(
        15,
        "another process has the port of the callback",
        "an error at once; ports are taken at random",
        _CALLBACK,
        ("test_a_port_that_is_taken_is_an_error", "test_ports_are_taken_at_random"),
    ),
    Shown(
        15,
        "the registered port is taken",
        "nobody is asked to sign in",
        _SITES,
        ("test_15_the_port_of_the_callback_is_taken",),
    ),
    Shown(
        16,
        "floods, slow and large requests at the callback",
        "bounded, and waited on",
        _CALLBACK,
        (
            "test_ten_wrong_states_are_enough",
            "test_slow_senders_keep_nobody_waiting",
            "test_nothing_else_is_heard",
        ),
    ),
    Shown(
        16,
        "ten callbacks with a wrong state",
        "the sign-in ends, no token request",
        _SITES,
        ("test_16_a_flood_of_callbacks_ends_the_sign_in",),
    ),
    Shown(
        17,
        "HTML in what comes back",
        "a page that repeats nothing",
        _SITES,
        ("test_17_the_page_repeats_nothing",),
    ),
    Shown(
        27,
        "a redirect of a request with a token",
        "the token goes nowhere else",
        _CLIENT,
        ("test_27_a_redirect_brings_the_token_nowhere",),
    ),
    Shown(
        28,
        "a name with an address that is not public, or with another one later",
        "not connected to; the checked address is the one that is connected to",
        _FETCHING,
        (
            "test_a_name_with_a_private_address_is_not_connected_to",
            "test_the_checked_address_is_the_one_connected_to",
        ),
    ),
    Shown(
        28,
        "a public server whose name leads inside",
        "its metadata is not fetched",
        _SITES,
        ("test_28_a_public_server_leads_nowhere_inside",),
    ),
    Shown(
        29,
        "a header of a CGI request as HTTP_PROXY",
        "it is no proxy",
        _FETCHING,
        ("test_a_header_of_the_client_of_a_cgi_program_is_no_proxy",),
    ),
    Shown(
        31,
        "a URL that a shell or a browser reads as more",
        "not opened; a browser gets one argument",
        _BROWSER,
        (
            "test_a_url_that_a_shell_could_read_is_not_opened",
            "test_a_browser_gets_the_url_as_one_argument",
        ),
    ),
    Shown(
        33,
        "responses without end, compressed, or a byte a second",
        "an error at the limit, of bytes or of time",
        _FETCHING,
        ("test_a_response_out_of_bounds_is_a_fault", "test_time_counts_in_all"),
    ),
    Shown(
        38,
        "a server that refuses every token",
        "two authorizations, then the error",
        _CLIENT,
        (
            "test_a_server_that_refuses_every_token_ends_it",
            "test_38_scopes_that_never_suffice_are_got_once_on_every_binding",
        ),
    ),
    Shown(
        44,
        "five processes refresh one token",
        "one request",
        _AUTHORIZER,
        ("test_processes_make_one_refresh", "test_twenty_tasks_make_one_refresh"),
    ),
    Shown(
        51,
        "files of tokens that are links, of others, readable; crashes, a full disk",
        "refused; the old record stays",
        _STORES,
        (
            "test_a_spoilt_file_is_refused",
            "test_a_spoilt_place_is_refused",
            "test_a_crash_within_a_write_leaves_the_old_record",
            "test_a_full_disk_leaves_the_old_record",
        ),
    ),
    Shown(
        51,
        "a link in the store",
        "nothing is sent",
        _SITES,
        ("test_51_a_link_in_the_store_ends_it_before_anything_is_sent",),
    ),
    Shown(
        52,
        "secrets in logs, errors, objects, processes",
        "none",
        _SECRETS,
        (
            "test_a_sign_in_a_refresh_and_a_step_up_tell_no_secret",
            "test_what_goes_wrong_tells_no_secret",
            "test_no_secret_is_in_a_command_line_or_in_the_environment_of_a_browser",
            "test_a_child_of_a_client_inherits_no_secret_of_its_parent",
        ),
    ),
    Shown(
        52,
        "secrets in traces",
        "none",
        "tests/wire/test_trace_redaction.py",
        (
            "test_members_that_are_named_like_secrets",
            "test_what_looks_like_a_secret_in_a_text",
            "test_headers",
        ),
    ),
    Shown(
        52,
        "secrets in a run through all of both sides, and through all commands",
        "none, in logs at DEBUG, traces, errors, objects, audit events, pages, output, argv",
        _MARKED,
        ("test_nothing_that_is_shown_has_a_secret", "test_no_command_shows_a_secret"),
    ),
    Shown(
        53,
        "an Authorization header of the application beside ours",
        "an error before anything is sent",
        _CLIENT,
        ("test_53_one_side_alone_authorizes", "test_53_nor_does_a_function_for_headers"),
    ),
    Shown(
        54,
        "nonces without end at a server",
        "one retry",
        _CLIENT,
        ("test_nonces_without_end_are_not_followed",),
    ),
    Shown(
        57,
        "a tool, a prompt or an elicitation that names an authorization URL",
        "it is not opened",
        _CONNECT,
        ("test_57_a_url_in_what_a_server_says_is_opened_by_nobody",),
    ),
    Shown(
        58,
        "a flow is cancelled at any of its needs",
        "it ends once, the lock is released",
        _MACHINE,
        ("test_a_flow_is_cancelled_at_each_step",),
    ),
    Shown(
        58,
        "a flow is cancelled at any place",
        "no lock, no listener, no connection is left",
        _AUTHORIZER,
        (
            "test_a_cancelled_flow_leaves_no_lock_and_no_listener",
            "test_a_lock_that_cannot_be_released_holds_up_nobody",
            "test_nobody_who_is_cancelled_waits_for_a_key_that_asks_a_person",
        ),
    ),
    Shown(
        58,
        "a keyring that asks a person, and a task that is cancelled meanwhile",
        "it ends at once",
        _STORES,
        ("test_nobody_who_is_cancelled_waits_for_a_keyring_that_asks",),
    ),
    Shown(
        59,
        "a clock that jumps, processes that crash",
        "one end of each flow, no token is lost",
        _SIMULATION,
        ("test_all_rules_are_kept", "test_a_bug_breaks_its_rule"),
    ),
    Shown(
        59,
        "the clock of a running client jumps by a day",
        "one refresh at most",
        _SITES,
        ("test_59_a_clock_that_jumps_makes_one_refresh_at_most",),
    ),
    Shown(
        60,
        "a server without TLS",
        "connect() refuses",
        _CLIENT,
        ("test_60_no_token_in_the_clear", "test_60_nor_in_the_clear_to_a_proxy"),
    ),
)

SERVER = (
    Shown(
        24,
        "a token in a header with an underscore, a trailer, a folded line, a body framed twice",
        "400 or 401",
        _SOCKETS,
        ("test_24_no_token_comes_by_a_side_door",),
    ),
    Shown(
        25,
        "a foreign Host or X-Forwarded-Host",
        "challenge and metadata are made of the settings",
        _SOCKETS,
        ("test_25_nothing_of_a_request_stands_in_challenge_or_metadata",),
    ),
    Shown(
        26,
        "the path of the metadata in other spellings, other methods",
        "404, 405",
        _SOCKETS,
        ("test_26_the_metadata_is_at_its_path_alone",),
    ),
    Shown(
        29,
        "Mcp-Name of a harmless tool, the body of another",
        "400: the head and the body differ",
        _SOCKETS,
        ("test_29_the_head_names_another_tool_than_the_body",),
    ),
    Shown(
        30,
        "a batch with one forbidden call",
        "that call alone is refused",
        _SOCKETS,
        ("test_30_a_batch_with_a_forbidden_call",),
    ),
    Shown(
        31,
        "scopes and principals claimed in _meta, clientInfo, headers",
        "they count for nothing",
        _SOCKETS,
        ("test_31_nobody_gives_himself_scopes",),
    ),
    Shown(
        32,
        "what is forbidden, by another method: reading, completing, subscribing, listening, tasks",
        "403 with all scopes needed, in both eras and on every transport",
        _GUARD,
        (
            "test_what_needs_scopes_is_refused_by_every_modern_method",
            "test_what_needs_scopes_is_refused_by_every_legacy_method",
            "test_the_task_of_a_forbidden_tool_is_forbidden",
            "test_the_list_of_tasks_leaves_out_those_of_a_forbidden_tool",
            "test_sessions_in_a_store_refuse_with_a_403",
            "test_http_sse_refuses_on_its_stream",
        ),
    ),
    Shown(
        32,
        "what is forbidden, in another spelling of its URI, which an open template matches",
        "403; what is unsafe belongs to no other template",
        _RESOURCES,
        (
            "test_what_needs_scopes_needs_them_in_every_spelling",
            "test_what_is_unsafe_where_scopes_are_needed_belongs_to_no_other_template",
        ),
    ),
    Shown(
        32,
        "a subscription to a resource that is hidden",
        "as to one that does not exist: nothing comes of it",
        _GUARD,
        ("test_changes_of_what_is_hidden_or_forbidden_are_not_told",),
    ),
    Shown(
        32,
        "the task of a tool that is hidden, with another token of the same user",
        "as one that does not exist",
        _GUARD,
        (
            "test_the_task_of_a_hidden_tool_is_hidden",
            "test_the_task_of_a_tool_that_is_hidden_meanwhile_is_not_told",
        ),
    ),
    Shown(
        33,
        "other names of a tool, lists that say other than calls",
        "nothing has two names; lists and calls agree",
        _SOCKETS,
        ("test_33_lists_and_calls_agree_and_nothing_has_two_names",),
    ),
    Shown(
        33,
        "a tool that is hidden, called with headers that contradict its arguments",
        "as one that does not exist",
        _SOCKETS,
        ("test_33_headers_of_a_hidden_tool_are_compared_for_those_alone_who_see_it",),
    ),
    Shown(
        34,
        "the session of another principal, by each method",
        "404, as if there were none",
        _SOCKETS,
        (
            "test_34_the_session_of_another_principal",
            "test_34_the_same_subject_of_another_issuer",
        ),
    ),
    Shown(
        35,
        "a session goes on with a token that has expired, or allows less",
        "401, 403; a newer token serves",
        _ISSUERS,
        ("test_35_a_session_with_a_token_that_has_expired_or_allows_less",),
    ),
    Shown(
        35,
        "a GET stream of a session, new or resumed, with a token that allows less",
        "404; one that is open is closed when the session is used with more",
        "tests/http/server/test_httpserver_resume.py",
        (
            "test_a_stream_is_for_all_rights_that_the_session_was_used_with",
            "test_a_stream_ends_when_its_session_is_used_with_more_rights",
        ),
    ),
    Shown(
        36,
        "a stream or connection that is open when its token expires",
        "closed, or kept for as long as a setting says",
        _ENDS,
        (
            "test_a_connection_ends_when_the_authorization_of_its_client_does",
            "test_a_websocket_of_asgi_ends_with_the_authorization_of_its_client",
            "test_a_stream_outlives_its_token_by_the_setting",
        ),
    ),
    Shown(
        37,
        "requestState of another principal",
        "it is not valid",
        _SOCKETS,
        ("test_37_the_state_of_another_principal",),
    ),
    Shown(
        37,
        "a task of another principal",
        "it is unknown",
        "tests/transports/tasks/test_tasks_bindings.py",
        ("test_a_task_belongs_to_who_was_authenticated",),
    ),
    Shown(
        37,
        "an event id of another principal",
        "404, as if there were no stream",
        "tests/http/server/test_httpserver_resume.py",
        ("test_another_principal_is_nobody",),
    ),
    Shown(
        39,
        "1,000 first requests at once, 60 unknown kids",
        "one fetch, five in all",
        _SOCKETS,
        ("test_39_many_first_requests_make_one_fetch",),
    ),
    Shown(
        40,
        "a key set with a status, a redirect, HTML, 2 MB, compressed, cut off",
        "503, one request, nothing is followed",
        _ISSUERS,
        ("test_40_keys_that_are_none",),
    ),
    Shown(
        41,
        "keys are rotated",
        "requests for known keys do not wait",
        _GUARD,
        ("test_keys_rotate_and_no_request_for_a_known_key_waits",),
    ),
    Shown(
        42,
        "a connection that is open when the key of its token is withdrawn",
        "closed once the key set is old",
        _ENDS,
        ("test_a_websocket_ends_when_its_issuer_withdraws_the_key_of_the_token",),
    ),
    Shown(
        43,
        "introspection that is broken, redirects, or says other than active",
        "401 or 503",
        _ISSUERS,
        ("test_43_introspection_that_says_nothing",),
    ),
    Shown(
        43,
        "a flood of unknown tokens of one address",
        "few questions at a time, 503, then 429; other addresses are served",
        _SOCKETS,
        (
            "test_43_a_flood_of_unknown_tokens_makes_few_questions_at_a_time",
            "test_43_behind_a_proxy_all_clients_share_the_questions",
        ),
    ),
    Shown(
        44,
        "credentials of the introspection endpoint in logs",
        "none",
        _SOCKETS,
        ("test_44_52_nothing_secret_is_logged",),
    ),
    Shown(
        44,
        "secrets of clients and servers in anything that is shown",
        "none",
        _MARKED,
        ("test_nothing_that_is_shown_has_a_secret", "test_no_command_shows_a_secret"),
    ),
    Shown(
        45,
        "API keys in other places, changed, revoked during a session",
        "401",
        _ISSUERS,
        ("test_45_api_keys_in_other_places_and_revoked_during_a_session",),
    ),
    Shown(
        46,
        "a proof is sent again, to another worker too",
        "401",
        _SOCKETS,
        ("test_46_47_a_proof_is_used_once_also_by_workers_that_share_a_window",),
    ),
    Shown(
        48,
        "a nonce that is forged",
        "401 with a good one; every answer offers the next",
        _SOCKETS,
        (
            "test_48_the_nonce_of_a_server_is_offered_and_taken",
            "test_48_every_answer_to_a_bound_token_offers_a_nonce",
        ),
    ),
    Shown(
        49,
        "a certificate that a header names",
        "it counts for nothing",
        _SOCKETS,
        ("test_49_a_certificate_is_none_that_a_header_names",),
    ),
    Shown(
        50,
        "a refused credential, or one of no scheme, before a weaker scheme",
        "401: no other scheme is asked",
        _SOCKETS,
        (
            "test_50_a_refused_credential_falls_to_no_weaker_scheme",
            "test_50_no_certificate_stands_in_for_a_credential_that_is_of_no_scheme",
        ),
    ),
    Shown(
        51,
        "an issuer that hangs, a store that breaks, an audit that raises, or that nobody awaits",
        "503, 500, each an event; no other verdict; the last ends the start",
        _SOCKETS,
        (
            "test_51_an_issuer_that_hangs_lets_nobody_in",
            "test_51_a_store_that_breaks_lets_nobody_in_and_is_told",
            "test_51_an_audit_that_raises_changes_no_verdict",
            "test_51_no_event_goes_to_an_audit_that_nobody_awaits",
        ),
    ),
    Shown(
        51,
        "a hook that raises, returns something else, hangs, or is cancelled",
        "nobody is let in",
        _HOOK,
        (
            "test_no_mistake_of_the_application_lets_anybody_in",
            "test_a_client_that_leaves_while_it_is_being_authenticated",
        ),
    ),
    Shown(
        51,
        "a function for visible= that is to be awaited, or answers with a function or a generator",
        "it ends the start, or nobody sees what it is for",
        _VISIBILITY,
        (
            "test_no_coroutine_function_decides_who_sees",
            "test_nobody_sees_what_is_not_decided_at_once",
        ),
    ),
    Shown(
        51,
        "scopes or roles that are empty, or are read only once",
        "they end the start",
        _VISIBILITY,
        ("test_what_requires_nothing_by_mistake_is_refused",),
    ),
    Shown(
        52,
        "a flood of refused tokens",
        "429; tokens that were good are still good",
        _SOCKETS,
        (
            "test_52_a_flood_of_refused_tokens_gets_429",
            "test_52_malformed_credentials_count_as_those_that_are_refused",
            "test_52_a_wrong_signature_counts_also_where_no_keys_can_be_fetched",
        ),
    ),
    Shown(
        53,
        "keys are found out by time",
        "one comparison in constant time, for known and unknown keys alike",
        _SOCKETS,
        ("test_53_secrets_are_compared_in_constant_time_alone",),
    ),
    Shown(
        54,
        "scopes that a handler makes of what a client has sent",
        "403; those that no header can hold are named in none, and end nothing",
        _GUARD,
        ("test_what_no_challenge_can_say_is_refused_and_ends_nothing",),
    ),
    Shown(
        54,
        "text of a token in headers and logs",
        "none",
        _SOCKETS,
        ("test_54_no_text_of_a_token_reaches_a_header",),
    ),
    Shown(
        55,
        "requests of web pages",
        "a preflight needs no token, the challenge is shown, no credentials mode",
        _SOCKETS,
        ("test_55_cors_shows_the_challenge_and_wants_no_token_of_a_preflight",),
    ),
    Shown(
        56,
        "answers are cached and shown to others",
        "no-store, Vary: Authorization, private lists",
        _SOCKETS,
        ("test_56_answers_to_authorized_requests_are_not_cached",),
    ),
    Shown(
        57,
        "the token of a WebSocket is echoed, logged, or expires",
        "neither; the connection ends",
        _SOCKETS,
        (
            "test_57_the_token_of_a_websocket_is_not_echoed_and_ends_the_connection",
            "test_57_what_needs_scopes_is_refused_on_a_websocket",
        ),
    ),
    Shown(
        58,
        "a header that is named like the principal of an ASGI scope",
        "it counts for nothing",
        _SOCKETS,
        ("test_58_the_principal_of_an_asgi_scope_is_no_header",),
    ),
    Shown(
        59,
        "the development server on a public address, floods, codes and tokens used twice",
        "it does not start; bounded; refused, and what they gave is revoked",
        _DEVELOPMENT,
        (
            "test_serving_refuses_other_hosts",
            "test_registrations_are_bounded",
            "test_a_code_is_used_once",
            "test_a_code_is_bound",
            "test_a_refresh_token_is_used_once",
            "test_an_unsound_client_or_redirect_is_not_redirected_to",
        ),
    ),
    Shown(
        60,
        "a handler hands the token on",
        "none can reach it",
        _SOCKETS,
        ("test_60_no_handler_reaches_the_token",),
    ),
    Shown(
        60,
        "a part of a context that is named like a token",
        "there is none",
        _EXCHANGE,
        ("test_no_part_of_a_context_is_named_like_a_token",),
    ),
)
