"""Files that are replaced as a whole, or not at all, and how the real one names them."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path


def replace(path: Path, data: bytes) -> None:
    """Write a file by renaming a new one over it. Raises `OSError`, and then the old one stays."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def file_name(name: str) -> str:
    """`name` with nothing but letters, digits, `_`, `-` and the dot before its extension.

    So `www.example.com.pem` becomes `www_example_com.pem`.
    """
    stem, dot, extension = name.rpartition(".")
    if not dot:
        stem, extension = extension, ""
    words = [re.sub(r"[^a-zA-Z0-9_\\-]+", "_", word) for word in (stem, extension)]
    if not dot:
        return words[0]
    return f"{words[0]}.{words[1]}" if words[0] else f"_{words[1]}"
