"""Judging answers, by texts recorded from HAProxy 2.8.25, 3.0.11, 3.2.26 and 3.4.7."""

from __future__ import annotations

import pytest

from frontserver.errors import CommandRefusedError
from frontserver.haproxy.answers import check, is_absent

MOVED = (
    "IP changed from '127.0.0.1' to '127.0.0.2', port changed from '9' to '99' "
    "by 'stats socket command'\n"
)
REFERRED_TO = (
    "This proxy cannot be removed at runtime due to other configuration elements pointing to it.\n"
)
STATIC_BALANCE = (
    "New backend registered (no support for dynamic servers: "
    "backend 'b' uses a non dynamic load balancing method).\n"
)
OTHER_TRANSACTION = (
    "The ongoing transaction is about 'm.pem' but you are trying to set 'z.pem'\n"
    "Can't update z.pem!\n"
)
IN_USE = "Can't remove the certificate: certificate 'a.pem' in use, can't be deleted!\n"
DOWN_EVENT = (
    "Server x/s is going DOWN for maintenance. 0 active and 0 backup servers left. "
    "0 sessions active, 0 requeued, 0 remaining in queue.\n"
    "backend 'x' has no server available!\n"
)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("add map /hosts a b", ""),
        ("set map", "\n"),
        ("enable server b/s", ""),
        ("enable server b/s", "Server b/s is UP/READY (leaving forced maintenance).\n"),
        ("enable health b/s", "Health check was not configured on this server, cannot enable.\n"),
        ("set server b/s state maint", DOWN_EVENT + "Server deleted.\n"),
        ("set server b/s addr 127.0.0.2 port 99", MOVED),
        (
            "set server b/s addr 127.0.0.2",
            "no need to change the addr, no need to change the port by 'stats socket command'\n",
        ),
        ("add server b/s 127.0.0.1:1", "New server registered.\n"),
        ("del server b/s", "Server deleted.\n"),
        ("del server b/s", DOWN_EVENT + "Server deleted.\n"),
        ("add backend b from p", "New backend registered.\n"),
        ("publish backend b", "Backend published.\n"),
        ("del backend x", DOWN_EVENT + "Server deleted.\nBackend deleted.\n"),
        ("prepare map /hosts", "New version created: 7\n"),
        ("wait 2s srv-removable b/s", "Done.\n"),
        ("new ssl cert a.pem", "New empty certificate store 'a.pem'!\n"),
        ("set ssl cert a.pem", "Transaction created for certificate a.pem!\n"),
        ("commit ssl cert a.pem", "Committing a.pem\nSuccess!\n"),
        ("abort ssl cert a.pem", "Transaction aborted for certificate 'a.pem'!\n"),
        ("del ssl cert a.pem", "Certificate 'a.pem' deleted!\n"),
        ("add ssl crt-list l a.pem", "Inserting certificate 'a.pem' in crt-list 'l'.\nSuccess!\n"),
        ("del ssl crt-list l a.pem", "Entry 'a.pem' deleted in crtlist 'l'!\n"),
        ("new ssl ca-file c.pem", "New CA file created 'c.pem'!\n"),
        ("set ssl ca-file c.pem", "transaction created for CA c.pem!\n"),
        ("add ssl ca-file c.pem", "transaction created for CA c.pem!\n"),
        ("commit ssl ca-file c.pem", "Committing c.pem\nSuccess!\n"),
        ("del ssl ca-file c.pem", "CA file 'c.pem' deleted!\n"),
        ("show map /hosts", "0x1 a b\n"),
        ("get map /hosts a", "type=str, case=sensitive, found=no\n"),
    ],
)
def test_a_success_is_taken_for_one(command: str, answer: str) -> None:
    check(command, answer)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("add map /no a b", "Unknown map identifier. Please use #<id> or <file>.\n"),
        ("add map /hosts", "Missing value for key 'k1'.\n"),
        ("commit map @77 /hosts", "Version number out of range.\n"),
        ("enable server b/zz", "No such server.\n"),
        ("enable health b/s", "Something new.\n"),
        ("set server b/s addr foo", "Invalid addr 'foo' by 'stats socket command'\n"),
        ("set server b/s weight 300", "Absolute weight can only be between 0 and 256 inclusive.\n"),
        ("add server b/s 127.0.0.1:1", ""),
        ("add server b/s 127.0.0.1:1", "Already exists a server with the same name in backend.\n"),
        ("del server b/s", "Only servers in maintenance mode can be deleted.\n"),
        # The first line belongs to the command before.
        ("del server b/s", "Server deleted.\nOnly servers in maintenance mode can be deleted.\n"),
        ("add backend b from p", STATIC_BALANCE),
        ("del backend b", "Backend must be unpublished prior to its deletion.\n"),
        ("wait 2s srv-removable b/s", "Failed.\n"),
        ("wait 50ms be-removable b", "Failed. Only a backend without server can be deleted.\n"),
        ("wait 50ms be-removable b", "Failed. No such backend.\n"),
        ("add backend b from p", "Cannot find default proxy 'p'.\n"),
        ("publish backend b", "No such backend.\n"),
        # A command before this one succeeded, and this one didn't.
        ("del backend b", "Backend unpublished.\nOnly a backend without server can be deleted.\n"),
        ("del backend b", REFERRED_TO),
        ("new ssl cert a.pem", "Certificate 'a.pem' already exists!\n"),
        ("set ssl cert z.pem", OTHER_TRANSACTION),
        ("commit ssl cert a.pem", "No ongoing transaction! !\nCan't commit a.pem!\n"),
        ("del ssl cert a.pem", IN_USE),
        ("show servers state nope", "Can't find backend.\n"),
        ("show stat nope 2 -1", "No such proxy.\n"),
        ("add map /hosts a b", "Permission denied\n"),
        ("show info", "Permission denied\n"),
        ("wait 1s", "Unknown command: 'wait', but maybe one of the following …\n"),
    ],
)
def test_anything_else_is_a_refusal(command: str, answer: str) -> None:
    with pytest.raises(CommandRefusedError) as caught:
        check(command, answer)
    assert caught.value.answer == answer.strip()


@pytest.mark.parametrize(
    "answer",
    [
        "No such server.\n",
        "No such backend.\n",
        "No such proxy.\n",
        "entry not found.\n",
        "Key not found.\n",
        "Can't find backend.\n",
        "Failed. No such backend.\n",
        "Failed. No such server.\n",
        "Server x/s is UP/READY (leaving forced maintenance).\nNo such server.\n",
        "Can't remove the certificate: certificate 'm.pem' doesn't exist!\n",
        "Can't remove the CA file: CA file 'ca.pem' doesn't exist!\n",
        "Can't delete the entry: certificate 'm.pem' can't be found in crt-list '/list'!\n",
    ],
)
def test_absence_is_told_from_other_refusals(answer: str) -> None:
    assert is_absent(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Server deleted.\n",
        # Not the entry but the whole map is missing.
        "Unknown map identifier. Please use #<id> or <file>.\n",
        "Can't edit the crt-list: certificate 'no.pem' does not exist!\n",
        "Can't remove the certificate: certificate 'm.pem' in use, can't be deleted!\n",
    ],
)
def test_other_answers_are_not_absence(answer: str) -> None:
    assert not is_absent(answer)
