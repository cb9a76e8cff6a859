"""Reading answers: recorded texts in, structs out."""

from __future__ import annotations

import pytest

from frontserver.errors import ProxyError
from frontserver.haproxy import reads
from tests.unit.haproxy.fakes import INFO

HEADER = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state "
    "srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl "
    "srv_check_port srv_check_addr srv_agent_addr srv_agent_port"
)


def test_info_is_read() -> None:
    text = INFO.format(version="2.8.25-5cf5d0683", pid=12, stopping=0)
    assert reads.parse_info(text) == reads.Info(
        version="2.8.25-5cf5d0683",
        pid=12,
        uptime_s=7,
        description="generation 12",
        node="box",
        maxconn=9974,
        connections=3,
        stopping=False,
    )


@pytest.mark.parametrize("text", ["", "2.8.25\n", "Version: 2.8.25\nPid: x\n"])
def test_what_is_not_info_is_refused(text: str) -> None:
    with pytest.raises(ProxyError, match="show info"):
        reads.parse_info(text)


def test_map_entries_keep_order_spaces_and_duplicates() -> None:
    text = (
        "Server x/s is UP/READY (leaving forced maintenance).\n"
        "0x9531b30 a one\n0x7fdc10047ea0 k1 v1 with  space \n0xab k2 v;2\n0xac a two\n"
    )
    assert reads.parse_map(text) == [
        ("a", "one"),
        ("k1", "v1 with  space "),
        ("k2", "v;2"),
        ("a", "two"),
    ]


def test_a_map_value_may_hold_quotes_and_more_of_the_same_form() -> None:
    value = 'v;"2", value="x", type="str"'
    text = f'type=str, case=sensitive, found=yes, idx=tree, key="k2", value="{value}", type="str"\n'
    assert reads.parse_map_value(text, "k2") == value


@pytest.mark.parametrize(
    "text",
    [
        "type=str, case=sensitive, found=no\n",
        "",
        # A prefix match of map_beg: another entry's value.
        'type=beg, case=sensitive, found=yes, idx=tree, key="k", value="v", type="str"\n',
    ],
)
def test_an_entry_that_is_not_there_has_no_value(text: str) -> None:
    assert reads.parse_map_value(text, "k2") is None


def test_server_states_are_grouped_by_backend() -> None:
    text = (
        f"1\n{HEADER}\n"
        "3 slot1 1 s1 127.0.0.2 0 1 10 1 0 1 0 0 14 0 0 0 - 99 - 0 0 - - 0\n"
        "4 slot2 1 s1 - 2 0 1 1 0 6 3 4 6 0 0 0 - 0 - 1 0 - - 0\n"
        "4 slot2 2 s2 ::1 2 8 1 1 0 6 3 4 6 0 0 0 name.example 80 - 0 0 - - 0\n"
    )
    states = reads.parse_server_states(text)
    assert {name: set(servers) for name, servers in states.items()} == {
        "slot1": {"s1"},
        "slot2": {"s1", "s2"},
    }
    first = states["slot1"]["s1"]
    assert (first.address, first.port, first.weight) == ("127.0.0.2", 99, 10)
    assert (first.ready, first.maintenance, first.up) == (False, True, False)
    second = states["slot2"]["s1"]
    assert (second.address, second.port, second.tls, second.ready, second.up) == (
        "",
        0,
        True,
        True,
        True,
    )
    draining = states["slot2"]["s2"]
    assert (draining.address, draining.ready, draining.maintenance) == ("::1", False, False)


def test_no_servers_is_not_an_error() -> None:
    assert reads.parse_server_states(f"1\n{HEADER}\n") == {}


def test_sessions_are_those_of_the_backend() -> None:
    text = (
        "# pxname,svname,qcur,qmax,scur,smax,slim,\n"
        "slot1,s1,9,9,9,9,9,\n"
        "slot1,BACKEND,2,5,3,8,200,\n"
    )
    assert reads.parse_sessions(text) == reads.Sessions(current=3, queued=2)


@pytest.mark.parametrize("parse", [reads.parse_server_states, reads.parse_sessions])
def test_an_unreadable_answer_is_an_error(parse: object) -> None:
    assert callable(parse)
    with pytest.raises(ProxyError, match="can't be read"):
        parse("No such proxy.\n")


def test_names_leave_out_transactions() -> None:
    assert reads.parse_names("# transaction\n*m.pem\n# filename\n/etc/full.pem\nm.pem\n") == [
        "/etc/full.pem",
        "m.pem",
    ]
    assert reads.parse_ca_files(
        "# transaction\n*ca.pem - 1 certificate(s)\n"
        "# filename\n@system-ca - 145 certificate(s)\nca.pem - 0 certificate(s)\n"
    ) == ["@system-ca", "ca.pem"]


def test_help_names_commands_without_their_arguments() -> None:
    text = (
        "The following commands are valid at this level:\n"
        "  abort ssl ca-file <cafile>              : abort a transaction for a CA file\n"
        "  commit acl @<ver> <acl>                 : commit the ACL at this version\n"
        "  debug dev hash   [msg]                  : return msg hashed if anon is set\n"
        "  disable agent                           : disable agent checks\n"
        "  enable server  (DEPRECATED)             : enable a disabled server\n"
        "  set profiling <what> {auto|on|off}      : enable/disable resource profiling\n"
        "  set severity-output [none|number|string]: set presence of severity level\n"
        "  show stat [desc|json|no-maint|typed|up]*: report counters for each proxy\n"
        "  wait {-h|<delay_ms>} cond [args...]     : wait the specified delay\n"
        "  quit                                    : disconnect\n\n"
    )
    assert reads.parse_help(text) == {
        "abort ssl ca-file",
        "commit acl",
        "debug dev hash",
        "disable agent",
        "enable server",
        "set profiling",
        "set severity-output",
        "show stat",
        "wait",
        "quit",
    }
    assert reads.parse_help("Unknown command: 'help'\n") == frozenset()


def test_wait_says_what_it_can_wait_for() -> None:
    text = (
        "Usage: wait {-h|<duration>} [condition [args...]]\n  - '-h' displays this help\n"
        "    duration. Supported conditions are:\n    - <none> : by default, just sleep.\n"
        "    - srv-removable <px>/<sv> : wait for this server to become removable.\n"
        "    - be-removable <px> : wait for this backend to become removable.\n"
    )
    assert reads.parse_wait_conditions(text) == {"srv-removable", "be-removable"}
    assert reads.parse_wait_conditions("Unknown command: 'wait'\n") == frozenset()


def test_backends_are_named_in_order() -> None:
    text = "Server x/s is UP/READY (leaving forced maintenance).\n# name\nb\np1.0\n\n"
    assert reads.parse_backends(text) == ["b", "p1.0"]
    assert reads.parse_backends("# name\n") == []
    with pytest.raises(ProxyError, match="can't be read"):
        reads.parse_backends("Permission denied\n")
