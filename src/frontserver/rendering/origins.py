"""Which template made a line that HAProxy refuses."""

from __future__ import annotations

from pathlib import Path

from frontserver.errors import ConfigRejectedError
from frontserver.rendering.render import Renderer


def traced(error: ConfigRejectedError, renderer: Renderer) -> ConfigRejectedError:
    """The refusal of a file, with the line of the template that made the refused one.

    As it was, if the line can't be read or isn't clearly of one template.
    """
    if error.file is None or error.line is None:
        return error
    try:
        line = Path(error.file).read_text(encoding="utf-8").splitlines()[error.line - 1]
    except (OSError, UnicodeDecodeError, IndexError):
        return error
    origin = renderer.origin(line)
    if origin is None:
        return error
    file, number = origin
    reason = f"{error.reason}\nmade by {file}:{number}: {line.strip()}"
    return ConfigRejectedError(reason, file=file, line=number)
