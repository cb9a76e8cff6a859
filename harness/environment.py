"""The environment that children get."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_OURS = "FRONTSERVER_"
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


def child_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """What we inherited, without product settings of whoever runs the tests, and `settings`.

    Where Python may not write bytecode, children keep theirs in a cache of the user: they start
    many times, and compiling everything takes longer than all the rest of a start.
    """
    inherited = {name: v for name, v in os.environ.items() if not name.startswith(_OURS)}
    if inherited.pop(_NO_BYTECODE, None) and "PYTHONPYCACHEPREFIX" not in inherited:
        base = Path(inherited.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        inherited["PYTHONPYCACHEPREFIX"] = str(base / "frontserver-harness" / "bytecode")
    return {**inherited, **settings}
