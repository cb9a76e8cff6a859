"""The Jinja environment: ours, with the operator's directory in front of it."""

from __future__ import annotations

import hashlib
import re
import traceback
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
    """

    def __init__(self, override: Path | None = None, *, directory: Path | None = None) -> None:
        base = directory or default_directory()
        self._directories = [override, base] if override else [base]
        ours = jinja2.FileSystemLoader(base)
        loaders: list[jinja2.BaseLoader] = [jinja2.PrefixLoader({"default": ours}), ours]
        if override:
            loaders.insert(0, jinja2.FileSystemLoader(override))
        # Autoescape is for HTML; `word` is the wall here.
        self._environment = jinja2.Environment(  # noqa: S701
            loader=jinja2.ChoiceLoader(loaders),
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
        for directory in self._directories:
            for path in sorted(directory.rglob("*.j2")):
                digest.update(str(path.relative_to(directory)).encode() + b"\0")
                digest.update(path.read_bytes() + b"\0")
        return digest.hexdigest()[:16]


def _innermost_template(error: Exception, name: str) -> tuple[str, int | None]:
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.endswith(".j2"):
            return frame.filename, frame.lineno
    return name, None
