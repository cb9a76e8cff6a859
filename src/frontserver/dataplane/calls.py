"""What all runtime calls share: their time limit, and whether a 404 means absent or no HAProxy."""

from __future__ import annotations

import msgspec

from frontserver.dataplane.connection import Answer, Connection, decoded, refused
from frontserver.dataplane.errors import AbsentError
from frontserver.dataplane.refusals import answered_by_haproxy, out_of_reach
from frontserver.errors import ProxyError, ProxyUnavailableError

BASE = "/services/haproxy/runtime"
_INFO = f"{BASE}/info"


class HaproxyInfo(msgspec.Struct, frozen=True):
    """The worker that runs: version such as `3.2.26-1`, PID, seconds since its start.

    `configuration` is the version of the configuration in the API's memory.
    """

    version: str
    pid: int
    uptime: int = 0
    configuration: int | None = None


class _Process(msgspec.Struct):
    version: str = ""
    pid: int = 0
    uptime: int = 0


class _InfoAnswer(msgspec.Struct):
    info: _Process | None = None
    error: str = ""


_info = msgspec.json.Decoder(_InfoAnswer)


class RuntimeCalls:
    """Sends runtime calls and says what their answers mean.

    The API answers 404 also when it doesn't reach HAProxy; such an answer counts as "absent" only
    if HAProxy has said so itself, or is there to be asked.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def info(self) -> HaproxyInfo:
        """The process. Raises `ProxyUnavailableError` if HAProxy is down."""
        answer = await self._send("GET", _INFO)
        said = decoded(answer, _info)
        process = said.info
        # While HAProxy starts, its process has neither.
        if process is None or not (process.version and process.pid):
            raise out_of_reach(said.error or "it isn't up yet")
        return HaproxyInfo(process.version, process.pid, process.uptime, answer.version)

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        media_type: str = "application/json",
        seconds: float | None = None,
    ) -> Answer:
        return await self._connection.send(
            method,
            path,
            body=body,
            media_type=media_type,
            seconds=self._connection.runtime_seconds if seconds is None else seconds,
        )

    async def _expect(self, answer: Answer, *statuses: int) -> Answer:
        """The answer, if it has one of these statuses; else raises what it means."""
        if answer.status in statuses:
            return answer
        raise await self._meaning(answer)

    async def _found(self, answer: Answer, *statuses: int) -> bool:
        """True for one of these statuses, false for what is certainly absent; else raises."""
        if answer.status in statuses:
            return True
        error = await self._meaning(answer)
        if isinstance(error, AbsentError):
            return False
        raise error

    async def _added(self, answer: Answer) -> bool:
        """True if it was added, false if it was there; else raises."""
        return answer.status != 409 and bool(await self._expect(answer, 201))

    async def _meaning(self, answer: Answer) -> ProxyError:
        error = refused(answer)
        if isinstance(error, AbsentError) and not answered_by_haproxy(answer.body):
            try:
                await self.info()
            except ProxyUnavailableError as down:
                return down
        return error
