"""Merging the front server's TLS settings into a mongod.conf, keeping all else as it stands."""

from __future__ import annotations

import io
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import CommentMark, YAMLError
from ruamel.yaml.tokens import CommentToken
from ruamel.yaml.util import load_yaml_guess_indent

from frontserver.agent.errors import LocalError
from frontserver.wire.certificates import MongoNetTls

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Merged(msgspec.Struct, frozen=True):
    """The new text (the old one, byte for byte, if nothing changes) and remarks for people."""

    text: str
    changed: bool
    remarks: tuple[str, ...] = ()


def merge(text: str, tls: MongoNetTls) -> Merged:
    """Set `net.tls` and silence the warning about clients without certificates.

    Raises `LocalError` if the text isn't a mongod configuration that can be merged into.
    """
    yaml, document = _read(text)
    net = _section(document, "net")
    if "ssl" in net:
        raise LocalError(
            "the configuration has a net.ssl section, which mongod refuses beside net.tls",
            hint="remove net.ssl, then run this again",
        )
    wanted = msgspec.to_builtins(tls)
    tail = _detach_tail(net) if "tls" not in net else ""
    changed = _set(_section(net, "tls"), wanted)
    _attach_tail(net, tail)
    changed |= _set(
        _section(document, "setParameter"), {"suppressNoTLSPeerCertificateWarning": True}
    )
    remarks = _remarks(net)
    if not changed:
        return Merged(text, False, remarks)
    out = io.StringIO()
    yaml.dump(document, out)
    merged = out.getvalue()
    _verify(merged, wanted)
    return Merged(merged, True, remarks)


def _read(text: str) -> tuple[YAML, CommentedMap]:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 16  # Never fold a long value.
    try:
        document, indent, dash = load_yaml_guess_indent(text, yaml=yaml)
    except (YAMLError, IndexError) as error:
        first = str(error).splitlines()
        raise LocalError(f"the configuration isn't valid YAML: {'; '.join(first[:4])}") from error
    if indent is not None:
        yaml.indent(mapping=_mapping_indent(text) or indent, sequence=indent, offset=dash or 0)
    if document is None:
        document = CommentedMap()
    if not isinstance(document, CommentedMap):
        raise LocalError("the configuration isn't a YAML mapping of sections")
    return yaml, document


def _mapping_indent(text: str) -> int | None:
    """The spaces before the first line that is indented."""
    for line in text.splitlines():
        spaces = len(line) - len(line.lstrip(" "))
        if spaces and line.strip() and line.lstrip(" ")[0] not in "#-":
            return spaces
    return None


def _section(parent: CommentedMap, name: str) -> CommentedMap:
    """The mapping under `name`, made if it is missing or empty."""
    section = parent.get(name)
    if section is None:
        section = parent[name] = CommentedMap()
    if not isinstance(section, CommentedMap):
        raise LocalError(f"{name} in the configuration isn't a mapping")
    return section


def _set(section: CommentedMap, values: dict[str, Any]) -> bool:
    """Set what differs; whether anything did."""
    different = {name: v for name, v in values.items() if not _same(section.get(name), v)}
    if different:
        tail = _detach_tail(section)
        section.update(different)
        _attach_tail(section, tail)
    return bool(different)


def _same(old: object, new: object) -> bool:
    return old == new and isinstance(old, bool) == isinstance(new, bool)


# ruamel hangs the comments that stand before the next section on the last value of this one:
# what is appended would come after them. So they are taken off, and hung on the new last value.


def _last(section: CommentedMap) -> tuple[CommentedMap, Any] | None:
    """The innermost mapping that holds the section's last value, and its key there."""
    if not section:
        return None
    key = next(reversed(section))
    value = section[key]
    return (_last(value) if isinstance(value, CommentedMap) else None) or (section, key)


def _detach_tail(section: CommentedMap) -> str:
    """Take off the lines (blank or comment) that follow the section's last value."""
    last = _last(section)
    if last is None:
        return ""
    holder, key = last
    tokens = holder.ca.items.get(key)
    if not tokens or tokens[2] is None:
        return ""
    own, separator, tail = tokens[2].value.partition("\n")
    if own:
        tokens[2].value = own + separator
    else:
        tokens[2] = None
    return str(tail)


def _attach_tail(section: CommentedMap, tail: str) -> None:
    last = _last(section)
    if not tail or last is None:
        return
    holder, key = last
    tokens = holder.ca.items.setdefault(key, [None, None, None, None])
    own = tokens[2].value if tokens[2] is not None else "\n"
    tokens[2] = CommentToken(own + tail, CommentMark(0), None)


def _verify(text: str, wanted: dict[str, Any]) -> None:
    """Read back what was written, as mongod will."""
    again = YAML(typ="safe").load(text)
    if not wanted.items() <= again["net"]["tls"].items():
        raise LocalError("the merged configuration doesn't read back; nothing was changed")


def _remarks(net: CommentedMap) -> tuple[str, ...]:
    bound = {part.strip() for part in str(net.get("bindIp", "localhost")).split(",")}
    if net.get("bindIpAll") is not True and bound <= _LOOPBACK:
        return ("mongod listens on loopback only: set net.bindIp so that the front server gets in",)
    return ()
