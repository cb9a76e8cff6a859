"""What the canary does with each profile: the whole life of a route on it, command by command.

The commands and their order are those that the file backend uses for a real route; a server's
arguments come from where it takes them too (`planning.serverline`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from frontserver.errors import CommandRefusedError, ProxyError, ProxyUnavailableError
from frontserver.haproxy import origin as ends
from frontserver.haproxy.answers import check
from frontserver.haproxy.commands import Command
from frontserver.haproxy.origin import Origin
from frontserver.haproxy.throwaway import Throwaway
from frontserver.planning.compiled import (
    HOSTS,
    MAPS,
    SNI,
    TIMEOUT_SERVER,
    TIMEOUT_TUNNEL,
    VALUES,
    CheckTiming,
    MapEntry,
    Profile,
    Server,
    ServerTls,
)
from frontserver.planning.layout import backend_name
from frontserver.planning.serverline import arguments

# Static slots that a trial needs: a plain origin's, and one's that speaks TLS.
SLOTS = 2

_CA_FILE = "certs/canary-ca.pem"
_HTTP_SOCKET = "http.sock"
_TCP_SOCKET = "tcp.sock"
# A new server's first check comes after its interval: so it is short, but not so short that the
# checks of many keep the origin busy. Milliseconds.
_INTERVAL = 20
_INTERVAL_EACH = 5
_LONGEST_INTERVAL = 500
_REQUESTS = 2
_ANSWER_WITHIN = 2.0
# Seconds of computing meanwhile that an idle worker never needs.
_HANGS_FROM = 0.2
# HAProxy itself ends a thread that has computed for 2 s without a pause, and says where it was.
_WATCHDOG = 2.0
_CHECKED_WITHIN = 3.0
_REMOVED_WITHIN = 3.0
_POLL = 0.003
# HAProxy's `enum healthcheck_status`: from here on a check has come to an end.
_CHECKED = 3


class EndedError(ProxyError):
    """The throwaway process crashed or hangs; `certain` if it is known to have crashed."""

    def __init__(self, message: str, *, certain: bool) -> None:
        super().__init__(message)
        self.certain = certain


class Trial(msgspec.Struct, frozen=True):
    """A route that exists for the trial only; `dynamic` if its backend is made at run time."""

    profile: Profile
    backend: str
    server: Server
    dynamic: bool = False

    @property
    def host(self) -> str:
        return f"{self.backend.replace('.', '-')}.{ends.DOMAIN}"

    @property
    def path(self) -> str:
        return f"{self.backend}/{self.server.name}"

    @property
    def routing(self) -> MapEntry:
        return MapEntry(HOSTS if self.profile.mode == "http" else SNI, self.host, self.backend)

    @property
    def values(self) -> tuple[MapEntry, ...]:
        """Whatever the profile's rules look up by the backend's name."""
        if self.profile.mode != "http":
            return ()
        values = {
            **{f"/req/{name}": "canary" for name in self.profile.set_request},
            **{f"/res/{name}": "canary" for name in self.profile.set_response},
        }
        if self.profile.rewrite_host:
            values["/host"] = self.host
        if self.profile.check == "http":
            values |= {"/check-path": "/canary", "/check-host": self.host}
        return (
            *(MapEntry(VALUES, self.backend + suffix, value) for suffix, value in values.items()),
            MapEntry(TIMEOUT_SERVER, self.backend, "5000"),
            MapEntry(TIMEOUT_TUNNEL, self.backend, "5000"),
        )


def static_trials(profiles: Sequence[Profile], origin: Origin) -> list[Trial]:
    """On loaded slots: a plain origin each, and for HTTP one with TLS, verified."""
    tls = ServerTls(ca_file=_CA_FILE, sni=ends.DOMAIN)
    timing = _timing(len(profiles) * SLOTS)
    trials = []
    for profile in profiles:
        plain = _server(profile, origin.port, timing)
        trials.append(Trial(profile, backend_name(profile.id, 0), plain))
        if profile.mode == "http":
            secure = _server(profile, origin.tls_port, timing, tls)
            trials.append(Trial(profile, backend_name(profile.id, 1), secure))
    return trials


def dynamic_trials(profiles: Sequence[Profile], origin: Origin) -> list[Trial]:
    """On backends of their own making."""
    timing = _timing(len(profiles))
    return [
        Trial(
            profile,
            backend_name(profile.id, SLOTS),
            _server(profile, origin.port, timing),
            dynamic=True,
        )
        for profile in profiles
    ]


def _timing(servers: int) -> CheckTiming:
    interval = min(_INTERVAL + _INTERVAL_EACH * servers, _LONGEST_INTERVAL)
    return CheckTiming(interval_ms=interval, rise=1, fall=1)


def _server(
    profile: Profile, port: int, timing: CheckTiming, tls: ServerTls | None = None
) -> Server:
    return Server(
        address="127.0.0.1",
        port=port,
        maxconn=100,
        cookie="canary" if profile.cookie else None,
        check=None if profile.check == "none" else timing,
        tls=tls,
    )


def listeners(directory: Path) -> str:
    """Frontends that route as the real ones do, on Unix sockets: no port can clash.

    They refer to every map, so that it is there whether or not a profile's rules use it.
    """
    maps = "".join(f"    http-request set-var(txn.map) str(-),map({name})\n" for name in MAPS)
    return (
        "frontend canary_http from throwaway\n"
        f"    bind unix@{directory}/{_HTTP_SOCKET} mode 600\n"
        "    http-request set-var(txn.host) req.hdr(host),field(1,:),lower\n"
        "    http-after-response set-header canary-backend %[be_name]\n"
        f"{maps}"
        f"    use_backend %[var(txn.host),map({HOSTS})]"
        f" if {{ var(txn.host),map({HOSTS}) -m found }}\n"
        "frontend canary_tcp from throwaway\n"
        "    mode tcp\n"
        f"    bind unix@{directory}/{_TCP_SOCKET} mode 600\n"
        "    tcp-request inspect-delay 5s\n"
        "    tcp-request content reject unless { req.ssl_hello_type 1 }\n"
        f"    use_backend %[req.ssl_sni,lower,map({SNI})]\n"
    )


class Run:
    """Many trials on one process. What fails is noted by profile; a crash ends it all.

    `slow` are the profiles that failed for want of an answer in time.
    """

    def __init__(self, process: Throwaway, *, step_by_step: bool) -> None:
        """`step_by_step`: each command by itself, so that a crash is told to its step."""
        self.failures: dict[str, str] = {}
        self.slow: set[str] = set()
        self._process = process
        self._step_by_step = step_by_step

    async def prepare(self, origin: Origin) -> None:
        """Make the origin's CA known, as for a route that brings its own.

        Raises `EndedError`, and `CommandRefusedError` if this HAProxy can't do that at all.
        """
        commands: list[Command] = [
            f"new ssl ca-file {_CA_FILE}",
            (f"set ssl ca-file {_CA_FILE}", origin.certificate),
            f"commit ssl ca-file {_CA_FILE}",
        ]
        try:
            answers = await self._process.runtime.run(commands)
        except ProxyUnavailableError as error:
            raise await self._ended(_text(commands[0]), error) from error
        for command, answer in zip(commands, answers, strict=True):
            check(_text(command), answer)

    async def live(self, trials: Sequence[Trial]) -> None:
        """The whole life of each trial's route. Raises `EndedError` with step and last words."""
        await self._say([(t, c) for t in trials for c in _coming(t)])
        for _ in range(_REQUESTS):
            await self._ask(trials)
        await self._checked([t for t in trials if t.server.check is not None])
        await self._say([(t, c) for t in trials for c in _going(t)])
        await self._deleted(trials)
        await self._say([(t, c) for t in trials for c in _gone(t)])
        await self._alive("the removal")

    def _left(self, trials: Iterable[Trial]) -> list[Trial]:
        return [trial for trial in trials if trial.profile.id not in self.failures]

    def _fail(self, trial: Trial, step: str, what: str, *, slow: bool = False) -> None:
        if trial.profile.id not in self.failures:
            self.failures[trial.profile.id] = f"{step}: {what}"
            if slow:
                self.slow.add(trial.profile.id)

    async def _say(self, said: list[tuple[Trial, Command]]) -> None:
        size = 1 if self._step_by_step else max(len(said), 1)
        for start in range(0, len(said), size):
            part = [
                (trial, command)
                for trial, command in said[start : start + size]
                if trial.profile.id not in self.failures
            ]
            commands = [command for _, command in part]
            try:
                answers = await self._process.runtime.run(commands)
            except CommandRefusedError as error:
                for trial, _ in part:
                    self._fail(trial, error.command, error.answer)
                continue
            except ProxyUnavailableError as error:
                raise await self._ended(_text(commands[0]), error) from error
            for (trial, command), answer in zip(part, answers, strict=True):
                try:
                    check(_text(command), answer)
                except CommandRefusedError as error:
                    self._fail(trial, error.command, error.answer or "no reason given")

    async def _ask(self, trials: Sequence[Trial]) -> None:
        """One request for each route. Raises `EndedError`, also for a worker that hangs."""
        before = self._process.cpu_seconds
        await asyncio.gather(*(self._request(trial) for trial in self._left(trials)))
        if self.slow and self._process.cpu_seconds - before > _HANGS_FROM:
            obituary = await self._process.obituary(within=_WATCHDOG)
            what = obituary or "HAProxy computes and doesn't answer"
            raise EndedError(f"a request: {what}", certain=True)
        await self._alive("a request")

    async def _request(self, trial: Trial) -> None:
        http = trial.profile.mode == "http"
        ask, socket = (ends.ask_http, _HTTP_SOCKET) if http else (ends.ask_tls, _TCP_SOCKET)
        try:
            answer = await ask(self._process.directory / socket, trial.host, _ANSWER_WITHIN)
        except TimeoutError:
            self._fail(trial, "a request", f"no answer within {_ANSWER_WITHIN} s", slow=True)
            return
        except OSError as error:
            raise await self._ended("a request", error) from error
        # Closed without an answer: if it didn't crash, then an operator's rules wanted it so.
        if answer is not None and http and answer.backend != trial.backend:
            self._fail(
                trial, "a request", f"{answer.status} from {answer.backend}, not {trial.backend}"
            )

    async def _checked(self, trials: Sequence[Trial]) -> None:
        """Wait until HAProxy has checked every server, with whatever result."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _CHECKED_WITHIN
        while waiting := await self._unchecked(self._left(trials)):
            if loop.time() > deadline:
                for trial in waiting:
                    what = f"no result within {_CHECKED_WITHIN} s"
                    self._fail(trial, "the health check", what, slow=True)
                return
            await asyncio.sleep(_POLL)

    async def _unchecked(self, trials: Sequence[Trial]) -> list[Trial]:
        if not trials:
            return []
        try:
            states = await self._process.runtime.server_states()
        except ProxyError as error:
            raise await self._ended("the health check", error) from error
        return [
            trial
            for trial in trials
            if states[trial.backend][trial.server.name].check_status < _CHECKED
        ]

    async def _deleted(self, trials: Sequence[Trial]) -> None:
        """`del server` until it works: a stream that was cut takes a moment to end."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _REMOVED_WITHIN
        waiting = self._left(trials)
        while waiting:
            commands = [f"del server {trial.path}" for trial in waiting]
            try:
                answers = await self._process.runtime.run(commands)
            except ProxyUnavailableError as error:
                raise await self._ended(commands[0], error) from error
            again = []
            for trial, command, answer in zip(waiting, commands, answers, strict=True):
                try:
                    check(command, answer)
                except CommandRefusedError:
                    if loop.time() > deadline:
                        self._fail(trial, command, answer, slow=True)
                    else:
                        again.append(trial)
            waiting = again
            if waiting:
                await asyncio.sleep(_POLL)

    async def _alive(self, after: str) -> None:
        try:
            pid = (await self._process.runtime.info()).pid
        except ProxyError as error:
            raise await self._ended(after, error) from error
        if pid != self._process.pid:
            raise EndedError(f"{after}: another process answers", certain=True)

    async def _ended(self, step: str, error: Exception) -> EndedError:
        obituary = await self._process.obituary()
        return EndedError(f"{step}: {obituary or error}", certain=obituary is not None)


def _coming(trial: Trial) -> Iterator[Command]:
    if trial.dynamic:
        yield f"add backend {trial.backend} from {trial.profile.id}"
    for entry in trial.values:
        yield (f"add map {entry.map}", f"{entry.key} {entry.value}")
    yield f"add server {trial.path} {arguments(trial.server)}"
    yield f"enable server {trial.path}"
    if trial.server.check is not None:
        yield f"enable health {trial.path}"
    if trial.dynamic:
        yield f"publish backend {trial.backend}"
    yield (f"add map {trial.routing.map}", f"{trial.routing.key} {trial.routing.value}")


def _going(trial: Trial) -> Iterator[Command]:
    yield f"del map {trial.routing.map} {trial.routing.key}"
    if trial.dynamic:
        yield f"unpublish backend {trial.backend}"
    yield f"set server {trial.path} state maint"
    yield f"shutdown sessions server {trial.path}"


def _gone(trial: Trial) -> Iterator[Command]:
    for entry in trial.values:
        yield f"del map {entry.map} {entry.key}"
    if trial.dynamic:
        yield f"wait {round(_REMOVED_WITHIN)}s be-removable {trial.backend}"
        yield f"del backend {trial.backend}"


def _text(command: Command) -> str:
    return command if isinstance(command, str) else command[0]
