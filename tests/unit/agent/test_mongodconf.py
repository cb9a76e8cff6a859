"""Merging net.tls keeps everything else of a mongod.conf as it stands."""

from __future__ import annotations

import pytest

from frontserver.agent.errors import LocalError
from frontserver.agent.mongodconf import merge
from frontserver.wire.certificates import MongoNetTls

TLS = MongoNetTls(certificate_key_file="/ssl/mongodb.pem", ca_file="/ssl/ca.crt")
BLOCK = """\
  tls:
    mode: requireTLS
    certificateKeyFile: /ssl/mongodb.pem
    CAFile: /ssl/ca.crt
    allowConnectionsWithoutCertificates: true
"""
PARAMETER = """\
setParameter:
  suppressNoTLSPeerCertificateWarning: true
"""

PACKAGED = """\
# mongod.conf

# Where and how to store data.
storage:
  dbPath: /var/lib/mongodb
#  engine:

# where to write logging data.
systemLog:
  destination: file
  path: "/var/log/mongodb/mongod.log"   # quoted

# network interfaces
net:
  port: 27017
  bindIp: 10.0.0.1  # reachable
{tls}

# how the process runs
processManagement:
  timeZoneInfo: /usr/share/zoneinfo

#security:
"""


def test_a_packaged_configuration_gains_just_the_settings() -> None:
    before = PACKAGED.replace("{tls}\n", "")
    merged = merge(before, TLS)
    assert merged.text == PACKAGED.replace("{tls}\n", BLOCK) + PARAMETER
    assert merged.changed
    assert merged.remarks == ()


def test_merging_again_changes_nothing() -> None:
    once = merge(PACKAGED.replace("{tls}\n", ""), TLS).text
    again = merge(once, TLS)
    assert (again.text, again.changed) == (once, False)


def test_values_that_are_there_leave_the_text_byte_for_byte() -> None:
    text = """
net: { "tls" : {mode: requireTLS,   certificateKeyFile: '/ssl/mongodb.pem',
   CAFile: /ssl/ca.crt, allowConnectionsWithoutCertificates: true}}
setParameter:   {suppressNoTLSPeerCertificateWarning: true}   # odd, but right
"""
    assert merge(text, TLS).text == text


def test_existing_sections_keep_what_is_not_ours() -> None:
    text = """\
net:
    tls:
        mode: allowTLS # for now
        disabledProtocols: TLS1_0,TLS1_1

# storage comes next
storage:
    dbPath: /data
setParameter:
    ttlMonitorEnabled: false
"""
    assert (
        merge(text, TLS).text
        == """\
net:
    tls:
        mode: requireTLS # for now
        disabledProtocols: TLS1_0,TLS1_1
        certificateKeyFile: /ssl/mongodb.pem
        CAFile: /ssl/ca.crt
        allowConnectionsWithoutCertificates: true

# storage comes next
storage:
    dbPath: /data
setParameter:
    ttlMonitorEnabled: false
    suppressNoTLSPeerCertificateWarning: true
"""
    )


def test_lists_and_long_values_stay_as_they_are() -> None:
    long = " ".join(["word"] * 60)
    text = f"systemLog:\n  note: {long}\n  parts:\n    - a\n    - b\nnet:\n  bindIpAll: true\n"
    assert merge(text, TLS).text == text + BLOCK + PARAMETER


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "net:\nsetParameter:\n"])
def test_missing_and_empty_sections_are_made(text: str) -> None:
    merged = merge(text, TLS).text
    assert BLOCK in merged
    assert PARAMETER in merged


def test_a_flag_is_not_a_number() -> None:
    text = f"net:\n{BLOCK}setParameter:\n  suppressNoTLSPeerCertificateWarning: 1\n"
    assert merge(text, TLS).text == f"net:\n{BLOCK}{PARAMETER}"


@pytest.mark.parametrize(
    ("net", "remarked"),
    [
        ("port: 27017", True),
        ("bindIp: 127.0.0.1", True),
        ("bindIp: 'localhost, ::1'", True),
        ("bindIp: 127.0.0.1,10.0.0.1", False),
        ("bindIpAll: true", False),
    ],
)
def test_listening_on_loopback_only_is_remarked(net: str, remarked: bool) -> None:
    assert bool(merge(f"net:\n  {net}\n", TLS).remarks) is remarked


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("net: [", "isn't valid YAML"),
        ("net: {port: 1}\nnet: {port: 2}\n", "isn't valid YAML"),
        ("- a\n", "isn't a YAML mapping"),
        ("net: 5\n", "net in the configuration isn't a mapping"),
        ("net:\n  tls: yes\n", "tls in the configuration isn't a mapping"),
        ("net:\n  ssl:\n    mode: requireSSL\n", r"remove net\.ssl"),
    ],
)
def test_what_cannot_be_merged_is_refused(text: str, reason: str) -> None:
    with pytest.raises(LocalError, match=reason):
        merge(text, TLS)
