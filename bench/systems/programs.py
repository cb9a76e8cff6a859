"""Finding the programs of other systems."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from harness.errors import UnavailableError


def find(name: str) -> Path:
    """A program beside this Python, on PATH, or in /usr/sbin. Raises `UnavailableError`."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    found = found or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise UnavailableError(f"{name} isn't installed")
    return Path(found)
