"""`frontserver`, with a clock around its steps: `python -m bench.traced serve`.

The product isn't changed and pays nothing: its functions are wrapped here, before they are used.
When it ends, the file named by BENCH_TRACE gets one JSON array a call: step, begin, end and the
seconds of it that were the step's own, without steps inside. A place that isn't there any more is
listed as missing; then `STEPS` must follow the source.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

TRACE = "BENCH_TRACE"

# Step → where its code is; the order is that of one request. What is called inside a step that
# is marked with `!` counts as a part of it.
STEPS: dict[str, tuple[str, ...]] = {
    "authenticate!": ("frontserver.api.authentication:Authentication.authenticate_request",),
    "decode!": ("frontserver.api.decoding:decode",),
    "commit!": ("frontserver.services.routes:RouteService._store",),
    "hear!": ("frontserver.reconcile.reconciler:Reconciler._hear",),
    "compile!": ("frontserver.reconcile.desired:DesiredState.recompile",),
    "plan!": ("frontserver.reconcile.rollout:diff", "frontserver.reconcile.rollout:plan"),
    "CLI!": (
        "frontserver.backends.file.performer:Performer._say",
        "frontserver.backends.file.performer:Performer._remove",
    ),
    "read-back!": ("frontserver.backends.file.performer:differs",),
    "note for disk!": ("frontserver.backends.file.backend:FileBackend.persist",),
    "answer!": ("frontserver.api.routes:_stored",),
    # Not part of a request, but beside it in the same process.
    "drift check!": (
        "frontserver.reconcile.observation:Observation.take",
        "frontserver.reconcile.drift:DriftLook.look",
    ),
}

_calls: list[tuple[str, float, float, float]] = []
# The step that is under way in this task: [seconds of steps inside, whether they count].
_outer: ContextVar[list[Any] | None] = ContextVar("outer", default=None)


def wrap_all() -> list[str]:
    """Wrap every step's code; returns the steps of which nothing was found."""
    missing = []
    for mark, places in STEPS.items():
        step, whole = mark.removesuffix("!"), mark.endswith("!")
        found = [_wrap(place, step, whole=whole) for place in places]
        if not any(found):
            missing.append(step)
    return missing


def _wrap(place: str, step: str, *, whole: bool) -> bool:
    module_name, _, path = place.partition(":")
    *owners, name = path.split(".")
    try:
        owner: Any = importlib.import_module(module_name)
        for each in owners:
            owner = getattr(owner, each)
        original = getattr(owner, name)
    except (ImportError, AttributeError):
        return False
    setattr(owner, name, _timed(original, step, whole=whole))
    return True


def _timed(function: Callable[..., Any], step: str, *, whole: bool) -> Callable[..., Any]:
    if asyncio.iscoroutinefunction(function):

        @functools.wraps(function)
        async def timed_async(*args: Any, **kwargs: Any) -> Any:
            outer = _outer.get()
            if outer is not None and outer[1]:
                return await function(*args, **kwargs)
            token, inner, begun = _enter(whole=whole)
            try:
                return await function(*args, **kwargs)
            finally:
                _outer.reset(token)
                _note(step, begun, inner, outer)

        return timed_async

    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        outer = _outer.get()
        if outer is not None and outer[1]:
            return function(*args, **kwargs)
        token, inner, begun = _enter(whole=whole)
        try:
            return function(*args, **kwargs)
        finally:
            _outer.reset(token)
            _note(step, begun, inner, outer)

    return timed


def _enter(*, whole: bool) -> tuple[Any, list[Any], float]:
    inner: list[Any] = [0.0, whole]
    return _outer.set(inner), inner, time.perf_counter()


def _note(step: str, begun: float, inner: list[Any], outer: list[Any] | None) -> None:
    ended = time.perf_counter()
    if outer is not None:
        outer[0] += ended - begun
    _calls.append((step, begun, ended, ended - begun - inner[0]))


def main() -> None:
    """Wrap, run the product's own command line, and write down what was seen."""
    missing = wrap_all()
    try:
        importlib.import_module("frontserver.cli.main").main()
    finally:
        target = os.environ.get(TRACE)
        if target:
            text = json.dumps({"missing": missing, "calls": _calls})
            Path(target).write_text(text)


if __name__ == "__main__":
    main()
