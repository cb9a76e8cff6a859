"""What a stack is made of unless told otherwise: HARNESS_ variables, or the plugin's options."""

from __future__ import annotations

import os

from harness import versions
from harness.errors import HarnessError
from harness.parts import NativeParts, Parts

BACKEND, WHERE, HAPROXY = "HARNESS_BACKEND", "HARNESS_WHERE", "HARNESS_HAPROXY"
MONGODB = "HARNESS_MONGODB"
BACKENDS = ("file", "dataplane")
PLACES = ("native", "containers")
MONGODBS = ("single", "replica-set")


def chosen_backend() -> str:
    """HARNESS_BACKEND, else `file`. Raises `HarnessError` for one that there isn't."""
    return _one_of(BACKEND, BACKENDS)


def chosen_place() -> str:
    """HARNESS_WHERE, else `native`. Raises `HarnessError` for one that there isn't."""
    return _one_of(WHERE, PLACES)


def chosen_mongodb() -> str:
    """HARNESS_MONGODB, else `single`. Raises `HarnessError` for what there isn't."""
    return _one_of(MONGODB, MONGODBS)


def make_parts(*, where: str | None = None, haproxy: str | None = None) -> Parts:
    """Parts of this HAProxy version (`3.4`) in this place; what isn't said is as chosen.

    Natively that is the HAProxy that is found first, in containers the newest of this machine or,
    with images from a registry, 3.2. Raises `UnavailableError` for what isn't here.
    """
    version = haproxy or os.environ.get(HAPROXY) or None
    if (where or chosen_place()) == "native":
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


def _one_of(variable: str, allowed: tuple[str, ...]) -> str:
    chosen = os.environ.get(variable) or allowed[0]
    if chosen not in allowed:
        raise HarnessError(f"{variable}={chosen} is none of: {', '.join(allowed)}")
    return chosen
