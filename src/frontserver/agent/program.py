"""What the commands of `frontserver-agent` share: options, the client, output, exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import httpx
import msgspec

from frontserver.agent import files, mongod
from frontserver.agent.certs import CertificateDirectory
from frontserver.agent.client import DEFAULT_TIMEOUT, Client
from frontserver.agent.daemon import Signals, Wake
from frontserver.agent.errors import (
    NotActiveError,
    RefusedError,
    UnexpectedAnswerError,
    UnreachableError,
)
from frontserver.agent.retry import RetryPolicy
from frontserver.agent.state import SavedToken, State, default_directory
from frontserver.errors import FrontServerError, InputError
from frontserver.model.names import AgentId

F = TypeVar("F", bound=Callable[..., Any])

REFUSED, USAGE, UNREACHABLE, LOCAL = 1, 2, 3, 4


def exit_code(error: FrontServerError) -> int:
    """1 refused by the server, 2 usage, 3 unreachable or not ready, 4 a problem on this host."""
    match error:
        case RefusedError():
            return REFUSED
        case NotActiveError(status=status):
            return UNREACHABLE if status == "pending" else REFUSED
        case UnreachableError() | UnexpectedAnswerError():
            return UNREACHABLE
        case InputError():
            return USAGE
        case _:
            return LOCAL


class App:
    """The settings of one run, and the seams that tests replace."""

    def __init__(
        self,
        *,
        transport: httpx.BaseTransport | None = None,
        rotate: mongod.Rotate = mongod.rotate,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait: Callable[[float], Wake] | None = None,
    ) -> None:
        self.settings: dict[str, Any] = {}
        self.rotate = rotate
        self.now = now
        self._transport = transport
        self._sleep = sleep
        self._wait = wait

    @property
    def json(self) -> bool:
        return bool(self.settings.get("json_output"))

    @property
    def state(self) -> State:
        chosen = self.settings.get("state")
        return State(chosen or default_directory(os.environ, root=files.is_root()))

    def client(self, *, policy: RetryPolicy | None = None, fresh: bool = False) -> Client:
        """A client for the settings; it starts with the saved token unless `fresh`."""
        saved = None if fresh else self.saved_token()
        return Client(
            self._needed("url", "--url", "FRONTSERVER_URL"),
            self.agent_id,
            key=self._key(),
            token=saved.token if saved else None,
            timeout=self.settings.get("timeout", DEFAULT_TIMEOUT),
            ca_file=self.settings.get("ca_file"),
            transport=self._transport,
            policy=policy,
            on_token=self._keep_token,
            sleep=self._sleep,
        )

    @property
    def agent_id(self) -> str:
        return str(AgentId(self._needed("agent_id", "--agent-id", "FRONTSERVER_AGENT_ID")))

    def saved_token(self) -> SavedToken | None:
        """The token of an earlier run, unless it has expired."""
        url = self._needed("url", "--url", "FRONTSERVER_URL")
        saved = self.state.token(url, self.agent_id)
        if saved is None:
            return None
        try:
            expired = datetime.fromisoformat(saved.expires_at) <= self.now()
        except (ValueError, TypeError):
            return saved  # Whether it still counts is for the server to say.
        return None if expired else saved

    @contextlib.contextmanager
    def pauses(self) -> Iterator[Callable[[float], Wake]]:
        """How the loop waits: for signals, as long as this is open."""
        if self._wait is not None:
            yield self._wait
        else:
            with Signals() as signals:
                yield signals.wait

    def directory(self, path: Path, owner: str | None) -> CertificateDirectory:
        """The certificate directory; without `owner` its files go to mongod's user."""
        chosen = files.owner_named(owner) if owner else files.mongod_owner()
        return CertificateDirectory(path, owner=chosen, now=self.now)

    def show(self, human: str, data: object) -> None:
        """Print the result: one JSON document with `--json`, lines for people otherwise."""
        if self.json:
            click.echo(json.dumps(msgspec.to_builtins(data), ensure_ascii=False))
        else:
            click.echo(human)

    def _keep_token(self, token: str, expires_at: str) -> None:
        self.state.save_token(
            SavedToken(
                self.settings["url"], self.agent_id, token, expires_at, self.now().isoformat()
            )
        )

    def _needed(self, name: str, flag: str, variable: str) -> str:
        value = self.settings.get(name)
        if not value:
            raise click.UsageError(f"{flag} (or {variable} in the environment) is needed")
        return str(value)

    def _key(self) -> str | None:
        if self.settings.get("key"):
            return str(self.settings["key"])
        path: Path | None = self.settings.get("key_file")
        if path is None:
            return None
        data = files.read(path)
        key = data.decode("utf-8", "replace").strip() if data is not None else ""
        if not key:
            raise click.UsageError(f"{path} holds no key (--key-file)")
        if path.stat().st_mode & 0o077:
            click.echo(f"warning: others may read {path}; give it mode 0600", err=True)
        return key


class Program(click.Group):
    """The outermost group: errors become one line for people and an exit code for scripts."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        try:
            return super().invoke(ctx)
        except FrontServerError as error:
            app = ctx.find_object(App) or App()
            if app.json:
                click.echo(json.dumps(described(error)))
            click.echo(f"error: {error}", err=True)
            ctx.exit(exit_code(error))


def described(error: FrontServerError) -> dict[str, Any]:
    """The error as JSON members; the server's whole problem where it gave one."""
    members: dict[str, Any] = {"success": False, "error": error.message}
    if error.hint:
        members["hint"] = error.hint
    if isinstance(error, RefusedError):
        members |= {"status": error.status, "problem": msgspec.to_builtins(error.problem)}
    return members


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> None:
    """Remember a shared option. On the command line it may stand before or after the command."""
    app = ctx.ensure_object(App)
    name = param.name or ""
    typed = ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    if value is not None and (typed or name not in app.settings):
        app.settings[name] = value


_FILE = click.Path(dir_okay=False, path_type=Path)
_DIRECTORY = click.Path(file_okay=False, path_type=Path)

_SHARED: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--url",), {"envvar": "FRONTSERVER_URL", "help": "Base URL of the front server's API."}),
    (("--agent-id",), {"envvar": "FRONTSERVER_AGENT_ID", "help": "This agent's id."}),
    (
        ("--key",),
        {
            "envvar": "FRONTSERVER_AGENT_KEY",
            "help": "This agent's key; others on the host see it: prefer --key-file.",
        },
    ),
    (
        ("--key-file",),
        {"envvar": "FRONTSERVER_AGENT_KEY_FILE", "type": _FILE, "help": "File with the key."},
    ),
    (
        ("--ca-file",),
        {
            "envvar": "FRONTSERVER_AGENT_CA_FILE",
            "type": _FILE,
            "help": "CA of the API's own TLS certificate, PEM. Default: the system's CAs.",
        },
    ),
    (
        ("--state",),
        {
            "envvar": "FRONTSERVER_AGENT_STATE",
            "type": _DIRECTORY,
            "help": "Where the token is kept. Default: /var/lib/frontserver-agent for root, "
            "else ~/.local/state/frontserver-agent.",
        },
    ),
    (
        ("--timeout",),
        {
            "envvar": "FRONTSERVER_AGENT_TIMEOUT",
            "type": click.FloatRange(min=0.1),
            "help": f"Seconds for one request. Default: {DEFAULT_TIMEOUT:g}.",
        },
    ),
    (
        ("--json", "json_output"),
        {"is_flag": True, "default": None, "help": "Print one JSON document."},
    ),
)


def shared_options(command: F) -> F:
    """Add the options that every command has."""
    for names, settings in reversed(_SHARED):
        command = click.option(*names, expose_value=False, callback=_keep, **settings)(command)
    return command
