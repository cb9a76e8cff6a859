"""Every link between the documents leads somewhere."""

from __future__ import annotations

import re

import pytest

from tests.unit.docs.pages import ROOT, Page, page, pages

PAGES = pages()


@pytest.mark.parametrize("source", PAGES, ids=lambda source: str(source.path))
def test_links_lead_to_files_and_sections_that_exist(source: Page) -> None:
    broken = [link for link in source.links() if not _leads_somewhere(source, link)]

    assert broken == []


@pytest.mark.parametrize("source", PAGES, ids=lambda source: str(source.path))
def test_pages_name_no_path_of_a_machine(source: Page) -> None:
    assert re.findall(r"(?:/home/|/root/|/Users/|/work/)\S*", source.text) == []


def test_every_document_is_reachable_from_the_readme() -> None:
    found = {"README.md"}
    waiting = ["README.md"]
    while waiting:
        source = page(waiting.pop())
        for link in source.links():
            target = _file(source, link)
            if target and target.endswith(".md") and target not in found:
                found.add(target)
                waiting.append(target)

    assert {str(each.path) for each in PAGES} == found


def _file(source: Page, link: str) -> str | None:
    """The file a link names, from the root; `None` for the web."""
    if re.match(r"[a-z]+:", link):
        return None
    name = link.partition("#")[0]
    target = (ROOT / source.path).parent / name if name else ROOT / source.path
    return str(target.resolve().relative_to(ROOT))


def _leads_somewhere(source: Page, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return link.startswith(("https://", "mailto:"))
    target = _file(source, link)
    if target is None or not (ROOT / target).exists():
        return False
    anchor = link.partition("#")[2]
    return not anchor or anchor in page(target).anchors()
