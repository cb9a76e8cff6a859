"""What a stack is made of: what a test says, else HARNESS_ variables, or the plugin's options.

All of them are checked alike; what isn't among what there is raises `HarnessError`, which names it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from harness import versions
from harness.errors import HarnessError
from harness.parts import NativeParts, Parts

BACKEND, WHERE, HAPROXY = "HARNESS_BACKEND", "HARNESS_WHERE", "HARNESS_HAPROXY"
MONGODB = "HARNESS_MONGODB"
BACKENDS = ("file", "dataplane")
PLACES = ("native", "containers")
MONGODBS = ("single", "replica-set")


# Settings that hold the harness together, each with what a test has instead.
OWNED = {
    "FRONTSERVER_ADMIN_TOKEN": "use `harness.frontserver.ADMIN_TOKEN`",
    "FRONTSERVER_APP_DOMAIN": "`stack.url` says what it is",
    "FRONTSERVER_BACKEND": "use `backend=`",
    "FRONTSERVER_HAPROXY_BIN": "use `haproxy=`",
    "FRONTSERVER_HTTPS_BIND": "use `https=True`, and `stack.front.https_port`",
    "FRONTSERVER_HTTPS_CERTIFICATE": "use `https=True`",
    "FRONTSERVER_HTTP_BIND": "use `stack.front.http_port`, and `stack.front.bind()`",
    "FRONTSERVER_LISTEN": "use `stack.front.api_url`",
    "FRONTSERVER_MONGO_BIND": "use `stack.front.mongo_port`, and `stack.front.bind()`",
    "FRONTSERVER_MONGO_DOMAIN": "`domain` of an agent says what it is",
    "FRONTSERVER_STATE_DIR": "use `stack.front.state_dir`",
}


def chosen_backend(said: str | None = None) -> str:
    """`said`, else HARNESS_BACKEND, else `file`. Raises `HarnessError`."""
    return _one_of("backend", said, BACKEND, BACKENDS)


def chosen_place(said: str | None = None) -> str:
    """`said`, else HARNESS_WHERE, else `native`. Raises `HarnessError`."""
    return _one_of("where", said, WHERE, PLACES)


def chosen_mongodb(said: str | None = None) -> str:
    """`said`, else HARNESS_MONGODB, else `single`. Raises `HarnessError`."""
    return _one_of("mongodb", said, MONGODB, MONGODBS)


def chosen_version(said: str | None = None) -> str | None:
    """`said`, else HARNESS_HAPROXY, else `None`. Raises `HarnessError` for what is no version."""
    name, version = _named("haproxy", said, HAPROXY)
    if version is None:
        return None
    # A number isn't one: 3.10 would be 3.1.
    if not isinstance(version, str) or not re.fullmatch(r"\d+(\.\d+)+", version):
        raise HarnessError(f"{name}={version!r} is no version such as '3.4'")
    return version


def checked_settings(environ: Mapping[str, str]) -> Mapping[str, str]:
    """`environ`, which a stack is to have. Raises `HarnessError` for what is the harness's own."""
    for name in environ:
        if name in OWNED:
            raise HarnessError(f"{name} is the harness's own: {OWNED[name]}")
    return environ


def make_parts(*, where: str | None = None, haproxy: str | None = None) -> Parts:
    """Parts of this HAProxy version (`3.4`) in this place; what isn't said is as chosen.

    Natively that is the HAProxy that is found first, in containers the newest of this machine or,
    with images from a registry, 3.2. Raises `UnavailableError` for what isn't here, and
    `HarnessError` for what there isn't.
    """
    version = chosen_version(haproxy)
    if chosen_place(where) == "native":
        return NativeParts(haproxy=versions.program(version) if version else None)
    # Only where it is wanted: it needs testcontainers, and a Docker daemon.
    from harness.containers.images import LocalImages, chosen_images  # noqa: PLC0415
    from harness.containers.parts import ContainerParts  # noqa: PLC0415

    images = chosen_images()
    if version is None:
        known = versions.programs() if isinstance(images, LocalImages) else {}
        version = max(known, key=_number, default="3.2")
    return ContainerParts(version, images=images)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _one_of(argument: str, said: str | None, variable: str, allowed: tuple[str, ...]) -> str:
    name, chosen = _named(argument, said, variable)
    if chosen is None:
        return allowed[0]
    if not isinstance(chosen, str) or chosen not in allowed:
        raise HarnessError(f"{name}={chosen!r} is none of: {', '.join(allowed)}")
    return chosen


def _named(argument: str, said: object, variable: str) -> tuple[str, object]:
    """Who says it, and what: an empty variable says nothing."""
    if said is not None:
        return argument, said
    return variable, os.environ.get(variable) or None
