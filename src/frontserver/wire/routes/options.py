"""The options of a route, as agents write them."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from frontserver.model.routes import Balance, CookieName, HostHeader

# Seconds as a number, or a string with a unit: "250ms", "30s", "5m", "1h", "1d".
Duration = int | float | str

STICKY_COOKIE = CookieName("FSID")


class _Options(
    msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Inside `options` an unknown field is a mistake, not something to ignore."""


class CheckOptions(_Options, frozen=True):
    """An active check of the origin; without `path` it only connects."""

    path: str | None = None
    interval: Duration = 2
    timeout: Duration | None = None
    rise: int = 2
    fall: int = 3
    expect_status: int | str | None = None
    host: str | None = None


class TargetOptions(_Options, frozen=True):
    """One of several origins. One that drains gets no new visitors; sticky ones come back."""

    url: str
    weight: int = 100
    backup: bool = False
    drain: bool = False


class StickyOptions(_Options, frozen=True):
    """Stickiness by a cookie of this name."""

    cookie: str = STICKY_COOKIE


class TimeoutOptions(_Options, frozen=True):
    """Each is the operator's where it isn't given."""

    connect: Duration | None = None
    server: Duration | None = None
    queue: Duration | None = None
    tunnel: Duration | None = None


class HeaderEditOptions(_Options, frozen=True):
    """Fields to set (replacing what is there) and fields to remove."""

    set: dict[str, str] = {}
    remove: list[str] = []


class HeaderOptions(_Options, frozen=True):
    """Edits on the way to the origin and on the way back."""

    request: HeaderEditOptions = HeaderEditOptions()
    response: HeaderEditOptions = HeaderEditOptions()


class OriginTlsOptions(_Options, frozen=True):
    """For `https://` targets; `ca` is PEM text."""

    verify: bool = True
    server_name: str | None = None
    ca: str | None = None


class HttpOptions(_Options, frozen=True):
    """All options of an HTTP route; every one may be left out.

    Under `maintenance` visitors get 503 with `Retry-After`, and targets hear of nobody.
    """

    use_tls: bool | UnsetType = UNSET
    redirect_https: bool = False
    check: bool | CheckOptions = False
    targets: list[TargetOptions] = []
    balance: Balance = Balance.ROUNDROBIN
    sticky: bool | StickyOptions = False
    timeouts: TimeoutOptions = TimeoutOptions()
    headers: HeaderOptions = HeaderOptions()
    max_connections: int | None = None
    host_header: str = HostHeader.PRESERVE.value
    origin_tls: OriginTlsOptions = OriginTlsOptions()
    maintenance: bool = False
    profile: str | None = None


class MongoOptions(_Options, frozen=True):
    """Options of a MongoDB route. `useTls: false` is refused: names are chosen by TLS SNI."""

    use_tls: bool = True
    check: bool = False
