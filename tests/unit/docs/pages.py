"""Reading the project's Markdown, as far as these tests need it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[3]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


class Page(msgspec.Struct, frozen=True):
    """A Markdown file; `path` is relative to the root."""

    path: Path
    text: str

    def blocks(self, language: str) -> list[str]:
        """The fenced code blocks of a language."""
        return [code for name, code in _FENCE.findall(self.text) if name == language]

    @property
    def prose(self) -> str:
        """The text without its fenced code blocks."""
        return _FENCE.sub("", self.text)

    def anchors(self) -> set[str]:
        """What a link to a section may say after `#`."""
        return {_slug(heading) for heading in _HEADING.findall(self.prose)}

    def links(self) -> list[str]:
        """The targets of all links."""
        return _LINK.findall(self.prose)


def page(name: str) -> Page:
    """One page by its path from the root."""
    return Page(Path(name), (ROOT / name).read_text(encoding="utf-8"))


def pages() -> list[Page]:
    """Every page that people read."""
    files = [path for place in ("*.md", "docs/**/*.md", "deploy/*.md") for path in ROOT.glob(place)]
    files.append(ROOT / "changes" / "README.md")
    return [page(str(file.relative_to(ROOT))) for file in sorted(files)]


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")
