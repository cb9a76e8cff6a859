"""Whole sections of the configuration."""

from __future__ import annotations

from typing import Any, ClassVar

from litestar import Controller, Response, delete, get, post, put

from harness.dataplane_double import sections
from harness.dataplane_double.document import Document, Section
from harness.dataplane_double.errors import ApiError, absent, present
from harness.dataplane_double.parts import Parts
from harness.dataplane_double.requests import Call, answer, json_body, nothing

Json = dict[str, Any]

_ROOT = "/services/haproxy/configuration"


class SectionController(Controller):
    """Sections of one kind; `full_section` is with all that is in them."""

    kind: ClassVar[str]

    @get("/", sync_to_thread=True)
    def all(
        self,
        parts: Parts,
        transaction_id: str | None = None,
        *,
        full_section: bool = False,
    ) -> Response[Any]:
        known = parts.configuration.document(transaction_id)
        found = [section for (kind, _), section in known.sections.items() if kind == self.kind]
        return answer([sections.body(section, full=full_section) for section in found])

    @get("/{name:str}", sync_to_thread=True)
    def one(
        self,
        parts: Parts,
        name: str,
        transaction_id: str | None = None,
        *,
        full_section: bool = False,
    ) -> Response[Any]:
        known = parts.configuration.document(transaction_id)
        kind = self.kind
        found = known.sections.get((kind, name))
        if found is None:
            raise absent(f"{kind.capitalize()} {name} does not exist")
        return answer(sections.body(found, full=full_section))

    @post("/", sync_to_thread=True)
    def create(
        self,
        parts: Parts,
        request: Call,
        body: bytes,
        transaction_id: str | None = None,
        version: int | None = None,
        *,
        force_reload: bool = False,
        full_section: bool = False,
    ) -> Response[Any]:
        kind = self.kind
        wanted = json_body(request, body, kind)
        allow(transaction_id, force=force_reload)

        def work(known: Document) -> None:
            if (kind, wanted["name"]) in known.sections:
                words = f"{kind} {wanted['name']} already exist"
                raise absent(words) if full_section else present(f"{words}s")
            section = sections.section(kind, wanted)
            known.sections[kind, section.name] = Section(kind, section.name)
            _require_origin(known, section)
            known.sections[kind, section.name] = section

        parts.configuration.change(transaction_id, version, work)
        return changed(parts, wanted, 201, transaction_id, force=force_reload)

    @put("/{name:str}", sync_to_thread=True)
    def replace(
        self,
        parts: Parts,
        request: Call,
        name: str,
        body: bytes,
        transaction_id: str | None = None,
        version: int | None = None,
        *,
        force_reload: bool = False,
        full_section: bool = False,
    ) -> Response[Any]:
        kind = self.kind
        wanted = json_body(request, body, kind)
        allow(transaction_id, force=force_reload)

        def work(known: Document) -> None:
            old = parts.configuration.section(known, kind, name)
            section = sections.replace(old, wanted, full=full_section)
            _require_origin(known, section)
            known.sections[kind, name] = section

        parts.configuration.change(transaction_id, version, work)
        return changed(parts, wanted, 200, transaction_id, force=force_reload)

    @delete("/{name:str}", status_code=200, sync_to_thread=True)
    def drop(
        self,
        parts: Parts,
        name: str,
        transaction_id: str | None = None,
        version: int | None = None,
        *,
        force_reload: bool = False,
    ) -> Response[Any]:
        kind = self.kind
        allow(transaction_id, force=force_reload)

        def work(known: Document) -> None:
            parts.configuration.section(known, kind, name)
            del known.sections[kind, name]

        parts.configuration.change(transaction_id, version, work)
        return changed(parts, None, 204, transaction_id, force=force_reload)


class BackendController(SectionController):
    kind = "backend"
    path = f"{_ROOT}/backends"


class FrontendController(SectionController):
    kind = "frontend"
    path = f"{_ROOT}/frontends"


class DefaultsController(SectionController):
    kind = "defaults"
    path = f"{_ROOT}/defaults"


def allow(transaction: str | None, *, force: bool) -> None:
    """Raises `ApiError` if a change in a transaction is to reload at once."""
    if transaction and force:
        raise ApiError(400, "Both force_reload and transaction specified, specify only one")


def changed(
    parts: Parts, content: Json | None, status: int, transaction: str | None, *, force: bool
) -> Response[Any]:
    """The answer to a change: `status` if HAProxy has it now, else 202. Raises `ApiError`."""
    reload = None if transaction else parts.reload(force=force)
    if transaction or reload:
        status = 202
    if content is None:
        return nothing(status, reload=reload)
    return answer(content, status, reload=reload)


def _require_origin(known: Document, section: Section) -> None:
    if section.origin and ("defaults", section.origin) not in known.sections:
        raise ApiError(
            400,
            f"validation error: Object {section.name} references missing defaults section in from",
        )
