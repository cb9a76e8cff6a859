"""Where traffic may go."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontserver.errors import InputError
from frontserver.model.targets import HostPort, TargetPolicy, TargetUrl

# -- host and port ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("203.0.113.7", "203.0.113.7:80"),
        ("Host.Example.com", "host.example.com:80"),
        ("2001:DB8::0:7", "[2001:db8::7]:80"),
    ],
)
def test_a_host_is_kept_in_its_normal_form(host: str, expected: str) -> None:
    assert str(HostPort(host, 80)) == expected


def test_only_literals_have_an_address() -> None:
    assert HostPort("203.0.113.7", 80).address == ip_address("203.0.113.7")
    assert HostPort("::1", 80).address == ip_address("::1")
    assert HostPort("host.example.com", 80).address is None


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_ports_outside_tcp_are_refused(port: int) -> None:
    with pytest.raises(InputError, match="1 to 65535"):
        HostPort("host", port)


@pytest.mark.parametrize("port", [1, 65535])
def test_ports_of_tcp_are_good(port: int) -> None:
    assert HostPort("host", port).port == port


@pytest.mark.parametrize("host", ["", "a b", "a\n", "127.1", "[::1]", "a%b", "host:80", "a/b"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(InputError):
        HostPort(host, 80)


def test_an_address_with_an_interface_is_refused() -> None:
    with pytest.raises(InputError, match="names an interface"):
        HostPort("fe80::1%eth0", 80)


# -- target URLs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("203.0.113.7", "http://203.0.113.7:80"),
        ("203.0.113.7:3000", "http://203.0.113.7:3000"),
        ("http://203.0.113.7:3000/", "http://203.0.113.7:3000"),
        ("HTTPS://Host.Example.com", "https://host.example.com:443"),
        ("https://host:8443", "https://host:8443"),
        ("http://[2001:db8::7]:3000", "http://[2001:db8::7]:3000"),
        ("[2001:db8::7]", "http://[2001:db8::7]:80"),
    ],
)
def test_a_target_url_is_scheme_host_and_port(text: str, expected: str) -> None:
    assert str(TargetUrl.parse(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "http:///",
        "ftp://host",
        "javascript://host",
        "http://host/path",
        "http://host?x",
        "http://host#x",
        "http://user@host",
        "http://user:password@host",
        "http://host:",
        "http://host:0",
        "http://host:65536",
        "http://host:123456",
        "http://host:80:80",
        "http://host :80",
        "http://host\n",
        "http://host:80\n",
        "http://ho%73t",
        "http://2130706433",
        "http://0x7f.1",
        "http://[203.0.113.7]",
        "http://[::1",
        "http://[::1]x",
        "http://[1:2]",
        "http://2001:db8::7",
        "http://http://host",
        "http://höst",
        "http://host:٣",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        TargetUrl.parse(text)


@given(st.text() | st.from_regex(r"https?://[^/]{1,20}", fullmatch=True))
def test_what_is_accepted_reads_back_as_itself(text: str) -> None:
    try:
        url = TargetUrl.parse(text)
    except InputError:
        return
    assert TargetUrl.parse(str(url)) == url
    assert str(url).isascii()
    assert not set(str(url)) & set(" \t\r\n\0'\"%\\#")


# -- the operator's policy --------------------------------------------------------------------

PUBLIC = TargetPolicy(private=False)
PRIVATE = TargetPolicy()
LOOPBACK = TargetPolicy(loopback=True)
EVERYTHING = TargetPolicy(loopback=True, networks=("0.0.0.0/0", "::/0"))


def allowed(policy: TargetPolicy, address: str, port: int = 3000) -> bool:
    return policy.refusal(ip_address(address), port) is None


@pytest.mark.parametrize(
    ("address", "public", "private", "loopback"),
    [
        ("93.184.215.14", True, True, True),
        ("2606:2800:21f::1", True, True, True),
        ("10.0.0.1", False, True, True),
        ("172.16.0.1", False, True, True),
        ("192.168.1.1", False, True, True),
        ("100.64.0.1", False, True, True),
        ("fd00::1", False, True, True),
        ("127.0.0.1", False, False, True),
        ("127.8.8.8", False, False, True),
        ("::1", False, False, True),
        ("::ffff:127.0.0.1", False, False, True),
        ("64:ff9b::7f00:1", False, False, True),
        ("2002:7f00:1::", False, False, True),
        ("::ffff:10.0.0.1", False, True, True),
        ("64:ff9b::5db8:d70e", True, True, True),
    ],
)
def test_the_policy_decides_by_kind_of_address(
    address: str, public: bool, private: bool, loopback: bool
) -> None:
    assert allowed(PUBLIC, address) == public
    assert allowed(PRIVATE, address) == private
    assert allowed(LOOPBACK, address) == loopback


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.1.1",
        "fe80::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "240.0.0.1",
    ],
)
def test_some_addresses_are_never_allowed(address: str) -> None:
    for policy in (PUBLIC, PRIVATE, LOOPBACK, EVERYTHING):
        assert not allowed(policy, address)


def test_networks_allow_what_they_hold_and_nothing_else() -> None:
    policy = TargetPolicy(networks=("10.1.0.0/16", "2001:db8::/32", "127.0.0.0/8"))
    assert allowed(policy, "10.1.2.3")
    assert allowed(policy, "2001:db8::1")
    assert allowed(policy, "127.0.0.1")
    assert not allowed(policy, "10.2.0.1")
    assert not allowed(policy, "93.184.215.14")
    assert allowed(policy, "::ffff:10.1.2.3")
    assert not allowed(TargetPolicy(networks=()), "93.184.215.14")


def test_the_front_server_is_no_target_of_its_own() -> None:
    policy = TargetPolicy(
        loopback=True, own_addresses=frozenset({"203.0.113.1"}), own_ports=frozenset({80, 8080})
    )
    refusal = policy.refusal(ip_address("203.0.113.1"), 80)
    assert refusal == "203.0.113.1:80 is the front server itself"
    assert not allowed(policy, "127.0.0.1", 8080)
    assert not allowed(policy, "::1", 8080)
    assert allowed(policy, "203.0.113.1", 3000)
    assert allowed(policy, "127.0.0.1", 3000)
    assert allowed(policy, "203.0.113.2", 80)


def test_the_front_server_is_no_target_even_where_its_network_is_allowed() -> None:
    policy = TargetPolicy(networks=("127.0.0.0/8",), own_ports=frozenset({80}))
    assert not allowed(policy, "127.0.0.1", 80)
    assert allowed(policy, "127.0.0.1", 81)
