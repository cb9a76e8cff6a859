"""Images of the stack's parts: official ones, or all built here where no registry is.

Each is built once, under a name that changes with what is in it, and is reused from then on.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import docker
from docker.errors import BuildError, DockerException, ImageNotFound

from harness import versions
from harness.containers.machine import hides
from harness.errors import HarnessError, UnavailableError
from harness.mongo import find_mongod

_ROOT = Path(__file__).parents[2]
_PREFIX = "frontserver-harness"
_SUITE = "bookworm"
# Of that suite.
_POSTGRESQL = "15"
# Of Debian 12, and of Debian 13, which newer official images are based on.
_PYTHONS = ("3.11", "3.13")
# libcurl4 for mongod, the rest for the front server.
_PACKAGES = ("ca-certificates", "libcurl4", "python3", "python3-venv")
_PRODUCT = ("src", "templates", "pyproject.toml", "constraints.txt", "README.md", "deploy")

# Where the official image has it, and so ours.
HAPROXY = Path("/usr/local/sbin/haproxy")


class Images(Protocol):
    """Names of images that are there; each call makes one that is missing.

    All raise `UnavailableError` for what can't be had here, with what to do, and `HarnessError` if
    a build fails.
    """

    def front(self, version: str) -> str:
        """The product, with a HAProxy of this version (`3.4`) at `/usr/local/sbin/haproxy`."""
        ...

    def proxy(self, version: str) -> str:
        """HAProxy for a Data Plane API that is beside it, or in it."""
        ...

    def mongod(self) -> str:
        """MongoDB, with `mongod` on its path."""
        ...

    def postgresql(self) -> str:
        """PostgreSQL, with `initdb` and `postgres` on its path."""
        ...


class RegistryImages:
    """The official images, and the product's built on top of one."""

    def front(self, version: str) -> str:
        return _product(f"haproxy:{version}", version)

    def proxy(self, version: str) -> str:
        return f"haproxytech/haproxy-debian:{version}"

    def mongod(self) -> str:
        return "mongo:7.0"

    def postgresql(self) -> str:
        return "postgres:17"


class LocalImages:
    """All images from Debian packages and Python wheels; needs root and debootstrap."""

    def front(self, version: str) -> str:
        return _product(self.proxy(version), version)

    def proxy(self, version: str) -> str:
        program = versions.program(version).resolve()
        if hides(program):
            raise UnavailableError(
                f"{program} can't be in an image: containers have a /tmp of their own; "
                "have your clone somewhere else, or unset TMPDIR"
            )
        # It finds its libraries beside it, by their full paths.
        beside = program.parent if (program.parent / "lib").is_dir() else program
        name = _named(f"haproxy:{version}", str(program).encode() + program.read_bytes())
        text = f"FROM {self._base()}\nCOPY tree /\nRUN ln -s {program} {HAPROXY}\n"
        return _built(name, text, {"tree" + str(beside): beside})

    def mongod(self) -> str:
        program = find_mongod()
        stamp = f"{program.stat().st_size} {program.stat().st_mtime_ns}"
        text = f"FROM {self._base()}\nCOPY mongod /usr/local/bin/mongod\n"
        return _built(_named("mongod", stamp.encode()), text, {"mongod": program})

    def postgresql(self) -> str:
        name = f"{_PREFIX}/postgresql:{_POSTGRESQL}-{_SUITE}"
        programs = f"/usr/lib/postgresql/{_POSTGRESQL}/bin"
        packages = (f"postgresql-{_POSTGRESQL}",)
        return _made(name, functools.partial(_debootstrap, name, packages, programs))

    @staticmethod
    def _base() -> str:
        name = f"{_PREFIX}/base:{_SUITE}"
        return _made(name, functools.partial(_debootstrap, name, _PACKAGES))


def chosen_images() -> Images:
    """What HARNESS_IMAGES says: `registry`, or `local`; by default the first that can be had."""
    chosen = os.environ.get("HARNESS_IMAGES") or _available()
    if chosen == "registry":
        return RegistryImages()
    if chosen == "local":
        # Its reaper is an image of a registry; containers are ended by whoever started them.
        os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
        return LocalImages()
    raise HarnessError(f"HARNESS_IMAGES={chosen} is none of: registry, local")


@functools.cache
def _available() -> str:
    """`local` where no registry answers and all can be built here, else `registry`."""
    try:
        daemon().images.get_registry_data(RegistryImages().mongod())
    except DockerException as error:
        if _builds_bases():
            _say(f"no registry ({error}): all are built here")
            return "local"
    return "registry"


def prepare(images: Images, haproxys: Sequence[str]) -> dict[str, str]:
    """Make the images of these versions side by side; those that can't be had, with the reason."""
    missing: dict[str, str] = {}

    def try_to_make(version: str) -> None:
        try:
            images.front(version)
        except UnavailableError as error:
            missing[version] = str(error)

    with ThreadPoolExecutor(len(haproxys) + 2) as pool:
        databases = [pool.submit(images.mongod), pool.submit(images.postgresql)]
        list(pool.map(try_to_make, haproxys))
        for database in databases:
            database.result()
    return missing


def daemon() -> docker.DockerClient:
    """Docker's daemon. Raises `UnavailableError` if none answers."""
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        raise UnavailableError(f"no Docker daemon answers ({error}): start one") from error
    return client


def _product(base: str, version: str) -> str:
    text = (_ROOT / "deploy" / "Dockerfile").read_text()
    name = _named(f"front:{version}", base.encode() + _source())

    def make() -> None:
        # For all versions the same: whoever comes second finds them.
        with _alone("wheels"):
            wheels = _wheels()
        _build(name, text, {"wheels": wheels}, {"BASE": base})

    return _made(name, make)


def _source() -> bytes:
    """What the product's wheel is made of."""
    digest = hashlib.sha256()
    for part in _PRODUCT:
        top = _ROOT / part
        files = sorted(top.rglob("*")) if top.is_dir() else [top]
        for path in files:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(_ROOT)}\0".encode() + path.read_bytes())
    return digest.digest()


@functools.cache
def _wheels() -> Path:
    """A directory with the product's wheel and all that it needs, for any image's Python."""
    place = Path(tempfile.mkdtemp(prefix="fs-wheels-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    pip = (sys.executable, "-m", "pip", "--quiet")
    into = ("--wheel-dir", str(place))
    _run(*pip, "wheel", "--no-deps", "--no-build-isolation", *into, str(_ROOT))
    (wheel,) = place.glob("frontserver-*.whl")
    machine = platform.machine()
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in (17, 24, 28, 34)]
    platforms.append(f"--platform=manylinux2014_{machine}")
    for python in _PYTHONS:
        _run(
            *(*pip, "download", "--only-binary=:all:", f"--python-version={python}", *platforms),
            *("--constraint", str(_ROOT / "constraints.txt"), "--dest", str(place), str(wheel)),
        )
    return place


def _builds_bases() -> bool:
    return os.getuid() == 0 and shutil.which("debootstrap") is not None


def _debootstrap(name: str, packages: Sequence[str], *programs: str) -> None:
    """An image of these packages; `programs` are further directories of its path."""
    if not _builds_bases():
        raise UnavailableError(f"{name} can't be built: it takes root, and debootstrap")
    path = ":".join((*programs, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
    with tempfile.TemporaryDirectory(prefix="fs-base-") as directory:
        include = f"--include={','.join(packages)}"
        _run("debootstrap", "--variant=minbase", include, _SUITE, directory)
        pack = ["tar", "-C", directory, "--exclude=./var/cache/apt/archives/*.deb", "-c", "."]
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as archive:
            change = ("--change", f"ENV PATH={path}")
            _run("docker", "import", *change, "-", name, stdin=archive.stdout)


# --- making, once ---


def _named(name: str, content: bytes) -> str:
    """The full name of an image with this content; `name` may have a tag already."""
    digest = hashlib.sha256(content).hexdigest()[:12]
    return f"{_PREFIX}/{name}{'-' if ':' in name else ':'}{digest}"


def _built(name: str, text: str, files: Mapping[str, Path]) -> str:
    return _made(name, lambda: _build(name, text, files, {}))


def _made(name: str, make: Callable[[], None]) -> str:
    """The image of this name, made if there is none; by one process at a time."""
    with _alone(name):
        try:
            daemon().images.get(name)
        except ImageNotFound:
            begun = time.monotonic()
            _say(f"{name} is being built")
            make()
            _say(f"{name} took {time.monotonic() - begun:.0f} s")
    return name


def _build(name: str, text: str, files: Mapping[str, Path], arguments: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="fs-image-") as directory:
        context = Path(directory)
        (context / "Dockerfile").write_text(text)
        for place, source in files.items():
            target = context / place
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)
        try:
            daemon().images.build(path=directory, tag=name, buildargs=arguments, rm=True)
        except BuildError as error:
            log = "".join(str(line.get("stream", "")) for line in error.build_log)
            raise HarnessError(f"{name} can't be built: {error}\n{log[-2000:]}") from error


@contextmanager
def _alone(name: str) -> Iterator[None]:
    lock = Path(tempfile.gettempdir()) / f"fs-image-{hashlib.sha256(name.encode()).hexdigest()}"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(*command: str, stdin: IO[bytes] | int | None = subprocess.DEVNULL) -> None:
    done = subprocess.run(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise HarnessError(
            f"{' '.join(command[:4])} … ended with {done.returncode}\n{done.stdout[-2000:]}"
        )


def _say(message: str) -> None:
    sys.stderr.write(f"images: {message}\n")
    sys.stderr.flush()
