"""The suite's own requests and their answers, held against the API's OpenAPI document."""

from __future__ import annotations

from typing import Any

import httpx

from harness.contract.checks import Answer, Request, check_answer, check_request
from harness.contract.operations import find
from harness.errors import ContractError

# A request that breaks the contract on purpose carries this; its answer is checked all the same.
BROKEN: dict[str, Any] = {"broken": True}


def hold_request(request: httpx.Request) -> None:
    """Raises `ContractError` if a request isn't as the document has it."""
    if not request.extensions.get("broken"):
        check_request(Request.of(request))


def hold_answer(response: httpx.Response) -> None:
    """Raises `ContractError` if an answer isn't as the document has it."""
    request = Request.of(response.request)
    if response.request.extensions.get("broken") and not _is_known(request):
        return
    check_answer(request, Answer.of(response))


def _is_known(request: Request) -> bool:
    try:
        find(request.method, request.path)
    except ContractError:
        return False
    return True
