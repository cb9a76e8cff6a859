"""The composition: the only place where settings become objects and ports get implementations."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import signal
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address
from pathlib import Path

import certifi
import msgspec
import uvicorn
from litestar.types import ASGIApp
from sqlalchemy import text

from frontserver import __version__
from frontserver.api.application import create_api
from frontserver.api.metrics import MeasuredApp, Metrics
from frontserver.backends.file.backend import FileBackend
from frontserver.backends.file.generations import Generations
from frontserver.backends.memory import MemoryBackend
from frontserver.backends.port import Backend
from frontserver.errors import (
    CertificateError,
    ConfigRejectedError,
    ProcessConflictError,
    SettingsError,
)
from frontserver.haproxy import binary
from frontserver.haproxy.canary import Canary, Verdicts
from frontserver.haproxy.check import check as haproxy_check
from frontserver.haproxy.locks import ControllerLock
from frontserver.haproxy.master import MasterClient
from frontserver.haproxy.probe import Prober
from frontserver.haproxy.process import EmbeddedHaproxy, ExternalHaproxy, HaproxyProcess
from frontserver.haproxy.runtime import RuntimeClient
from frontserver.model.measurements import Measurements
from frontserver.model.routes import RouteKey
from frontserver.model.status import PENDING, ProxyStatus, RouteStatus
from frontserver.model.targets import HostPort, TargetPolicy
from frontserver.pki import pem
from frontserver.pki.bundles import check_server_pem
from frontserver.pki.sealing import MasterKey
from frontserver.planning.compile import STANDARD_PROFILES
from frontserver.planning.compiled import (
    HTTPS_CERTIFICATE,
    Certificate,
    CompiledConfig,
    Frontends,
)
from frontserver.planning.layout import PoolPolicy
from frontserver.reconcile.desired import DesiredState
from frontserver.reconcile.reconciler import Reconciler
from frontserver.reconcile.resolution import Resolver
from frontserver.rendering.invariants import check_reloadable
from frontserver.rendering.origins import traced
from frontserver.rendering.render import Renderer
from frontserver.rendering.templates import Templates
from frontserver.rendering.updates import TemplateUpdates, rehearsed
from frontserver.security.keys import KeyHasher, VerifiedKeys
from frontserver.security.operators import OperatorCredential
from frontserver.security.throttle import Throttle
from frontserver.security.tokens import TokenIssuer
from frontserver.services.agents import AgentService
from frontserver.services.certificates import CertificateService
from frontserver.services.credentials import KeyCheck
from frontserver.services.installation import load_authority, load_signing_keys
from frontserver.services.ports import Publisher
from frontserver.services.routes import RouteService
from frontserver.settings import Settings
from frontserver.storage.engine import Database, open_database
from frontserver.storage.feed import RouteStore
from frontserver.storage.routes import StoredRoute

logger = logging.getLogger(__name__)

TOKEN_LIFE = timedelta(hours=24)
_BACKLOG = 2048
# Objects made before the young, the middle and the old are looked at for garbage (gc module).
_COLLECTIONS = 10_000, 20, 50
_SETTLING = 0.5
_NO_DATAPLANE = (
    "FRONTSERVER_BACKEND: the dataplane backend, the default, isn't part of this version yet; "
    "set FRONTSERVER_BACKEND=file"
)
POOLS = PoolPolicy(STANDARD_PROFILES, spare=64)


class Services(msgspec.Struct, frozen=True):
    """The use cases over one open database."""

    database: Database
    agents: AgentService
    routes: RouteService
    certificates: CertificateService


class FrontServer:
    """One control plane: API, reconciler, HAProxy. `run` serves until a signal ends it.

    `started` is set once the API listens.
    """

    def __init__(self, settings: Settings, *, stop_haproxy: bool = False) -> None:
        _refuse_missing_backend(settings)
        self.settings = settings
        self.started = asyncio.Event()
        self._stop_haproxy = stop_haproxy
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Compose everything, serve, and take it down in the opposite order."""
        settings = self.settings
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        # From the first moment: without a handler, SIGHUP would end us.
        hangup = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, hangup.set)
        templates = await asyncio.to_thread(rehearsed_templates, settings)
        renderer = Renderer(templates)
        metrics = Metrics(__version__) if settings.metrics else None
        async with AsyncExitStack() as stack:
            stack.enter_context(controller_lock(settings))
            listener = stack.enter_context(listening_socket(settings.listen))
            process = haproxy_process(settings)
            if self._stop_haproxy and isinstance(process, EmbeddedHaproxy):
                stack.push_async_callback(process.stop)
            backend = make_backend(settings, process, renderer, metrics)
            stack.push_async_callback(backend.close)
            database = await stack.enter_async_context(opened_database(settings))
            reconciler = make_reconciler(settings, backend, database, templates, metrics)
            updates = template_updates(settings, templates, renderer, reconciler)
            stack.push_async_callback(_cancelled, asyncio.create_task(updates.follow(hangup)))
            services = await make_services(settings, database, reconciler)
            task = asyncio.create_task(reconciler.run())
            stack.push_async_callback(_cancelled, task)
            gc.set_threshold(*_COLLECTIONS)
            settling = asyncio.create_task(self._settle_memory(reconciler))
            stack.push_async_callback(_cancelled, settling)
            api = make_api(settings, services, reconciler, metrics)
            await self._serve(api, listener, task)

    def stop(self) -> None:
        """End `run`, as SIGTERM and Ctrl-C do."""
        self._stopping.set()

    async def _serve(
        self, api: ASGIApp, listener: socket.socket, reconciling: asyncio.Task[None]
    ) -> None:
        server = _Server(
            uvicorn.Config(
                api,
                http="httptools",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=5,
                # Agents keep their connections; closing under a request would cost them a retry.
                timeout_keep_alive=75,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not (server.started or serving.done()):
                await asyncio.sleep(0.01)
            logger.info("listening on http://%s", self.settings.listen)
            self.started.set()
            # An API that drives nothing any more is worse than none: somebody restarts it then.
            await asyncio.wait(
                {serving, stopping, reconciling}, return_when=asyncio.FIRST_COMPLETED
            )
            server.should_exit = True
            await serving
            if reconciling.done():
                await reconciling
        finally:
            stopping.cancel()

    async def _settle_memory(self, reconciler: Reconciler) -> None:
        """Once all routes are there, don't let the collector look at them again and again.

        A full collection over 50,000 routes takes 0.3 s, in which nobody is served.
        """
        while not reconciler.proxy_status().in_step:
            await asyncio.sleep(_SETTLING)
        gc.collect()
        gc.freeze()


def listening_socket(listen: HostPort) -> socket.socket:
    """A socket that listens there; raises `ProcessConflictError` if it can't be had."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named: without it answers take 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((listen.host, listen.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ProcessConflictError(
            f"the API can't listen on {listen}: {error.strerror}",
            hint="stop what is there, or set another FRONTSERVER_LISTEN",
        ) from error
    return listener


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn would raise them anew and cut our own cleaning up short."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _refuse_missing_backend(settings: Settings) -> None:
    if settings.backend == "dataplane":
        raise SettingsError([_NO_DATAPLANE])


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


# --- state and services ---


@asynccontextmanager
async def opened_database(settings: Settings) -> AsyncIterator[Database]:
    """The database, its schema brought up to date."""
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = open_database(settings.database_url)
    try:
        await database.migrate()
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def opened_services(settings: Settings) -> AsyncIterator[Services]:
    """The services without a HAProxy, for commands that only change what is stored."""
    async with opened_database(settings) as database:
        yield await make_services(settings, database, _Nobody())


class _Nobody:
    """A publisher for commands: a running `serve` finds what was stored by itself."""

    def tell(self, key: RouteKey, stored: StoredRoute) -> None:
        pass

    def wake(self) -> None:
        pass

    async def settle(self, key: RouteKey, revision: int, seconds: float) -> RouteStatus:  # noqa: ARG002
        return PENDING

    def status(self, key: RouteKey) -> RouteStatus:  # noqa: ARG002
        return PENDING

    def proxy_status(self) -> ProxyStatus:
        return ProxyStatus(False, False, 0, 0)


async def make_services(settings: Settings, database: Database, publisher: Publisher) -> Services:
    """The services over an open database."""
    now = datetime.now(UTC)
    master_key = await asyncio.to_thread(MasterKey.load_or_create, settings.master_key_file)
    anchor = await load_authority(
        database,
        master_key,
        installation=settings.installation,
        key_type=settings.key_type,
        now=now,
    )
    signing_keys = await load_signing_keys(database, master_key, now=now, ttl=TOKEN_LIFE)
    certificates = CertificateService(
        database,
        master_key,
        anchor,
        installation=settings.installation,
        app_domain=settings.app_domain,
        mongo_domain=settings.mongo_domain,
        key_type=settings.key_type,
    )
    routes = RouteService(
        database,
        publisher,
        app_domain=settings.app_domain,
        mongo_domain=settings.mongo_domain,
        tls_available=tls_available(settings),
        connection_port=settings.connection_port,
        policy=target_policy(settings),
        reserved=settings.reserved_subdomains,
        most_profiles=settings.profiles_per_agent,
        most_at_once=settings.batch_routes,
        profiles=settings.route_profiles,
    )
    agents = AgentService(
        database,
        publisher,
        routes,
        certificates,
        keys=KeyCheck(
            KeyHasher(), Throttle(clock=time.monotonic), VerifiedKeys(clock=time.monotonic)
        ),
        tokens=TokenIssuer(
            signing_keys,
            issuer=settings.installation,
            audience="frontserver",
            ttl=TOKEN_LIFE,
            clock=lambda: datetime.now(UTC),
        ),
        operator=OperatorCredential(settings.admin_token),
        enrolment=settings.enrolment,
    )
    return Services(database, agents, routes, certificates)


def target_policy(settings: Settings) -> TargetPolicy:
    """The operator's policy, knowing all addresses of this machine: its own ports are no target."""
    own = settings.target_policy.own_addresses | interface_addresses()
    return msgspec.structs.replace(settings.target_policy, own_addresses=own)


def interface_addresses(proc: Path = Path("/proc")) -> frozenset[str]:
    """This machine's addresses, as the kernel's routing tables list them (proc(5)).

    Empty where there is no /proc: then only the addresses of listeners count as our own.
    """
    try:
        trie = (proc / "net" / "fib_trie").read_text()
        ipv4 = re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", trie)
        lines = (proc / "net" / "if_inet6").read_text().splitlines()
    except OSError:
        return frozenset()
    ipv6 = [str(IPv6Address(int(line.split()[0], 16))) for line in lines]
    return frozenset(ipv4) | frozenset(ipv6)


def tls_available(settings: Settings) -> bool:
    """Whether HTTP routes are served over HTTPS too."""
    return settings.https_certificate is not None and bool(settings.https_bind)


def make_api(
    settings: Settings, services: Services, publisher: Publisher, metrics: Metrics | None = None
) -> ASGIApp:
    """The ASGI application; its requests count in `metrics`."""

    async def storage_check() -> None:
        await services.database.read(lambda session: session.run(text("SELECT 1")).scalar())

    api = create_api(
        agents=services.agents,
        routes=services.routes,
        certificates=services.certificates,
        publisher=publisher,
        storage_check=storage_check,
        version=__version__,
        metrics=metrics,
        trusted_proxies=settings.trusted_proxies,
        most_at_once=settings.batch_routes,
    )
    return api if metrics is None else MeasuredApp(api, metrics)


# --- HAProxy ---


def make_reconciler(
    settings: Settings,
    backend: Backend,
    database: Database,
    templates: Templates,
    measurements: Measurements | None = None,
) -> Reconciler:
    """The reconciler of the one HAProxy there is."""
    resolver = Resolver()
    config = CompiledConfig(make_frontends(settings, templates))
    return Reconciler(
        backend,
        route_store(settings, database),
        DesiredState(config, resolver, target_policy(settings)),
        resolver,
        policy=POOLS,
        certificates=CertificateFile(settings),
        budget=settings.old_worker_memory,
        measurements=measurements,
    )


def route_store(settings: Settings, database: Database) -> RouteStore:
    """The stored routes as a reconciler reads them."""
    return RouteStore(database, settings.app_domain, settings.mongo_domain, tls_available(settings))


def make_frontends(settings: Settings, templates: Templates) -> Frontends:
    """Everything of HAProxy's configuration that settings and templates decide."""
    return Frontends(
        http_binds=settings.http_bind,
        https_binds=settings.https_bind if tls_available(settings) else (),
        mongo_binds=settings.mongo_bind,
        runtime_socket=str(settings.runtime_socket),
        hard_stop_after=settings.hard_stop_after,
        templates=templates.fingerprint(),
        extensions=templates.extensions(),
        system_ca=system_cas(),
    )


def system_cas() -> str:
    """The CA certificates that this system trusts, as one PEM."""
    path = ssl.get_default_verify_paths().cafile or certifi.where()
    return Path(path if os.access(path, os.R_OK) else certifi.where()).read_text()


class CertificateFile:
    """The operator's HTTPS certificate; a renewed file is noticed, a broken one ignored."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.https_certificate if tls_available(settings) else None
        self._stamp: tuple[int, int] | None = None
        self._current: tuple[Certificate, ...] = ()
        if self._path is not None:
            self._read(self._path)

    def __call__(self) -> tuple[Certificate, ...]:
        if self._path is None:
            return ()
        try:
            self._read(self._path)
        except (OSError, UnicodeDecodeError, CertificateError) as error:
            logger.error("%s isn't used: %s", self._path, error)
        return self._current

    def _read(self, path: Path) -> None:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        content = path.read_text()
        check_server_pem(content, datetime.now(UTC))
        self._current = (Certificate(HTTPS_CERTIFICATE, pem.normalised(content)),)


def haproxy_process(settings: Settings) -> HaproxyProcess:
    """The HAProxy to drive: our own, or somebody else's by its sockets."""
    if settings.haproxy == "external":
        return ExternalHaproxy(
            runtime_socket=settings.runtime_socket, master_socket=settings.master_socket
        )
    return embedded_haproxy(settings)


def embedded_haproxy(settings: Settings) -> EmbeddedHaproxy:
    """The HAProxy that belongs to the state directory."""
    https = settings.https_bind if tls_available(settings) else ()
    return EmbeddedHaproxy(
        binary=binary.find(settings.haproxy_bin),
        config_path=settings.config_dir / "current",
        run_dir=settings.state_dir / "run",
        runtime_socket=settings.runtime_socket,
        master_socket=settings.master_socket,
        binds=[
            (bind.host, bind.port) for bind in (*settings.http_bind, *https, *settings.mongo_bind)
        ],
    )


def controller_lock(settings: Settings) -> ControllerLock:
    """Held while a control plane drives the HAProxy of this state directory."""
    return ControllerLock(settings.state_dir / "run")


def make_backend(
    settings: Settings,
    process: HaproxyProcess,
    renderer: Renderer,
    measurements: Measurements | None = None,
) -> Backend:
    """The backend that the operator chose."""
    if settings.backend == "memory":
        return MemoryBackend()
    program = own_program(settings)
    verdicts = Verdicts(settings.state_dir / "haproxy-trials.json")
    return FileBackend(
        renderer=renderer,
        generations=Generations(settings.config_dir),
        process=process,
        runtime=RuntimeClient(settings.runtime_socket, master=settings.master_socket),
        master=MasterClient(settings.master_socket),
        check=checker(settings, renderer),
        canary=Canary(program, verdicts) if program else None,
        prober=Prober(program, verdicts),
        measurements=measurements,
    )


def own_program(settings: Settings) -> Path | None:
    """The HAProxy program that configurations and profiles may be tried with.

    A HAProxy of somebody else's may be of another version, or in another container: without a
    binary of its own named, its reload is the only judge.
    """
    if settings.haproxy == "external" and settings.haproxy_bin is None:
        return None
    return binary.find(settings.haproxy_bin)


def checker(settings: Settings, renderer: Renderer) -> Callable[[Path], Awaitable[None]]:
    """`haproxy -c` by the binary at hand, if there is one.

    A refusal names the line of the template, where that is clear.
    """
    program = own_program(settings)
    if program is None:
        return _unchecked

    async def run(path: Path) -> None:
        try:
            await haproxy_check(program, path)
        except ConfigRejectedError as error:
            raise traced(error, renderer) from error

    return run


async def _unchecked(path: Path) -> None:
    """Accepts everything: HAProxy's own answer to the reload decides."""
    logger.debug("%s is not checked before the reload", path)


# --- templates ---


def make_templates(settings: Settings) -> Templates:
    """The templates as they are on disk. Raises `TemplateError` and `SettingsError`."""
    templates = Templates(settings.template_dir)
    known = {extension.name for extension in templates.extensions()}
    missing = sorted(settings.route_profiles - known)
    if missing:
        raise SettingsError(
            [
                f"FRONTSERVER_ROUTE_PROFILES: {name}: FRONTSERVER_TEMPLATE_DIR has no "
                f"custom/profiles/{name}.cfg.j2"
                for name in missing
            ]
        )
    return templates


def rehearsed_templates(settings: Settings) -> Templates:
    """Templates that render; raises what is wrong with them before anything depends on them."""
    templates = make_templates(settings)
    rehearsal(settings, templates)
    return templates


def rehearsal(settings: Settings, templates: Templates) -> dict[str, str]:
    """What `rehearsed` says of these templates with these settings."""
    frame = CompiledConfig(
        make_frontends(settings, templates), certificates=CertificateFile(settings)()
    )
    return rehearsed(Renderer(templates), frame, POOLS)


def template_updates(
    settings: Settings, templates: Templates, renderer: Renderer, reconciler: Reconciler
) -> TemplateUpdates:
    """What takes up changed templates while HAProxy runs."""

    async def rehearse(before: Templates, changed: Templates) -> None:
        files = await asyncio.to_thread(rehearsal, settings, changed)
        check_reloadable(await asyncio.to_thread(rehearsal, settings, before), files)
        with tempfile.TemporaryDirectory(prefix="frontserver-check-") as directory:
            write_files(files, Path(directory))
            await checker(settings, Renderer(changed))(Path(directory))

    def use(changed: Templates) -> None:
        renderer.offer(changed)
        reconciler.reframe(make_frontends(settings, changed))

    return TemplateUpdates(
        templates,
        read=lambda: make_templates(settings),
        rehearse=rehearse,
        use=use,
        warn=lambda warning: reconciler.warn("templates", warning),
    )


def write_files(files: Mapping[str, str], directory: Path) -> None:
    """Write them below the directory, readable by their owner alone."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(content)
