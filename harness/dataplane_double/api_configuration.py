"""The configuration as a text, and transactions."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Response, delete, get, post, put
from litestar.params import Parameter

from harness.dataplane_double import actions, document
from harness.dataplane_double.errors import ApiError, absent
from harness.dataplane_double.parts import Parts
from harness.dataplane_double.requests import Call, answer, nothing, plain, text_body

Actions = Annotated[str | None, Parameter(header="X-Runtime-Actions", default=None)]

_ROOT = "/services/haproxy/configuration"


class RawController(Controller):
    path = _ROOT

    @get("/version", sync_to_thread=True)
    def version(self, parts: Parts, transaction_id: str | None = None) -> Response[Any]:
        return answer(parts.configuration.version(transaction_id))

    @get("/raw", sync_to_thread=True)
    def read(
        self, parts: Parts, transaction_id: str | None = None, version: int | None = None
    ) -> Response[Any]:
        if version:
            raise absent(f"backup file for version {version} does not exist")
        return _raw(parts.configuration.raw(transaction_id), 200)

    @post("/raw", sync_to_thread=True)
    def write(
        self,
        parts: Parts,
        request: Call,
        body: bytes,
        runtime_actions: Actions,
        version: int | None = None,
        *,
        force_reload: bool = False,
        skip_reload: bool = False,
        skip_version: bool = False,
        only_validate: bool = False,
    ) -> Response[Any]:
        text = text_body(request, body)
        if "\n" not in text:
            raise ApiError(400, "invalid configuration: no newline character found")
        configuration = parts.configuration
        if only_validate:
            configuration.validate(text)
            return _raw(configuration.raw(), 202)
        configuration.replace(text, version, any_version=skip_version)
        written = configuration.raw()
        if skip_reload:
            actions.perform(parts.runtime, runtime_actions or "")
        reload = parts.reload(skip=skip_reload, force=force_reload)
        return _raw(written, 202 if reload else 201, reload=reload)


def _raw(text: str, status: int, *, reload: str | None = None) -> Response[Any]:
    headers = {"Configuration-Checksum": document.noted(text)[1]}
    if reload:
        headers["Reload-ID"] = reload
    return plain(text, status, headers=headers)


class TransactionController(Controller):
    path = "/services/haproxy/transactions"

    @get("/", sync_to_thread=True)
    def all(self, parts: Parts, status: str | None = None) -> Response[Any]:
        if status not in {None, "failed", "in_progress"}:
            words = "status in query should be one of [failed in_progress]"
            raise ApiError(422, words, code=606)
        return answer(parts.configuration.transactions(status))

    @post("/", sync_to_thread=True)
    def start(self, parts: Parts, version: int | None = None) -> Response[Any]:
        if version is None:
            raise ApiError(422, "version in query is required", code=602)
        return answer(parts.configuration.start(version), 201)

    @get("/{name:str}", sync_to_thread=True)
    def one(self, parts: Parts, name: str) -> Response[Any]:
        return answer(parts.configuration.transaction(name))

    @delete("/{name:str}", status_code=200, sync_to_thread=True)
    def drop(self, parts: Parts, name: str) -> Response[Any]:
        parts.configuration.delete(name)
        return nothing()

    @put("/{name:str}", sync_to_thread=True)
    def commit(self, parts: Parts, name: str, *, force_reload: bool = False) -> Response[Any]:
        committed = parts.configuration.commit(name)
        reload = parts.reload(force=force_reload)
        return answer(committed, 202 if reload else 200, reload=reload)
