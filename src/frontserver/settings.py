"""Settings: from the environment and an optional TOML file, all checked before anything starts.

A TOML key is the variable's name without `FRONTSERVER_`, in lower case. The environment wins.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from frontserver.errors import InputError, SettingsError
from frontserver.model.names import DomainName
from frontserver.model.routes import ProfileName
from frontserver.model.targets import HostPort, TargetPolicy

T = TypeVar("T")

BackendName = Literal["dataplane", "file", "memory"]
PREFIX = "FRONTSERVER_"

# Variables of the agent program and of whoever looks for a mongod: not ours to judge.
_FOREIGN = ("FRONTSERVER_URL", "FRONTSERVER_AGENT_", "FRONTSERVER_MONGOD_BIN")

# HAProxy configuration manual, 4: letters, digits and four others.
_SECTION_NAME = re.compile(r"[A-Za-z0-9_.:-]+")

# A path of a Unix socket has at most 107 bytes (unix(7)).
_SOCKET_PATH_LIMIT = 107


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator can set. `None` binds mean: this listener is off."""

    listen: HostPort = HostPort("127.0.0.1", 8080)
    backend: BackendName = "dataplane"
    state_dir: Path = Path("/var/lib/frontserver")
    database_url: str = ""
    app_domain: DomainName = DomainName("apps.example.com")
    mongo_domain: DomainName = DomainName("mongodb.example.com")
    http_bind: tuple[HostPort, ...] = (HostPort("0.0.0.0", 80),)
    https_bind: tuple[HostPort, ...] = (HostPort("0.0.0.0", 443),)
    https_certificate: Path | None = None
    mongo_bind: tuple[HostPort, ...] = (HostPort("0.0.0.0", 27017),)
    mongo_public_port: int | None = None
    haproxy: Literal["embedded", "external"] = "embedded"
    haproxy_bin: Path | None = None
    runtime_socket: Path = Path()
    master_socket: Path = Path()
    config_dir: Path = Path()
    template_dir: Path | None = None
    enrolment: Literal["open", "invite", "closed"] = "invite"
    admin_token: str | None = None
    target_policy: TargetPolicy = TargetPolicy()
    trusted_proxies: tuple[str, ...] = ()
    master_key_file: Path = Path()
    dataplane_url: str = "http://127.0.0.1:5555"
    dataplane_user: str | None = None
    dataplane_password: str | None = None
    dataplane_ca: Path | None = None
    dataplane_certificate: Path | None = None
    dataplane_key: Path | None = None
    dataplane_file: Literal["own", "shared"] = "own"
    dataplane_http_frontends: tuple[str, ...] = ()
    dataplane_mongodb_frontends: tuple[str, ...] = ()
    installation: str = "frontserver"
    key_type: Literal["rsa", "ec"] = "rsa"
    reserved_subdomains: frozenset[str] = frozenset()
    profiles_per_agent: int = 20
    batch_routes: int = 10_000
    route_profiles: frozenset[str] = frozenset()
    hard_stop_after: str | None = None
    old_worker_memory: int = 1 << 30
    metrics: bool = True
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def connection_port(self) -> int:
        """The port that MongoDB connection strings name."""
        if self.mongo_public_port is not None:
            return self.mongo_public_port
        return self.mongo_bind[0].port if self.mongo_bind else 27017


def load(environ: Mapping[str, str] | None = None, *, config: Path | None = None) -> Settings:
    """Read settings; raises `SettingsError` with a line for each bad value, all at once."""
    environ = os.environ if environ is None else environ
    raw, problems = _gather(environ, config)
    values: dict[str, Any] = {}
    for name, text in raw.items():
        try:
            values[name] = _PARSERS[name](text)
        except (InputError, ValueError) as error:
            reason = error.message if isinstance(error, InputError) else str(error)
            problems.append(f"{PREFIX}{name.upper()}: {reason}")
    if problems:
        raise SettingsError(problems)
    return completed(Settings(**values))


def _gather(environ: Mapping[str, str], config: Path | None) -> tuple[dict[str, str], list[str]]:
    raw, problems = _from_file(config) if config is not None else ({}, [])
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable.startswith(_FOREIGN):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in _PARSERS:
            problems.append(f"{variable}: no such setting; see docs/settings.md")
        elif value != "":
            raw[name] = value
    return raw, problems


def _from_file(config: Path) -> tuple[dict[str, str], list[str]]:
    raw: dict[str, str] = {}
    problems: list[str] = []
    try:
        table = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError([f"{config}: {error}"]) from error
    for name, value in table.items():
        if name not in _PARSERS:
            problems.append(f"{config}: unknown setting {name!r}")
        elif isinstance(value, dict):
            problems.append(f"{config}: {name} is a table, and must be a value")
        elif isinstance(value, list):
            raw[name] = ",".join(str(item) for item in value)
        elif value != "":
            raw[name] = str(value)
    return raw, problems


def completed(settings: Settings) -> Settings:
    """Fill in the paths that follow the state directory, and what the policy must know."""
    state = settings.state_dir
    run = state / "run"
    own_ports = {
        settings.listen.port,
        *(bind.port for bind in (*settings.http_bind, *settings.https_bind, *settings.mongo_bind)),
    }
    addresses = {
        bind.host
        for bind in (
            settings.listen,
            *settings.http_bind,
            *settings.https_bind,
            *settings.mongo_bind,
        )
        if bind.address and not bind.address.is_unspecified
    }
    done = msgspec.structs.replace(
        settings,
        database_url=settings.database_url or f"sqlite:///{state / 'state.sqlite3'}",
        runtime_socket=_or(settings.runtime_socket, run / "runtime.sock"),
        master_socket=_or(settings.master_socket, run / "master.sock"),
        config_dir=_or(settings.config_dir, state / "haproxy"),
        master_key_file=_or(settings.master_key_file, state / "master.key"),
        target_policy=msgspec.structs.replace(
            settings.target_policy,
            own_ports=frozenset(own_ports),
            own_addresses=frozenset(addresses),
        ),
    )
    _check_together(done)
    return done


def _or(path: Path, default: Path) -> Path:
    return default if path == Path() else path


def _check_together(settings: Settings) -> None:
    problems = [
        f"{PREFIX}{name.upper()}: {path} is longer than a socket path may be "
        f"({_SOCKET_PATH_LIMIT} bytes); set a shorter one"
        for name, path in (
            ("runtime_socket", settings.runtime_socket),
            ("master_socket", settings.master_socket),
        )
        # HAProxy binds a temporary name beside the final one: ".<pid>.tmp".
        if len(os.fsencode(path)) + len(".4194304.tmp") > _SOCKET_PATH_LIMIT
    ]
    if settings.https_certificate and not settings.https_certificate.is_file():
        problems.append(f"{PREFIX}HTTPS_CERTIFICATE: {settings.https_certificate} is no file")
    if settings.dataplane_key is not None and settings.dataplane_certificate is None:
        problems.append(
            f"{PREFIX}DATAPLANE_KEY: it is the key of a client certificate; "
            f"set {PREFIX}DATAPLANE_CERTIFICATE too"
        )
    problems += _check_adopted(settings)
    if settings.app_domain == settings.mongo_domain:
        problems.append(f"{PREFIX}MONGO_DOMAIN: must differ from {PREFIX}APP_DOMAIN")
    binds = [*settings.http_bind, *settings.https_bind, *settings.mongo_bind, settings.listen]
    problems += [
        f"{PREFIX}*_BIND: {bind} is named for two listeners"
        for bind in dict.fromkeys(binds)
        if binds.count(bind) > 1
    ]
    if problems:
        raise SettingsError(problems)


def _check_adopted(settings: Settings) -> list[str]:
    http, mongodb = settings.dataplane_http_frontends, settings.dataplane_mongodb_frontends
    variables = f"{PREFIX}DATAPLANE_HTTP_FRONTENDS, {PREFIX}DATAPLANE_MONGODB_FRONTENDS"
    if not http and not mongodb:
        return []
    problems = [
        f"{variables}: {name} is named twice, and can lead to routes of one kind only"
        for name in sorted(set(http) & set(mongodb))
    ]
    if (settings.backend, settings.dataplane_file) != ("dataplane", "shared"):
        problems.append(
            f"{variables}: frontends of yours are adopted in a file that is shared alone; set "
            f"{PREFIX}BACKEND=dataplane and {PREFIX}DATAPLANE_FILE=shared"
        )
    return problems


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is not one of: {', '.join(allowed)}")
        return text

    return parse


def _bind(text: str) -> HostPort:
    host, separator, port = text.strip().rpartition(":")
    if not separator or not port.isdigit():
        raise ValueError(f"{text!r} is not HOST:PORT (such as 0.0.0.0:80 or [::]:80)")
    host = host.strip("[]")
    bind = HostPort("0.0.0.0" if host in {"", "*"} else host, int(port))
    if bind.address is None:
        raise ValueError(f"{text!r}: give an IP address to listen on, not a name")
    return bind


def _listen(text: str) -> HostPort:
    return _bind(text.replace("localhost", "127.0.0.1"))


def _binds(text: str) -> tuple[HostPort, ...]:
    if text.strip().lower() in {"off", "none"}:
        return ()
    return tuple(_bind(part) for part in text.split(","))


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is not a TCP port: 1 to 65535")
    return int(text)


def _size(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,8})([KMGT])", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size, such as 512M or 2G")
    return int(match[1]) << 10 * (" KMGT".index(match[2]))


def _count(text: str) -> int:
    if not text.isdigit() or not text.isascii() or int(text) > 10_000:
        raise ValueError(f"{text!r} is not a number from 0 to 10000")
    return int(text)


def _batch(text: str) -> int:
    number = _count(text)
    if number == 0:
        raise ValueError("a batch has at least one route")
    return number


def _networks(text: str) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_network(part.strip())) for part in text.split(","))


def _policy(text: str) -> TargetPolicy:
    match text.strip():
        case "public":
            return TargetPolicy(private=False)
        case "private":
            return TargetPolicy()
        case "allow-loopback":
            return TargetPolicy(loopback=True)
        case _:
            try:
                return TargetPolicy(networks=_networks(text))
            except ValueError as error:
                raise ValueError(
                    f"{text!r} is neither public, private, allow-loopback nor a list of CIDRs"
                ) from error


def _file(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _readable(text: str) -> Path:
    path = _file(text)
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ValueError(f"{path} is not a file that can be read")
    return path


def _http_url(text: str) -> str:
    url = urlsplit(text.strip())
    if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment:
        raise ValueError(f"{text!r} is not a URL such as http://127.0.0.1:5555")
    if url.username or url.password:
        raise ValueError("user and password have settings of their own")
    if url.port == 0:  # One that is no port at all raises by itself.
        raise ValueError("a port is a number from 1 to 65535")
    return text.strip().rstrip("/")


def _executable(text: str) -> Path:
    path = _file(text)
    if not os.access(path, os.X_OK) or not path.is_file():
        raise ValueError(f"{path} is not an executable file")
    return path


def _directory(text: str) -> Path:
    path = _file(text)
    if not path.is_dir():
        raise ValueError(f"{path} is not a directory")
    return path


def _secret(text: str) -> str:
    if len(text) < 16:
        raise ValueError("give at least 16 characters")
    return text


def _installation(text: str) -> str:
    # It becomes O= of every certificate; 64 is X.520's limit (RFC 5280 appendix A).
    if not text.isprintable() or not 1 <= len(text) <= 64:
        raise ValueError("give 1 to 64 printable characters")
    return text


def _haproxy_time(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,9}[smhd]", text):
        raise ValueError(f"{text!r} is not a time such as 30s, 15m, 12h or 7d")
    return text


def _profiles(text: str) -> frozenset[str]:
    return frozenset(ProfileName(part.strip()) for part in text.split(",") if part.strip())


def _switch(text: str) -> bool:
    # A TOML file may say true and false.
    return _choice("on", "off", "true", "false")(text.lower()) in {"on", "true"}


def _frontends(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if not _SECTION_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a frontend of HAProxy's")
        if name.startswith("fs_"):
            raise ValueError(f"{name!r} begins with fs_, and so is the front server's own")
    return names


def _labels(text: str) -> frozenset[str]:
    return frozenset(part.strip().lower() for part in text.split(",") if part.strip())


_PARSERS: dict[str, Callable[[str], Any]] = {
    "listen": _listen,
    "backend": _choice("dataplane", "file", "memory"),
    "state_dir": _file,
    "database_url": str,
    "app_domain": DomainName,
    "mongo_domain": DomainName,
    "http_bind": _binds,
    "https_bind": _binds,
    "https_certificate": _file,
    "mongo_bind": _binds,
    "mongo_public_port": _port,
    "haproxy": _choice("embedded", "external"),
    "haproxy_bin": _executable,
    "runtime_socket": _file,
    "master_socket": _file,
    "config_dir": _file,
    "template_dir": _directory,
    "enrolment": _choice("open", "invite", "closed"),
    "admin_token": _secret,
    "target_policy": _policy,
    "trusted_proxies": _networks,
    "master_key_file": _file,
    "dataplane_url": _http_url,
    "dataplane_user": str,
    "dataplane_password": str,
    "dataplane_ca": _readable,
    "dataplane_certificate": _readable,
    "dataplane_key": _readable,
    "dataplane_file": _choice("own", "shared"),
    "dataplane_http_frontends": _frontends,
    "dataplane_mongodb_frontends": _frontends,
    "installation": _installation,
    "key_type": _choice("rsa", "ec"),
    "reserved_subdomains": _labels,
    "profiles_per_agent": _count,
    "batch_routes": _batch,
    "route_profiles": _profiles,
    "hard_stop_after": _haproxy_time,
    "old_worker_memory": _size,
    "metrics": _switch,
    "log_level": _choice("debug", "info", "warning", "error"),
}
