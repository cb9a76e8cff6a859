"""The commands for certificates, mongod, and keeping both fresh."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
import msgspec

from frontserver.agent.certs import Installed
from frontserver.agent.client import Client
from frontserver.agent.configure import configure, find_binary
from frontserver.agent.daemon import Timing, keep_up
from frontserver.agent.program import App, described, shared_options
from frontserver.agent.retry import ONCE
from frontserver.agent.upkeep import KeyChoice, Renewed, Rotation, Upkeep
from frontserver.errors import FrontServerError
from frontserver.wire.certificates import DEFAULT_CERT_DIR

F = TypeVar("F", bound=Callable[..., Any])

_DIR = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="FRONTSERVER_AGENT_CERT_DIR",
    default=DEFAULT_CERT_DIR,
    show_default=True,
    help="Where certificate files lie.",
)
_OWNER = click.option(
    "--owner",
    envvar="FRONTSERVER_AGENT_OWNER",
    metavar="USER",
    help="Who the files belong to. Default for root: mongodb or mongod, if there is such a user.",
)
_CSR = click.option(
    "--csr/--no-csr",
    default=None,
    help="Make the key here and have a request signed: it never leaves this host. "
    "Default: as the last time.",
)
_KEY_TYPE = click.option(
    "--key-type", type=click.Choice(["ec", "rsa"]), default="ec", help="Of a key made here."
)
_ROTATE = click.option(
    "--rotate",
    envvar="FRONTSERVER_AGENT_ROTATE",
    metavar="URI",
    help="mongodb://… of the local mongod, to load a new certificate live. "
    "With a password in it, use FRONTSERVER_AGENT_ROTATE.",
)


def _upkeep_options(command: F) -> F:
    for option in (_ROTATE, _KEY_TYPE, _CSR, _OWNER, _DIR):
        command = option(command)
    return command


class Choices(msgspec.Struct, frozen=True):
    """The options that say which files are kept fresh, and how."""

    directory: Path
    owner: str | None
    csr: bool | None
    key_type: Literal["ec", "rsa"]
    rotate: str | None = None

    def upkeep(self, app: App, client: Client) -> Upkeep:
        """The upkeep of this directory with this client."""
        return Upkeep(
            client,
            app.directory(self.directory, self.owner),
            app.state,
            saved=app.saved_token,
            key=KeyChoice(self.csr, self.key_type),
            rotation=Rotation(self.rotate, app.rotate) if self.rotate else None,
            now=app.now,
        )


@click.group()
def certs() -> None:
    """Certificate files."""


@certs.command("fetch")
@_DIR
@_OWNER
@_CSR
@_KEY_TYPE
@click.option("--force", is_flag=True, help="With --csr: a new key, even if none is due.")
@shared_options
@click.pass_obj
def fetch(app: App, /, force: bool, **options: Any) -> None:  # noqa: ANN401 - click's own types
    """Write ca.crt, server.crt, server.key and mongodb.pem (certificate and key in one).

    They are checked before anything is replaced; files that wouldn't change aren't touched.
    """
    choices = Choices(**options)
    with app.client() as client:
        renewed = choices.upkeep(app, client).renew_certificate(force=force)
    app.show(_told(renewed.installed, choices.directory), _report(renewed, choices.directory))


@click.group()
def mongod() -> None:
    """mongod's own configuration."""


@mongod.command("configure")
@click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default="/etc/mongod.conf",
    show_default=True,
)
@_DIR
@click.option(
    "--check-with",
    metavar="MONGOD",
    help="The mongod to try the settings with; `none` to skip. Default: the one on PATH.",
)
@shared_options
@click.pass_obj
def configure_mongod(app: App, path: Path, directory: Path, check_with: str | None) -> None:
    """Merge the TLS settings into mongod's configuration; a backup is kept beside it."""
    binary = find_binary(check_with)
    with app.client() as client:
        config = client.config()
    done = configure(path, config, app.directory(directory, None), binary=binary, now=app.now())
    lines = [*done.remarks]
    if done.tried is None:
        lines.append("not tried with mongod (none on PATH, or --check-with none)")
    if done.changed:
        lines.append(f"{path} is configured; the old one is {done.backup}")
        lines.append("restart mongod to use it: systemctl restart mongod")
    else:
        lines.append(f"{path} is configured already")
    app.show(
        "\n".join(lines),
        {
            "success": True,
            "config": str(path),
            "changed": done.changed,
            "backup": str(done.backup) if done.backup else None,
            "tried": str(done.tried) if done.tried else None,
            "restart": done.changed,
            "remarks": done.remarks,
        },
    )


@click.command()
@_upkeep_options
@shared_options
@click.pass_obj
def renew(app: App, /, **options: Any) -> None:  # noqa: ANN401 - click's own types
    """Bring the certificate files in step with the server now; then mongod with --rotate."""
    choices = Choices(**options)
    with app.client() as client:
        renewed = choices.upkeep(app, client).renew_certificate()
    app.show(_line(renewed, choices.directory), _report(renewed, choices.directory))


@click.command()
@_upkeep_options
@click.option(
    "--interval",
    type=click.FloatRange(min=1),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help="The longest time between two looks at the server.",
)
@click.option("--once", is_flag=True, help="One round, then exit: for cron.")
@shared_options
@click.pass_obj
def run(app: App, /, interval: float, once: bool, **options: Any) -> None:  # noqa: ANN401 - as above
    """Keep token and certificate fresh until SIGTERM or SIGINT; SIGHUP renews now."""
    choices = Choices(**options)
    # In the loop a failed round is tried again anyway, and a signal must not wait for retries.
    with app.client(policy=None if once else ONCE) as client:
        upkeep = choices.upkeep(app, client)

        def work() -> tuple[datetime | None, datetime]:
            token_due = upkeep.renew_token()
            renewed = upkeep.renew_certificate()
            app.show(_line(renewed, choices.directory), _report(renewed, choices.directory))
            return token_due, renewed.installed.leaf.renew_at

        if once:
            work()
            return
        with app.pauses() as wait:
            keep_up(
                work,
                wait,
                lambda error, pause: _failed(app, error, pause),
                now=app.now,
                draw=random.random,
                timing=Timing(interval=interval),
            )
        app.show("stopped", {"success": True, "stopped": True})


def _failed(app: App, error: FrontServerError, pause: float) -> None:
    if app.json:
        app.show("", {**described(error), "nextTry": round(pause)})
    else:
        click.echo(f"error: {error}; trying again in {pause:.0f} s", err=True)


def _told(installed: Installed, directory: Path) -> str:
    what = f"wrote {', '.join(installed.changed)}" if installed.changed else "nothing to change"
    leaf = installed.leaf
    return (
        f"{directory}: {what}; the certificate of {installed.domain} (serial {leaf.serial:x}) "
        f"is valid until {leaf.not_after:%Y-%m-%d %H:%M} UTC"
    )


def _line(renewed: Renewed, directory: Path) -> str:
    told = _told(renewed.installed, directory)
    return f"{told}; mongod loaded it" if renewed.rotated else told


def _report(renewed: Renewed, directory: Path) -> dict[str, Any]:
    leaf = renewed.installed.leaf
    return {
        "success": True,
        "directory": str(directory),
        "domain": renewed.installed.domain,
        "changed": renewed.installed.changed,
        "serial": f"{leaf.serial:x}",
        "fingerprint": leaf.fingerprint,
        "notAfter": leaf.not_after.isoformat(),
        "renewAt": leaf.renew_at.isoformat(),
        "rotated": renewed.rotated,
    }
