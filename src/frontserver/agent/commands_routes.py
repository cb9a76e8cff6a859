"""The commands for identity and routes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from frontserver.agent.client import Client
from frontserver.agent.program import App, shared_options
from frontserver.model.routes import Balance
from frontserver.wire.routes.answers import HttpRouteAnswer, MongoRouteAnswer, RouteView

_WAIT = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait until the route carries traffic; exit 3 if it doesn't in time.",
)
_PATH = click.option(
    "--path", metavar="PATH", help="Where the route begins below its domain. Default: /."
)


@click.command()
@click.option("--name", help="A name for people. Default: the agent id.")
@click.option("--target-ip", help="This host's address. Default: the one the server sees.")
@shared_options
@click.pass_obj
def register(app: App, name: str | None, target_ip: str | None) -> None:
    """Register this agent; repeating it changes nothing."""
    with app.client(fresh=True) as client:
        answer = client.register(name, target_ip)
    app.show(
        f"{answer.agent_id} is registered with target address {answer.target_ip}",
        # Token and private key stay out of what scripts may log.
        {
            "success": True,
            "message": answer.message,
            "agentId": answer.agent_id,
            "agentName": answer.agent_name,
            "targetIp": answer.target_ip,
            "expiresAt": answer.expires_at,
            "tlsEnabled": answer.tls_enabled,
        },
    )


@click.group()
def http() -> None:
    """HTTP routes."""


@http.command("add")
@click.argument("subdomain")
@click.argument("target", required=False)
@_PATH
@click.option("--check", is_flag=True, help="Check the target; without a path, that it connects.")
@click.option("--check-path", metavar="PATH", help="Check the target by requesting this path.")
@click.option("--balance", type=click.Choice([choice.value for choice in Balance]))
@click.option("--sticky", is_flag=True, help="Keep a visitor on one target by a cookie.")
@click.option("--redirect-https", is_flag=True, help="Answer plain HTTP with a redirect.")
@click.option("--maintenance", is_flag=True, help="Tell visitors to come back later.")
@click.option(
    "--option",
    "extra",
    multiple=True,
    metavar="NAME=JSON",
    help="Any option of the API, such as timeouts.server=30 or sticky=true. Repeatable.",
)
@click.option(
    "--options-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Options as a JSON object; flags are added to it.",
)
@_WAIT
@shared_options
@click.pass_obj
def add_http(
    app: App,
    /,
    subdomain: str,
    target: str | None,
    path: str | None,
    extra: tuple[str, ...],
    options_file: Path | None,
    wait: float | None,
    **flags: Any,  # noqa: ANN401 - click gives each option in its own type
) -> None:
    """Route SUBDOMAIN to TARGET (http://HOST:PORT); an existing route of yours is updated."""
    options = _options(options_file, extra, **flags)
    with app.client() as client:
        answer = client.add_http(subdomain, target, options or None, path=path, wait=wait)
        answer = _settled(client, answer, wait)
    app.show(f"{_place(answer.route)} → {answer.target_url}: {_state(answer.route)}", answer)


@click.group("mongodb")
def mongo() -> None:
    """The MongoDB route."""


@mongo.command("add")
@click.option("--host", help="mongod's address. Default: this agent's target address.")
@click.option("--port", type=click.IntRange(1, 65535), default=27017, show_default=True)
@_WAIT
@shared_options
@click.pass_obj
def add_mongodb(app: App, host: str | None, port: int, wait: float | None) -> None:
    """Route this agent's MongoDB domain, by TLS SNI, to its mongod."""
    with app.client() as client:
        answer = client.add_mongodb(host, port, wait=wait)
        answer = _settled(client, answer, wait)
    app.show(
        f"{answer.domain} → {answer.target_host}:{answer.target_port}: {_state(answer.route)}\n"
        f"connect with {answer.connection_string}",
        answer,
    )


@click.command("routes")
@shared_options
@click.pass_obj
def list_routes(app: App) -> None:
    """List this agent's routes."""
    with app.client() as client:
        answer = client.routes()
    rows = [
        (_place(route), route.type, _target(route), _state(route))
        for route in sorted(answer.routes, key=lambda route: (route.type, _place(route)))
    ]
    app.show(_table(("DOMAIN", "TYPE", "TARGET", "STATUS"), rows) if rows else "no routes", answer)


@click.command()
@click.argument("subdomain", required=False)
@click.option("--mongodb", is_flag=True, help="Remove the MongoDB route.")
@_PATH
@shared_options
@click.pass_obj
def remove(app: App, subdomain: str | None, mongodb: bool, path: str | None) -> None:
    """Remove the HTTP route of SUBDOMAIN (its other paths stay), or the MongoDB route."""
    if mongodb == (subdomain is not None):
        raise click.UsageError("give a SUBDOMAIN or --mongodb, one of them")
    if mongodb and path is not None:
        raise click.UsageError("--path is for HTTP routes")
    with app.client() as client:
        answer = client.remove(subdomain, "mongodb" if mongodb else "http", path=path)
    app.show(answer.message, answer)


def _settled(client: Client, answer: HttpRouteAnswer | MongoRouteAnswer, wait: float | None) -> Any:  # noqa: ANN401 - the same kind of answer as given
    if wait is None and answer.status != "failed":
        return answer
    view = client.wait_active(answer, wait or 0)
    return msgspec.structs.replace(answer, status=view.status, route=view)


def _options(
    file: Path | None,
    extra: Iterable[str],
    *,
    check: bool,
    check_path: str | None,
    balance: str | None,
    sticky: bool,
    redirect_https: bool,
    maintenance: bool,
) -> dict[str, Any]:
    """The file's members, then the flags, then each `--option`. Raises click's usage errors."""
    options = _from_file(file)
    if check:
        options.setdefault("check", True)
    if check_path is not None:
        _set(options, "check.path", check_path)
    if balance is not None:
        options["balance"] = balance
    if sticky:
        options.setdefault("sticky", True)
    if redirect_https:
        options["redirectHttps"] = True
    if maintenance:
        options["maintenance"] = True
    for item in extra:
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise click.UsageError(f"--option {item}: write NAME=JSON")
        _set(options, name, _value(value))
    return options


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        members = json.loads(file.read_text())
    except ValueError as error:
        raise click.UsageError(f"{file} isn't JSON: {error}") from error
    if not isinstance(members, dict):
        raise click.UsageError(f"{file} isn't a JSON object")
    return members


def _value(text: str) -> object:
    """JSON, or the text itself where it isn't JSON (`balance=leastconn`)."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _set(options: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split(".")
    for name in parents:
        inner = options.get(name)
        options[name] = dict(inner) if isinstance(inner, dict) else {}
        options = options[name]
    options[last] = value


def _place(route: RouteView) -> str:
    return route.domain + (route.path or "")


def _target(route: RouteView) -> str:
    if route.type == "mongodb":
        return f"{route.target_host}:{route.target_port}"
    return route.target_url or "(targets)"


def _state(route: RouteView) -> str:
    state = route.status
    if route.health != "unknown":
        state += f", target {route.health}"
    return f"{state} ({route.reason})" if route.reason else state


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )
