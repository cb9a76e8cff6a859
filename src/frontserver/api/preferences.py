"""The `Prefer` header (RFC 7240): how long a change may wait until HAProxy runs it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from litestar import Request

DEFAULT_WAIT = 5
MOST_WAIT = 30
_WAIT = re.compile(r'wait\s*=\s*"?([0-9]{1,9})"?', re.IGNORECASE)


class Wait(msgspec.Struct, frozen=True):
    """Seconds to wait for `active`; `headers` says so where the caller has asked for it."""

    seconds: int = DEFAULT_WAIT
    asked: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """`Preference-Applied`, if the caller stated a preference."""
        return {"Preference-Applied": f"wait={self.seconds}"} if self.asked else {}


def preferred_wait(request: Request[Any, Any, Any]) -> Wait:
    """The first `wait=N`, cut to what is allowed; anything else in the header is ignored."""
    for preference in ",".join(request.headers.getall("prefer", [])).split(","):
        if match := _WAIT.fullmatch(preference.partition(";")[0].strip()):
            return Wait(min(int(match[1]), MOST_WAIT), asked=True)
    return Wait()
