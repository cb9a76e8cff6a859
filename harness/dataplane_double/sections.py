"""Whole sections as JSON and as lines: `defaults`, `frontend`, `backend` with what is in them.

The forms are those that the product and its tests use. What isn't known here is refused with 501
instead of being dropped; lines that aren't known can't be seen in JSON, as with the real one.
"""

from __future__ import annotations

from typing import Any

from harness.dataplane_double import rules, servers
from harness.dataplane_double.document import Section
from harness.dataplane_double.times import milliseconds, written

Json = dict[str, Any]

_TIMEOUTS = {
    "http_request_timeout": "http-request",
    "queue_timeout": "queue",
    "check_timeout": "check",
    "connect_timeout": "connect",
    "client_timeout": "client",
    "server_timeout": "server",
    "tunnel_timeout": "tunnel",
    "http_keep_alive_timeout": "http-keep-alive",
}
_PLAIN = {"mode": "mode", "default_backend": "default_backend", "http_reuse": "http-reuse"}
_NUMBERS = {"maxconn": "maxconn", "retries": "retries", "fullconn": "fullconn"}
_LISTS = {
    "acl_list": rules.ACLS,
    "tcp_request_rule_list": rules.TCP_REQUESTS,
    "http_request_rule_list": rules.HTTP_REQUESTS,
    "backend_switching_rule_list": rules.SWITCHING,
}
_BASE_LINES = (
    *("mode", "balance", "timeout", "default_backend", "http-reuse", "maxconn", "retries"),
    "fullconn",
)


def section(kind: str, body: Json) -> Section:
    """The section of a body. Raises `ApiError` for what the double doesn't know."""
    return Section(
        kind, body["name"], origin=body.get("from", ""), lines=[*_base(body), *_children(body)]
    )


def replace(old: Section, body: Json, *, full: bool) -> Section:
    """`old` as `body` wants it; without `full` what is within it stays."""
    new = section(old.kind, body)
    if not full:
        new.lines += [line for line in old.lines if line.split()[0] not in _BASE_LINES]
    new.comments, new.remark = old.comments, old.remark
    return new


def body(section: Section, *, full: bool) -> Json:
    """The JSON of a section, with what is within it if `full`."""
    found: Json = {"name": section.name}
    if section.origin:
        found["from"] = section.origin
    for name, keyword in _TIMEOUTS.items():
        for words in section.words(f"timeout {keyword}"):
            found[name] = milliseconds(words[0])
    for name, keyword in _PLAIN.items():
        for words in section.words(keyword):
            found[name] = words[0]
    for name, keyword in _NUMBERS.items():
        for words in section.words(keyword):
            found[name] = int(words[0])
    for words in section.words("balance"):
        found["balance"] = {"algorithm": words[0]}
    return found | _found_children(section) if full else found


def binds(section: Section) -> list[Json]:
    return [rules.bind(words) for words in section.words("bind")]


def _base(body: Json) -> list[str]:
    lines = [f"{keyword} {body[name]}" for name, keyword in _PLAIN.items() if name in body]
    lines += [f"{keyword} {body[name]}" for name, keyword in _NUMBERS.items() if name in body]
    if "balance" in body:
        lines.append(f"balance {body['balance']['algorithm']}")
    return lines + [
        f"timeout {keyword} {written(body[name])}"
        for name, keyword in _TIMEOUTS.items()
        if name in body
    ]


def _children(body: Json) -> list[str]:
    lines = [rules.bind_line(bind) for bind in body.get("binds", {}).values()]
    for name, form in _LISTS.items():
        lines += [form.line(rule) for rule in body.get(name, ())]
    return lines + [servers.line(server) for server in body.get("servers", {}).values()]


def _found_children(section: Section) -> Json:
    found: Json = {}
    if bound := binds(section):
        found["binds"] = {bind["name"]: bind for bind in bound}
    for name, form in _LISTS.items():
        if known := form.read(section):
            found[name] = known
    if known := [servers.read(words) for words in section.words("server")]:
        found["servers"] = {server["name"]: server for server in known}
    return found
