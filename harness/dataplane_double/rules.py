"""Rules and binds, as JSON and as lines: those forms that the product and its tests use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.dataplane_double.document import Section
from harness.dataplane_double.errors import ApiError, unknown_here
from harness.dataplane_double.times import milliseconds, written

Json = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """Lines that begin with one keyword: `write` gives what follows it, `parse` reads that."""

    keyword: str
    write: Callable[[Json], str]
    parse: Callable[[list[str]], Json | None]

    def line(self, rule: Json) -> str:
        return f"{self.keyword} {self.write(rule)}{_condition(rule)}"

    def read(self, section: Section) -> list[Json]:
        """The rules of a section that are understood."""
        found = []
        for words in section.words(self.keyword):
            said, condition = _split(words)
            rule = self.parse(said)
            if rule is not None:
                found.append(rule | condition)
        return found


def bind_line(bind: Mapping[str, Any]) -> str:
    """`bind 127.0.0.1:443 name https ssl crt-list /list.txt`. Raises `ApiError`."""
    if unknown := set(bind) - {"name", "address", "port", *_BIND_SWITCHES, *_BIND_VALUES}:
        raise unknown_here(f"of binds: {', '.join(sorted(unknown))}")
    words = ["bind", f"{bind['address']}:{bind['port']}", f"name {bind['name']}"]
    words += [keyword for name, keyword in _BIND_SWITCHES.items() if bind.get(name)]
    words += [f"{kw} {bind[name]}" for name, kw in _BIND_VALUES.items() if name in bind]
    return " ".join(words)


def bind(words: list[str]) -> Json:
    """The bind of a line, of the words after `bind`; it is called by its address if by nothing."""
    address, _, port = words[0].rpartition(":")
    found: Json = {"name": words[0], "address": address, "port": int(port)}
    rest = iter(words[1:])
    switches = {keyword: name for name, keyword in _BIND_SWITCHES.items()}
    values = {keyword: name for name, keyword in _BIND_VALUES.items()}
    for word in rest:
        if word in switches:
            found[switches[word]] = True
        elif word in {"name", *values}:
            found[values.get(word, "name")] = next(rest)
    return found


_BIND_SWITCHES = {"ssl": "ssl", "strict_sni": "strict-sni"}
_BIND_VALUES = {"ssl_certificate": "crt", "crt_list": "crt-list", "alpn": "alpn"}


def _condition(rule: Json) -> str:
    return f" {rule['cond']} {rule['cond_test']}" if "cond" in rule else ""


def _split(words: list[str]) -> tuple[list[str], Json]:
    for cond in ("if", "unless"):
        if cond in words:
            at = words.index(cond)
            return words[:at], {"cond": cond, "cond_test": " ".join(words[at + 1 :])}
    return words, {}


def _pairs(words: list[str]) -> dict[str, str]:
    return dict(zip(words[::2], words[1::2], strict=False))


# --- acl, use_backend ---


def _parse_acl(words: list[str]) -> Json:
    return {"acl_name": words[0], "criterion": words[1], "value": " ".join(words[2:])}


ACLS = Form(
    "acl", lambda rule: f"{rule['acl_name']} {rule['criterion']} {rule['value']}", _parse_acl
)
SWITCHING = Form("use_backend", lambda rule: str(rule["name"]), lambda words: {"name": words[0]})


# --- tcp-request ---


def _write_tcp(rule: Json) -> str:
    if rule["type"] == "inspect-delay":
        return f"inspect-delay {written(rule['timeout'])}"
    if rule["type"] == "content" and rule.get("action") in {"accept", "reject"}:
        return f"content {rule['action']}"
    raise _unknown("tcp-request", rule)


def _parse_tcp(words: list[str]) -> Json | None:
    match words:
        case ["inspect-delay", delay]:
            return {"type": "inspect-delay", "timeout": milliseconds(delay)}
        case ["content", "accept" | "reject" as action]:
            return {"type": "content", "action": action}
        case _:
            return None


TCP_REQUESTS = Form("tcp-request", _write_tcp, _parse_tcp)


# --- http-request ---


def _write_http(rule: Json) -> str:
    match rule:
        case {"type": "return", "return_status_code": status}:
            return f"return status {status}{_returned(rule)}"
        case {"type": "redirect", "redir_type": kind, "redir_value": value}:
            code = f" code {rule['redir_code']}" if "redir_code" in rule else ""
            return f"redirect {kind} {value}{code}"
        case {"type": "set-var", "var_scope": scope, "var_name": name, "var_expr": expression}:
            return f"set-var({scope}.{name}) {expression}"
        case {"type": "set-header", "hdr_name": name, "hdr_format": form}:
            return f"set-header {name} {form}"
        case {"type": "deny"}:
            return f"deny deny_status {rule['deny_status']}" if "deny_status" in rule else "deny"
        case _:
            raise _unknown("http-request", rule)


def _returned(rule: Json) -> str:
    text = ""
    if "return_content_type" in rule:
        text += f" content-type {rule['return_content_type']}"
    if "return_content" in rule:
        text += f" {rule['return_content_format']} {rule['return_content']}"
    headers = (f" hdr {header['name']} {header['fmt']}" for header in rule.get("return_hdrs", ()))
    return text + "".join(headers)


def _parse_http(words: list[str]) -> Json | None:
    match words:
        case ["return", "status", status, *rest]:
            return {"type": "return", "return_status_code": int(status)} | _parse_returned(rest)
        case ["redirect", kind, value, *rest]:
            rule: Json = {"type": "redirect", "redir_type": kind, "redir_value": value}
            return rule | ({"redir_code": int(rest[1])} if rest[:1] == ["code"] else {})
        case ["set-header", name, form]:
            return {"type": "set-header", "hdr_name": name, "hdr_format": form}
        case ["deny", *rest]:
            status_of = _pairs(rest).get("deny_status")
            return {"type": "deny"} | ({"deny_status": int(status_of)} if status_of else {})
        case [action, expression] if action.startswith("set-var("):
            scope, _, name = action.removeprefix("set-var(").removesuffix(")").partition(".")
            variable = {"var_scope": scope, "var_name": name, "var_expr": expression}
            return {"type": "set-var"} | variable
        case _:
            return None


def _parse_returned(words: list[str]) -> Json:
    found: Json = {}
    headers = []
    rest = iter(words)
    for word in rest:
        if word == "content-type":
            found["return_content_type"] = next(rest)
        elif word == "hdr":
            headers.append({"name": next(rest), "fmt": next(rest)})
        else:
            found |= {"return_content_format": word, "return_content": next(rest)}
    return found | ({"return_hdrs": headers} if headers else {})


HTTP_REQUESTS = Form("http-request", _write_http, _parse_http)


def _unknown(keyword: str, rule: Json) -> ApiError:
    return unknown_here(f"this {keyword} rule: {rule}")
