"""A server as JSON, as a line of a configuration, and as a runtime command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from harness.dataplane_double.errors import unknown_here
from harness.dataplane_double.times import milliseconds, written

Json = dict[str, Any]


class _Word(NamedTuple):
    """A property and its keyword: a switch, one with a value, with a time in ms, or with many."""

    name: str
    keyword: str
    kind: Literal["on", "off", "value", "number", "time", "list"]


_VALUES = {
    "agent-addr": "agent-addr",
    "agent-send": "agent-send",
    "alpn": "alpn",
    "ssl_cafile": "ca-file",
    "check_alpn": "check-alpn",
    "health_check_address": "addr",
    "check_proto": "check-proto",
    "check-sni": "check-sni",
    "ciphers": "ciphers",
    "ciphersuites": "ciphersuites",
    "cookie": "cookie",
    "crl_file": "crl-file",
    "ssl_certificate": "crt",
    "init-addr": "init-addr",
    "observe": "observe",
    "on-error": "on-error",
    "on-marked-down": "on-marked-down",
    "on-marked-up": "on-marked-up",
    "proto": "proto",
    "resolvers": "resolvers",
    "sni": "sni",
    "ssl_max_ver": "ssl-max-ver",
    "ssl_min_ver": "ssl-min-ver",
    "track": "track",
    "verify": "verify",
    "verifyhost": "verifyhost",
    "ws": "ws",
}
_NUMBERS = {
    "agent-port": "agent-port",
    "health_check_port": "port",
    "error_limit": "error-limit",
    "fall": "fall",
    "maxconn": "maxconn",
    "maxqueue": "maxqueue",
    "minconn": "minconn",
    "pool_low_conn": "pool-low-conn",
    "pool_max_conn": "pool-max-conn",
    "rise": "rise",
    "weight": "weight",
}
_TIMES = {
    "agent-inter": "agent-inter",
    "downinter": "downinter",
    "fastinter": "fastinter",
    "inter": "inter",
    "pool_purge_delay": "pool-purge-delay",
    "slowstart": "slowstart",
}
_SWITCHES = {
    "agent-check": "agent-check",
    "backup": "backup",
    "check": "check",
    "check-send-proxy": "check-send-proxy",
    "check-ssl": "check-ssl",
    "maintenance": "disabled",
    "send-proxy": "send-proxy",
    "send-proxy-v2": "send-proxy-v2",
    "send_proxy_v2_ssl": "send-proxy-v2-ssl",
    "ssl": "ssl",
    "tfo": "tfo",
}
_OPPOSITES = {
    "maintenance": "enabled",
    "ssl_reuse": "no-ssl-reuse",
    "tls_tickets": "no-tls-tickets",
}
_WORDS = (
    *(_Word(name, keyword, "on") for name, keyword in _SWITCHES.items()),
    *(_Word(name, keyword, "off") for name, keyword in _OPPOSITES.items()),
    *(_Word(name, keyword, "value") for name, keyword in _VALUES.items()),
    *(_Word(name, keyword, "number") for name, keyword in _NUMBERS.items()),
    *(_Word(name, keyword, "time") for name, keyword in _TIMES.items()),
    _Word("proxy-v2-options", "proxy-v2-options", "list"),
)
_BY_KEYWORD = {word.keyword: word for word in _WORDS}

_KNOWN = frozenset({"name", "address", "port", *(word.name for word in _WORDS)})
# What a change is made at run time for; any other change is a reload.
CHANGEABLE = frozenset(
    {"weight", "address", "port", "maintenance", "agent-check", "agent-addr", "agent-send"}
    | {"health_check_port"}
)


def line(server: Mapping[str, Any]) -> str:
    """The line in a configuration, `server s1 127.0.0.1:80 check`. Raises `ApiError`."""
    _require_known(server)
    words = (_in_file(word, server[word.name]) for word in _present(server))
    return " ".join(["server", server["name"], _address(server), *filter(None, words)])


def attributes(server: Mapping[str, Any], version: tuple[int, int]) -> str:
    """What follows the name in `add server`; each word has a space before it.

    Newer HAProxys are not told `enabled`, so a server is in maintenance whatever was asked for.
    Raises `ApiError`.
    """
    _require_known(server)
    words = [
        word
        for word in _present(server)
        if not (word.keyword == "enabled" and version >= (3, 0)) and word.name != "cookie"
    ]
    said = (_at_runtime(word, server[word.name]) for word in words)
    return "".join(f" {text}" for text in [_address(server), *filter(None, said)])


def read(words: list[str]) -> Json:
    """The server of a line, of the words after `server`; unknown words are passed over."""
    address, colon, port = words[1].rpartition(":")
    server: Json = {"name": words[0], "address": address if colon else words[1]}
    if colon:
        server["port"] = int(port)
    rest = iter(words[2:])
    for keyword in rest:
        word = _BY_KEYWORD.get(keyword)
        if word is not None:
            server[word.name] = _value(word, rest)
    return server


def differences(new: Mapping[str, Any], old: Mapping[str, Any]) -> set[str]:
    """The properties whose values differ."""
    return {name for name in new.keys() | old.keys() if new.get(name) != old.get(name)}


def _require_known(server: Mapping[str, Any]) -> None:
    if unknown := set(server) - _KNOWN:
        raise unknown_here(f"of servers: {', '.join(sorted(unknown))}")


def _present(server: Mapping[str, Any]) -> Iterator[_Word]:
    return (word for word in _WORDS if server.get(word.name) is not None)


def _address(server: Mapping[str, Any]) -> str:
    port = server.get("port")
    return f"{server['address']}:{port}" if port is not None else server["address"]


def _in_file(word: _Word, value: Any) -> str:
    if word.kind == "time":
        return f"{word.keyword} {written(value)}"
    return _at_runtime(word, value)


def _at_runtime(word: _Word, value: Any) -> str:
    if word.kind in {"on", "off"}:
        wanted = "enabled" if word.kind == "on" else "disabled"
        return word.keyword if value == wanted else ""
    if word.kind == "list":
        return f"{word.keyword} {','.join(value)}"
    return f"{word.keyword} {value}"


def _value(word: _Word, rest: Iterator[str]) -> Any:
    if word.kind == "on":
        return "enabled"
    if word.kind == "off":
        return "disabled"
    text = next(rest, "")
    if word.kind == "number":
        return int(text)
    if word.kind == "time":
        return milliseconds(text)
    return text.split(",") if word.kind == "list" else text
