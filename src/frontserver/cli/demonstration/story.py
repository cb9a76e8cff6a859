"""The demo, step by step: what an agent does in its life, and what came back."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import socket
import tempfile
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import click
import httpx

from frontserver.agent import Client
from frontserver.agent.certs import CertificateDirectory
from frontserver.app import FrontServer
from frontserver.cli.demonstration.app import DemoApp
from frontserver.cli.demonstration.database import DemoDatabase, find_mongod, insert_and_find
from frontserver.composition.services import opened_services
from frontserver.errors import FrontServerError
from frontserver.model.names import AgentId, DomainName
from frontserver.model.targets import HostPort, TargetPolicy
from frontserver.pki.authority import CertificateAuthority
from frontserver.settings import Settings, completed

AGENT = "demo"
APP = "hello"
_READY_SECONDS = 30.0


class Story:
    """One run of the demo below `directory`, which it empties first."""

    def __init__(self, directory: Path, *, mongodb: bool, once: bool) -> None:
        self._directory = directory
        self._mongodb = mongodb
        self._once = once
        self._step = 0

    async def run(self) -> None:
        """Tell it, stay up until Ctrl-C, stop everything that was started."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(mode=0o700, parents=True)
        settings, ca_file = self._settings()
        server = FrontServer(settings, stop_haproxy=True)
        running = asyncio.create_task(server.run())
        try:
            async with AsyncExitStack() as stack:
                await self._tell(settings, ca_file, running, stack)
                if not self._once:
                    click.secho("\nEverything stays up until Ctrl-C.", bold=True)
                    await asyncio.wait({running})
        finally:
            server.stop()
            await running
        click.echo("Stopped: the front server, HAProxy, the app and the database.")

    async def _tell(
        self, settings: Settings, ca_file: Path, running: asyncio.Task[None], stack: AsyncExitStack
    ) -> None:
        api = f"http://{settings.listen}"
        await self._ready(api, settings, running)
        key = await self._invited(settings)
        client = stack.enter_context(Client(api, AGENT, key=key))
        registered = await asyncio.to_thread(client.register, "demo host")
        self._say(
            "The agent registers",
            "POST /api/agents/register",
            f"{registered.message}; its address is {registered.target_ip}",
            f"a token until {registered.expires_at}, and a certificate "
            f"(serial {registered.certificates.serial[:12]}…)",
        )
        await self._publish_app(settings, client, stack)
        if self._mongodb:
            await self._publish_database(settings, client, stack)
        routes = await asyncio.to_thread(client.routes)
        listed = [f"{route.type:8} {route.domain}  {route.status}" for route in routes.routes]
        self._say("The agent lists its routes", f"GET /api/proxy/agents/{AGENT}", *listed)
        renewed = await asyncio.to_thread(client.authenticate)
        self._say(
            "It renews its token",
            "POST /api/agents/authenticate",
            f"a token until {renewed.expires_at}",
        )
        self._say_what_next(settings, key, ca_file)

    # --- the steps ---

    async def _ready(self, api: str, settings: Settings, running: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _READY_SECONDS
        async with httpx.AsyncClient(base_url=api) as client:
            while True:
                if running.done():
                    await running
                    raise FrontServerError("the front server stopped before it was ready")
                try:
                    answer = await client.get("/health/ready")
                    if answer.status_code == httpx.codes.OK:
                        break
                    reason = answer.text
                except httpx.TransportError as error:
                    reason = str(error)
                if loop.time() > deadline:
                    raise FrontServerError(f"not ready in {_READY_SECONDS:.0f} s: {reason}")
                await asyncio.sleep(0.05)
        version = answer.json()["haproxy"]["version"]
        self._say(
            "The front server is up, and drives a real HAProxy",
            "GET /health/ready",
            f"API on {api}, HAProxy {version} on {_joined(settings.http_bind)} (HTTP), "
            f"{_joined(settings.https_bind)} (HTTPS), {_joined(settings.mongo_bind)} (MongoDB)",
        )

    async def _invited(self, settings: Settings) -> str:
        async with opened_services(settings) as services:
            key = await services.agents.invite(AgentId(AGENT))
        self._say("An operator invites an agent", f"frontserver agents invite {AGENT}", key)
        return key

    async def _publish_app(self, settings: Settings, client: Client, stack: AsyncExitStack) -> None:
        app = stack.enter_context(DemoApp("the demo agent's app"))
        added = await asyncio.to_thread(client.add_http, APP, app.url)
        self._say(
            "It publishes its web app",
            f"POST /api/proxy/http  {APP} → {app.url}",
            f"{added.domain}: {added.status}",
        )
        entrance = f"http://{settings.http_bind[0]}"
        async with httpx.AsyncClient(base_url=entrance) as browser:
            answer = await browser.get("/", headers={"Host": added.domain})
        self._say(
            "A browser visits it, through HAProxy",
            f"GET {entrance}/ with Host: {added.domain}",
            f"{answer.status_code} {json.dumps(answer.json()['hello'])}",
        )

    async def _publish_database(
        self, settings: Settings, client: Client, stack: AsyncExitStack
    ) -> None:
        mongod, why_not = find_mongod()
        if mongod is None:
            self._say("The MongoDB part is left out", "", why_not)
            return
        certificates = CertificateDirectory(self._directory / "agent")
        await asyncio.to_thread(certificates.fetch, client)
        names = ", ".join(sorted(p.name for p in (self._directory / "agent").iterdir()))
        self._say("It fetches its certificate", f"GET /api/config/{AGENT}", names)
        database = DemoDatabase(
            mongod, self._directory / "mongod", _free_port(), self._directory / "agent"
        )
        stack.push_async_callback(database.stop)
        await database.start()
        added = await asyncio.to_thread(client.add_mongodb, "127.0.0.1", database.port)
        self._say(
            "It publishes its database, a real mongod that demands TLS",
            f"POST /api/proxy/mongodb  → 127.0.0.1:{database.port}",
            f"{added.domain}: {added.status}",
            added.connection_string,
        )
        found, version = await asyncio.to_thread(
            insert_and_find,
            added.connection_string,
            added.domain,
            self._directory / "agent" / "ca.crt",
        )
        self._say(
            "A driver inserts and finds, the certificate verified end to end",
            f"pymongo → {added.domain}:{settings.connection_port}, chosen by SNI",
            f"MongoDB {version} returned {found}",
        )

    # --- around them ---

    def _settings(self) -> tuple[Settings, Path]:
        """Settings with free ports, and a wildcard certificate of the demo's own CA."""
        app_domain = DomainName("apps.example.com")
        now = datetime.now(UTC)
        authority = CertificateAuthority.create("frontserver demo", key_type="ec", now=now)
        leaf = authority.issue_server([f"*.{app_domain}"], now=now, days=30)
        certificate = self._directory / "https.pem"
        certificate.touch(mode=0o600)
        certificate.write_text(f"{leaf.certificate_pem}{leaf.key_pem}")
        ca_file = self._directory / "https-ca.crt"
        ca_file.write_text(authority.certificate_pem)
        sockets = self._sockets()
        settings = completed(
            Settings(
                backend="file",
                listen=_bind(8080),
                state_dir=self._directory / "state",
                app_domain=app_domain,
                mongo_domain=DomainName("mongodb.example.com"),
                http_bind=(_bind(8000),),
                https_bind=(_bind(8443),),
                https_certificate=certificate,
                mongo_bind=(_bind(27017),),
                runtime_socket=sockets / "runtime.sock",
                master_socket=sockets / "master.sock",
                target_policy=TargetPolicy(loopback=True),
                admin_token=secrets.token_urlsafe(24),
            )
        )
        (self._directory / "admin-token").touch(mode=0o600)
        (self._directory / "admin-token").write_text(settings.admin_token or "")
        return settings, ca_file

    def _sockets(self) -> Path:
        """A directory whose path is short enough for a socket."""
        run = self._directory / "state" / "run"
        if len(str(run)) < 70:
            return run
        short = Path(tempfile.gettempdir()) / f"fs-demo-{secrets.token_hex(4)}"
        short.mkdir(mode=0o700)
        return short

    def _say(self, title: str, request: str, *answers: str) -> None:
        self._step += 1
        click.secho(f"\n{self._step}. {title}", bold=True)
        if request:
            click.secho(f"   {request}", fg="cyan")
        for answer in answers:
            click.echo(f"   {answer}")

    def _say_what_next(self, settings: Settings, key: str, ca_file: Path) -> None:
        api, http = f"http://{settings.listen}", f"http://{settings.http_bind[0]}"
        domain = f"{APP}.{settings.app_domain}"
        https = settings.https_bind[0]
        pinned = f"--cacert {ca_file} --resolve {domain}:{https.port}:{https.host}"
        removal = f"agentId={AGENT}&subdomain={APP}&type=http"
        click.secho("\nTry it yourself:", bold=True)
        for arguments in (
            f"-H 'Host: {domain}' {http}/",
            f"{pinned} https://{domain}:{https.port}/",
            f"-u {AGENT}:{key} {api}/api/proxy/agents/{AGENT}",
            f"-u {AGENT}:{key} -X DELETE '{api}/api/proxy?{removal}'",
        ):
            click.echo(f"  curl {arguments}")
        click.echo(f"\nThe API's description: {api}/schema/swagger   The guide: README.md, docs/")


def _joined(binds: tuple[HostPort, ...]) -> str:
    return ", ".join(str(bind) for bind in binds)


def _bind(preferred: int) -> HostPort:
    """The preferred loopback port if it is free, else any."""
    with socket.socket() as probe:
        # Connections of a demo that has just ended don't count, whoever listens does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            return HostPort("127.0.0.1", _free_port())
    return HostPort("127.0.0.1", preferred)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
