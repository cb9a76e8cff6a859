"""What the runtime socket's reading commands print, as structs. Pure text parsing.

Source: HAProxy management guide, sections 9.1 (CSV) and 9.3 ("show info", "show servers state", …).
"""

from __future__ import annotations

import csv
import re

import msgspec

from frontserver.errors import ProxyError

_PID = re.compile(r"^Pid: (\d+)$", re.MULTILINE)
_STOPPING = re.compile(r"^Stopping: (\d+)$", re.MULTILINE)
_MAP_LINE = re.compile(r"0x[0-9a-f]+ (\S+)(?: (.*))?")
_MAP_SIZE = re.compile(r"^-?\d+ \((.+?)\) .*\bentry_cnt=(\d+)", re.MULTILINE)
# Words up to the first argument, alternative or colon.
_HELP_LINE = re.compile(r"  ([a-z][a-z-]*(?: +[a-z][a-z0-9-]*)*) *(?=[:<\[{(@]|$)")
_CONDITION = re.compile(r"^ *- ([a-z]+-removable)\b", re.MULTILINE)
_CA_FILE = re.compile(r"\*?(.+) - \d+ certificate\(s\)")

# Bits of srv_admin_state: maintenance forced, inherited, by a DNS failure; drain forced, inherited.
_ADMIN_MAINT = 0x01 | 0x02 | 0x20
_ADMIN_DRAIN = 0x08 | 0x10
_OPERATIONAL_STOPPED = 0


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """`show info` of a worker."""

    version: str
    pid: int
    uptime_s: int
    description: str
    node: str
    maxconn: int
    connections: int
    stopping: bool


class ServerState(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `show servers state`; `address` is empty for a server without one."""

    address: str
    port: int
    op_state: int  # 0 stopped, 1 starting, 2 running, 3 stopping
    admin_state: int  # bits: 1, 2, 0x20 maintenance; 8, 0x10 drain
    weight: int
    initial_weight: int
    check_status: int
    check_result: int
    check_state: int
    tls: bool

    @property
    def ready(self) -> bool:
        """Not in maintenance, not draining: takes new traffic as soon as it is healthy."""
        return not self.admin_state & (_ADMIN_MAINT | _ADMIN_DRAIN)

    @property
    def maintenance(self) -> bool:
        """Out of service by an operator's or a controller's word."""
        return bool(self.admin_state & _ADMIN_MAINT)

    @property
    def up(self) -> bool:
        """HAProxy would send it traffic, or is about to."""
        return self.op_state != _OPERATIONAL_STOPPED


class Sessions(msgspec.Struct, frozen=True):
    """How busy a backend is."""

    current: int
    queued: int

    @property
    def busy(self) -> bool:
        """Whether it has a session at all."""
        return bool(self.current or self.queued)


ServerStates = dict[str, dict[str, ServerState]]


def parse_info(text: str) -> Info:
    """Raises `ProxyError` if it isn't the answer of `show info`."""
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    try:
        return Info(
            version=fields["Version"],
            pid=int(fields["Pid"]),
            uptime_s=int(fields["Uptime_sec"]),
            description=fields.get("description", ""),
            node=fields.get("node", ""),
            maxconn=int(fields["Maxconn"]),
            connections=int(fields["CurrConns"]),
            stopping=fields.get("Stopping", "0") != "0",
        )
    except (KeyError, ValueError) as error:
        raise _unreadable("show info", text) from error


def parse_process(text: str) -> tuple[int, bool]:
    """The PID, and whether it is leaving, of `show info`; the rest of its lines isn't looked at.

    Raises `ProxyError` if it isn't that answer.
    """
    pid, stopping = _PID.search(text), _STOPPING.search(text)
    if pid is None or not text.startswith("Name: "):
        raise _unreadable("show info", text)
    return int(pid[1]), stopping is not None and stopping[1] != "0"


def parse_map(text: str) -> list[tuple[str, str]]:
    """`show map NAME`: keys and values in HAProxy's order; a value may hold spaces."""
    matches = (_MAP_LINE.fullmatch(line) for line in text.split("\n"))
    return [(match[1], match[2] or "") for match in matches if match]


def parse_map_value(text: str, key: str) -> str | None:
    """`get map NAME KEY`: the first entry whose key is exactly `key`, not a mere match of it."""
    # Nothing is escaped in this answer, so the value is what lies between the known parts.
    before = f', key="{key}", value="'
    for line in text.split("\n"):
        start, end = line.find(before), line.rfind('", type="')
        if 0 <= start < end and "found=yes" in line[:start]:
            return line[start + len(before) : end]
    return None


def parse_map_sizes(text: str) -> dict[str, int]:
    """`show map`: how many entries each map has, by the name it is loaded from."""
    return {match[1]: int(match[2]) for match in _MAP_SIZE.finditer(text)}


def parse_server_states(text: str) -> ServerStates:
    """`show servers state [BACKEND]`, file format 1; backends without servers don't appear."""
    lines = text.splitlines()
    header = next((n for n, line in enumerate(lines) if line.startswith("# be_id ")), None)
    if header is None:
        raise _unreadable("show servers state", text)
    names = lines[header].removeprefix("# ").split(" ")
    states: ServerStates = {}
    for line in lines[header + 1 :]:
        values = line.split(" ")
        if len(values) >= len(names):
            row = dict(zip(names, values, strict=False))
            states.setdefault(row["be_name"], {})[row["srv_name"]] = _server_state(row)
    return states


def _server_state(row: dict[str, str]) -> ServerState:
    address = row["srv_addr"]
    return ServerState(
        address="" if address == "-" else address,
        port=int(row["srv_port"]),
        op_state=int(row["srv_op_state"]),
        admin_state=int(row["srv_admin_state"]),
        weight=int(row["srv_uweight"]),
        initial_weight=int(row["srv_iweight"]),
        check_status=int(row["srv_check_status"]),
        check_result=int(row["srv_check_result"]),
        check_state=int(row["srv_check_state"]),
        tls=row.get("srv_use_ssl", "0") != "0",
    )


def parse_sessions(text: str) -> Sessions:
    """`show stat BACKEND 2 -1`: the backend's own line."""
    start = text.find("# pxname,")
    rows = csv.DictReader(text[max(start, 0) :].removeprefix("# ").splitlines())
    for row in rows:
        if row.get("svname") == "BACKEND":
            return Sessions(current=int(row["scur"]), queued=int(row["qcur"]))
    raise _unreadable("show stat", text)


def parse_names(text: str) -> list[str]:
    """`show ssl cert` and `show ssl crt-list`: names, without a transaction's that goes on."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and line[0] not in "#*"]


def parse_ca_files(text: str) -> list[str]:
    """`show ssl ca-file`: names of CA bundles in memory."""
    matches = (_CA_FILE.fullmatch(line) for line in parse_names(text))
    return [match[1] for match in matches if match]


def parse_help(text: str) -> frozenset[str]:
    """`help`: names of the commands that this socket's level allows, such as `add map`."""
    matches = (_HELP_LINE.match(line) for line in text.splitlines())
    return frozenset(" ".join(match[1].split()) for match in matches if match)


def parse_wait_conditions(text: str) -> frozenset[str]:
    """`wait -h`: what can be waited for, such as `srv-removable`."""
    return frozenset(_CONDITION.findall(text))


def parse_backends(text: str) -> list[str]:
    """`show backend`: names, those made at run time among them."""
    lines = text.splitlines()
    if "# name" not in lines:
        raise _unreadable("show backend", text)
    return [line for line in lines[lines.index("# name") + 1 :] if line]


def _unreadable(command: str, text: str) -> ProxyError:
    return ProxyError(f"the answer to {command!r} can't be read: {text[:200]!r}")
