"""The Jinja environment: ours, with the operator's directory in front of it."""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import jinja2

from frontserver.errors import TemplateError
from frontserver.planning.compiled import Extension, digest

# No blank, quote, backslash, `#`, `$`, `%` or control character: one word to HAProxy's parser.
_WORD = re.compile(r"[A-Za-z0-9_.:/\[\]@+,=-]+")

# Where the operator's profiles are, below the directory of templates.
_EXTENSION = re.compile(r"custom/profiles/(?P<name>[a-z0-9-]+)\.cfg\.j2")
_EMPTY_LINES = re.compile(r"\n{3,}")
_EXPRESSION = re.compile(r"\{\{.*?\}\}")

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
    what is rendered is what `fingerprint` is about. Raises `TemplateError` for those that can't be
    read or parsed, used or not.
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
        self._names = frozenset(found)
        self._environment.tests["available"] = found.__contains__
        self._fingerprint = _fingerprint(self._read)
        for name in sorted(ours | theirs):
            self._template(name)

    def render(self, name: str, **values: object) -> str:
        """The text of a template; raises `TemplateError` with its file and line.

        Points where nothing is included leave no more than one empty line.
        """
        template = self._template(name)
        try:
            return _EMPTY_LINES.sub("\n\n", template.render(**values).lstrip("\n"))
        except _RENDERING as error:
            file, line = _innermost_template(error, name)
            raise TemplateError(str(error), file=file, line=line) from error

    def _template(self, name: str) -> jinja2.Template:
        try:
            return self._environment.get_template(name)
        except jinja2.TemplateSyntaxError as error:
            where = error.filename or error.name or name
            raise TemplateError(str(error.message), file=where, line=error.lineno) from error
        except _RENDERING as error:
            raise TemplateError(str(error), file=name) from error

    def holds(self, name: str) -> bool:
        """Whether there is a template of this name."""
        return name in self._names

    def fingerprint(self) -> str:
        """A hash of all template files, by which a change of a template is noticed."""
        return self._fingerprint

    def extensions(self) -> tuple[Extension, ...]:
        """The operator's profiles, by name; another text is another version."""
        return tuple(
            Extension(match["name"], digest(text))
            for name, (text, _, _) in sorted(self._read[0].items())
            if (match := _EXTENSION.fullmatch(name))
        )

    def origin(self, line: str) -> tuple[str, int] | None:
        """File and line of the template that a line of a configuration was made of.

        `None` unless exactly one line of the operator's, or else of ours, could have made it.
        """
        wanted = line.strip()
        for sources in self._read if wanted else ():
            candidates = [
                (path, number)
                for text, path, _ in sources.values()
                for number, made in enumerate(text.splitlines(), start=1)
                if _could_make(made, wanted)
            ]
            if candidates:
                return candidates[0] if len(candidates) == 1 else None
        return None


# Text, file name, and whether it is up to date: always.
_Source = tuple[str, str, Callable[[], bool]]


def _fingerprint(read: tuple[Mapping[str, _Source], ...]) -> str:
    hashed = hashlib.sha256()
    for sources in read:
        for name, (text, _, _) in sorted(sources.items()):
            hashed.update(f"{name}\0{text}\0".encode())
        hashed.update(b"\0")
    return hashed.hexdigest()[:16]


def _could_make(made: str, wanted: str) -> bool:
    """Whether a line of a template may render to `wanted`: its expressions may be anything."""
    literal = _EXPRESSION.split(made.strip())
    if not "".join(literal).strip() or literal[0].startswith("{%"):
        return False
    return re.fullmatch(".*".join(map(re.escape, literal)), wanted) is not None


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
