"""The Jinja environment: ours, with the operator's directory in front of it."""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Callable
from pathlib import Path

import jinja2

from frontserver.errors import TemplateError

# No blank, quote, backslash, `#`, `$`, `%` or control character: one word to HAProxy's parser.
_WORD = re.compile(r"[A-Za-z0-9_.:/\[\]@+,=-]+")


# What an expression in a template, or reading the file, may raise.
_RENDERING = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def default_directory() -> Path:
    """Where our own templates are: in an installed package, else in a source checkout."""
    installed = Path(__file__).parents[1] / "_templates" / "haproxy"
    if installed.is_dir():
        return installed
    return Path(__file__).parents[3] / "templates" / "haproxy"


def word(value: object) -> str:
    """The value as one configuration word; anything that isn't one is refused.

    A second wall: names are validated where they are made.
    """
    text = str(value)
    if not _WORD.fullmatch(text):
        raise ValueError(f"{text!a} can't stand in a configuration")
    return text


class Templates:
    """Renders templates by name; the operator's take precedence, file by file.

    An overriding template reaches the one it replaces as `{% extends "default/NAME" %}` or
    `{% include "default/NAME" %}`. Files under `custom/` are included at marked points.
    All `*.j2` files are read here and now: one that is being edited never gets into a reload, and
    what is rendered is what `fingerprint` is about. Raises `TemplateError` for unreadable ones.
    """

    def __init__(self, override: Path | None = None, *, directory: Path | None = None) -> None:
        ours = _read(directory or default_directory())
        theirs = _read(override) if override else {}
        self._read = (theirs, ours)
        found = {f"default/{name}": source for name, source in ours.items()} | ours | theirs
        # Autoescape is for HTML; `word` is the wall here.
        self._environment = jinja2.Environment(  # noqa: S701
            loader=jinja2.FunctionLoader(found.get),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._environment.filters["word"] = word

    def render(self, name: str, **values: object) -> str:
        """The text of a template; raises `TemplateError` with its file and line."""
        try:
            return self._environment.get_template(name).render(**values)
        except jinja2.TemplateSyntaxError as error:
            where = error.filename or error.name or name
            raise TemplateError(str(error.message), file=where, line=error.lineno) from error
        except _RENDERING as error:
            file, line = _innermost_template(error, name)
            raise TemplateError(str(error), file=file, line=line) from error

    def fingerprint(self) -> str:
        """A hash of all template files, by which a change of a template is noticed."""
        digest = hashlib.sha256()
        for sources in self._read:
            for name, (text, _, _) in sorted(sources.items()):
                digest.update(f"{name}\0{text}\0".encode())
            digest.update(b"\0")
        return digest.hexdigest()[:16]


# Text, file name, and whether it is up to date: always.
_Source = tuple[str, str, Callable[[], bool]]


def _read(directory: Path) -> dict[str, _Source]:
    sources: dict[str, _Source] = {}
    for path in sorted(directory.rglob("*.j2")):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateError(f"it can't be read: {error}", file=str(path)) from error
        sources[path.relative_to(directory).as_posix()] = (text, str(path), lambda: True)
    return sources


def _innermost_template(error: Exception, name: str) -> tuple[str, int | None]:
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.endswith(".j2"):
            return frame.filename, frame.lineno
    return name, None
