"""A configuration cut down to what a throwaway process may load: same rules, none of its doors.

Kept are the `defaults` sections, the slots, and whatever they may refer to (user lists, caches,
tables, scripts). What would listen, write, log to a file of somebody's, or need rights goes.
Pure text; the words are those of the HAProxy configuration manual, sections 3 and 4.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

# Ids of profiles, and their slots.
_PROFILE = re.compile(r"p[0-9a-f]{12}(\.[0-9]+)?")
_SECTIONS = frozenset(
    {
        *("acme", "backend", "cache", "crt-store", "defaults", "fcgi-app", "frontend", "global"),
        *("healthcheck", "http-errors", "listen", "log-forward", "log-profile", "mailers"),
        *("peers", "program", "resolvers", "ring", "traces", "userlist"),
    }
)
# They listen, run programs, or belong to what listens.
_LEFT_OUT = frozenset(
    {"acme", "crt-store", "frontend", "listen", "log-forward", "program", "traces"}
)
# By section: lines that would touch what belongs to the real process, or need its rights.
_DROPPED = {
    "global": frozenset(
        {
            *("chroot", "daemon", "default-path", "description", "expose-fd", "fd-hard-limit"),
            *("gid", "group", "grace", "hard-stop-after", "localpeer", "log", "master-worker"),
            *("maxconn", "mworker-max-reloads", "nbthread", "node", "pidfile", "presetenv-file"),
            *("server-state-base", "server-state-file", "set-dumpable", "setcap", "shm-stats-file"),
            *("shm-stats-file-max-objects", "stats", "stats-file", "uid", "ulimit-n", "unix-bind"),
            *("user", "cpu-map", "cpu-set", "cpu-policy", "thread-groups", "thread-group"),
            *("numa-cpu-mapping", "prealloc-fd", "zero-warning"),
        }
    ),
    # Slots and tables are kept, and nobody's servers: a trial has its own.
    "backend": frozenset({"server", "server-template", "use-server"}),
    "defaults": frozenset({"load-server-state-from-file"}),
    "peers": frozenset({"bind"}),
    "ring": frozenset({"backing-file", "server"}),
}
# Two threads: enough that a worker has to stop another one as it does when many run.
_HEAD = """\
global
    default-path config
    stats socket unix@{directory}/{runtime} mode 600 level admin
    nbthread 2
    maxconn 500

defaults throwaway
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s

"""
RUNTIME = "rt.sock"


class Section(msgspec.Struct, frozen=True):
    """A section as it was written: the words of its first line, and all of its lines."""

    words: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.words[1] if len(self.words) > 1 else ""

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


class Excerpt(msgspec.Struct, frozen=True):
    """What a throwaway process loads: the `base`, and of each profile its own sections.

    Without sockets, directories and names of generations, so that equal content is equal text.
    """

    base: str
    profiles: dict[str, tuple[Section, ...]]

    def text(self, directory: Path, *profile_ids: str) -> str:
        """The configuration with these profiles, for a process whose sockets are in `directory`."""
        head = _HEAD.format(directory=directory, runtime=RUNTIME)
        own = (section.text for one in profile_ids for section in self.profiles[one])
        return head + self.base + "".join(own)


def excerpt(texts: Mapping[str, str], profile_ids: frozenset[str], *, slots: int) -> Excerpt:
    """Cut a rendered configuration down; `texts` maps file names to texts, in HAProxy's order.

    Profiles get slots 0 to `slots - 1`, as written in `texts` but without a server, or else empty
    ones; other profiles are left out. Raises `KeyError` for a profile that isn't there.
    """
    base: list[str] = []
    profiles: dict[str, list[Section]] = {}
    written: dict[str, Section] = {}
    for section in _sections("".join(text for _, text in sorted(texts.items()))):
        if section.words[0] not in {"defaults", "backend"} or not _PROFILE.fullmatch(section.name):
            base.append(_cut(section).text)
        elif section.name in profile_ids:
            profiles.setdefault(section.name, []).append(_cut(section))
        else:
            written[section.name] = _cut(section)
    return Excerpt(
        "".join(base),
        {
            profile_id: (
                *profiles[profile_id],
                *(
                    written.get(name) or Section((), (f"backend {name} from {profile_id}",))
                    for name in (f"{profile_id}.{slot}" for slot in range(slots))
                ),
            )
            for profile_id in sorted(profile_ids)
        },
    )


def _sections(text: str) -> Iterator[Section]:
    words: tuple[str, ...] = ("",)
    lines: list[str] = []
    for line in text.splitlines():
        found = tuple(line.partition("#")[0].split())
        if found and found[0] in _SECTIONS:
            yield Section(words, tuple(lines))
            words, lines = found, []
        if found:
            lines.append(line)
    yield Section(words, tuple(lines))


def _cut(section: Section) -> Section:
    kind = section.words[0]
    if kind in _LEFT_OUT:
        kept = [line for line in section.lines if _is_condition(line)]
    else:
        dropped = _DROPPED.get(kind, frozenset())
        kept = [line for line in section.lines if line.split(maxsplit=1)[0] not in dropped]
    return Section(section.words, tuple(kept))


def _is_condition(line: str) -> bool:
    """`.if` and the like reach beyond the section that they stand in."""
    return line.lstrip().startswith(".")
