"""What a site suffers: kills, reloads, edits of files, other versions. Nothing here waits to heal.

Each is a function of a site that says `during()` while the fault lasts, so that agents may go on
asking for changes (which are stored then, and not live).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from harness.haproxy import ExternalHaproxy, ask
from harness.polling import until
from tests.stateful.site import Site

During = Callable[[], None]
Fault = Callable[[Site, During], None]


def kill_front(site: Site, during: During) -> None:
    """SIGKILL to the front server, which then finds a HAProxy that runs."""
    site.stack.front.kill()
    site.agree_for_visitors()
    site.stack.front.start(ready=False)
    during()


def restart_front(site: Site, during: During) -> None:
    """The front server is stopped as its operator does, and started."""
    site.stack.front.stop(haproxy=False)
    site.agree_for_visitors()
    site.stack.front.start(ready=False)
    during()


def kill_haproxy(site: Site, during: During) -> None:
    """SIGKILL to HAProxy, and what brings it back."""
    _await_haproxy(site)
    site.stack.front.kill_haproxy()
    during()
    site.stack.front.revive_haproxy()


def kill_both(site: Site, during: During) -> None:
    """SIGKILL to the front server and to HAProxy."""
    front = site.stack.front
    _await_haproxy(site)
    front.kill()
    front.kill_haproxy()
    front.start(ready=False)
    during()


def reload_haproxy(site: Site, during: During) -> None:
    """Somebody reloads HAProxy, and the front server isn't told."""
    _reload(site)
    during()


def replace_program(site: Site, during: During) -> None:
    """An upgrade or a downgrade replaces HAProxy's program, and reloads it."""
    versions = site.exchange.versions
    site.exchange.use(versions[versions.index(site.exchange.version) - 1])
    _reload(site)
    during()


def kill_dataplane(site: Site, during: During) -> None:
    """SIGKILL to the Data Plane API, and what brings it back."""
    dataplane = site.stack.dataplane
    assert dataplane is not None
    dataplane.kill()
    site.agree_for_visitors()
    during()
    dataplane.start()


def kill_dataplane_and_front(site: Site, during: During) -> None:
    """SIGKILL to the Data Plane API and to the front server; HAProxy goes on."""
    dataplane = site.stack.dataplane
    assert dataplane is not None
    site.stack.front.kill()
    dataplane.kill()
    site.agree_for_visitors()
    site.stack.front.start(ready=False)
    during()
    dataplane.start()


def leave_files_alone(site: Site, during: During) -> None:
    """Both are killed, and HAProxy is started from its files alone: they have all that ran."""
    front, dataplane = site.stack.front, site.stack.dataplane
    _await_haproxy(site)
    site.until_written()
    front.kill()
    front.kill_haproxy()
    haproxy = _haproxy_of_files(site) if dataplane is None else dataplane.haproxy
    haproxy.start()
    site.agree_for_visitors()
    if dataplane is None:
        haproxy.stop()
    front.start(ready=False)
    during()
    if dataplane is not None:
        dataplane.restart()


def _haproxy_of_files(site: Site) -> ExternalHaproxy:
    front = site.stack.front
    return ExternalHaproxy(
        site.exchange.program,
        [front.config_dir / "current"],
        front.sockets,
        log=site.stack.directory / "haproxy-alone.log",
        machine=front.machine,
    )


def exchange_haproxy(site: Site, version: str, during: During) -> None:
    """HAProxy is stopped as its operator does, and started as another version."""
    front, dataplane = site.stack.front, site.stack.dataplane
    if dataplane is not None:
        dataplane.haproxy.stop()
        site.exchange.use(version)
        during()
        front.revive_haproxy()
        return
    front.stop()
    site.exchange.use(version)
    front.start(ready=False)
    during()


def _reload(site: Site) -> None:
    """Whatever comes of it: with files that somebody spoiled HAProxy refuses."""
    _await_haproxy(site)
    if not site.edited:
        site.stack.front.reload_haproxy()
        return
    with contextlib.suppress(OSError):
        ask(site.stack.front.sockets.master, "reload")


def _await_haproxy(site: Site) -> None:
    """Wait until HAProxy is back from the fault before."""
    until(
        "HAProxy's worker answers",
        site.stack.front.sockets.worker_pid,
        quiet=(OSError,),
        detail=site.stack.front.tail,
    )


FAULTS: dict[str, Fault] = {
    each.__name__: each
    for each in (
        kill_front,
        restart_front,
        kill_haproxy,
        kill_both,
        reload_haproxy,
        replace_program,
    )
}
# While these last the front server answers.
BEHIND: dict[str, Fault] = {
    each.__name__: each for each in (kill_haproxy, reload_haproxy, replace_program)
}
DATAPLANE_FAULTS: dict[str, Fault] = {
    each.__name__: each for each in (kill_dataplane, kill_dataplane_and_front)
}


# --- edits of what HAProxy reads, as hands and broken disks make them ---


def drop_entry(place: Path) -> None:
    """Take the last entry out of each map that has one."""
    for path in _maps(place):
        lines = path.read_text().splitlines(keepends=True)
        entries = [n for n, line in enumerate(lines) if line.strip() and line[0] != "#"]
        if entries:
            del lines[entries[-1]]
            _write(path, "".join(lines))


def stray_entries(place: Path) -> None:
    """Lead a host that nobody has to where each map leads last."""
    for path in _maps(place):
        words = [line.split() for line in path.read_text().splitlines()]
        found = [each for each in words if len(each) == 2 and "." in each[0]]
        if found:
            domain = found[-1][0].partition(".")[2]
            _write(path, f"{path.read_text()}stray.{domain} {found[-1][1]}\n")


def cut_short(place: Path) -> None:
    """Leave half of the last line of each map."""
    for path in _maps(place):
        _write(path, path.read_text()[:-10])


def empty_maps(place: Path) -> None:
    """Empty every map."""
    for path in _maps(place):
        _write(path, "")


def spoil_configuration(place: Path) -> None:
    """A line that HAProxy refuses, at the end of the last file."""
    last = max(place.glob("*.cfg"))
    _write(last, f"{last.read_text()}\n    nonsense here\n")


def lose_configuration(place: Path) -> None:
    """The last file is gone."""
    max(place.glob("*.cfg")).unlink()


EDITS: dict[str, Callable[[Path], None]] = {
    each.__name__: each
    for each in (
        drop_entry,
        stray_entries,
        cut_short,
        empty_maps,
        spoil_configuration,
        lose_configuration,
    )
}


def edit_files(site: Site, edit: str) -> None:
    """Change what is on disk for HAProxy, on the file backend."""
    site.edited = True
    EDITS[edit](site.stack.front.config_dir / "current")


def _maps(place: Path) -> list[Path]:
    return sorted((place / "maps").glob("*.map"))


def _write(path: Path, text: str) -> None:
    """As an editor does: another file takes the place."""
    changed = path.with_suffix(".edited")
    changed.write_text(text)
    changed.replace(path)


def quiet() -> None:
    """Nobody asks for anything meanwhile."""
