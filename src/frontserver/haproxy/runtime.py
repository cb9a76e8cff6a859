"""The runtime socket: a conversation with the current worker, each answer matched to its command.

HAProxy management guide, section 9.3. In prompt mode, every line of input brings exactly one
`\\n> `, on every version, as long as a line holds one command; 2.8 and 3.0 print `+ ` for each
line of a payload on top. So commands are sent many at once, a line each, and answers are what lies
between the prompts. Each batch ends with `show info`, whose answer is known by its form: should the
count ever be off by one, it is noticed, and no answer is given to the wrong command. It also tells
whether this worker is still the current one: a reload leaves conversations with the old worker,
which goes on accepting commands. Visitors who are still connected to it would feel them: what it is
told of a new server it doesn't use (503). So after a pause it is asked before it is told anything.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from frontserver.errors import CommandRefusedError, ProxyError, ProxyUnavailableError
from frontserver.haproxy import reads, sockets
from frontserver.haproxy.answers import check
from frontserver.haproxy.commands import Command, Encoded, encode, word
from frontserver.planning.capabilities import Capabilities

__all__ = ["Command", "RuntimeClient"]

_PROMPT = b"\n> "
_QUESTION = Encoded("show info", b"show info\n")
# Longer than `stats timeout` (10 s); short, because a conversation keeps an old worker alive.
_GREETING = b"prompt\nset timeout cli 60s\n" + _QUESTION.data
# Seconds for which a worker that was the current one is taken to be.
_FRESH = 0.02
# Sent at once, so that HAProxy never waits for us to read while we wait for it to read.
_WINDOW = 12_000
_CHUNK = 1 << 16
# The master's answer for a worker that has died.
_NO_WORKER = "Can't connect to the target CLI"


class RuntimeClient:
    """Commands for the current worker, over one connection that is kept open.

    If the runtime socket refuses connections and `master` is given, the same commands go through
    the master's socket, which always answers (`@1 COMMAND`, guide section 9.4).
    """

    def __init__(self, path: Path, *, master: Path | None = None, timeout: float = 10.0) -> None:
        """`timeout` is in seconds, for each piece of a batch of at most 12 kB."""
        self._path = path
        self._master = master
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._conversation: _Conversation | None = None
        self._capabilities: Capabilities | None = None

    def capable(self, capabilities: Capabilities) -> None:
        """Take over what was observed of this HAProxy, instead of what its version tells."""
        self._capabilities = capabilities

    async def run(self, commands: Sequence[Command]) -> list[str]:
        """Send commands and return their answers, in order, stripped of framing.

        All are checked before any is sent. Judge answers with `answers.check`.
        Raises `CommandRefusedError` for a command that can't be sent and `ProxyUnavailableError`
        if HAProxy isn't there or stops answering; what was sent may then have taken effect.
        """
        encoded = [encode(command) for command in commands]
        if not encoded:
            return []
        async with self._lock:
            try:
                conversation = await self._open()
            except ProxyUnavailableError as error:
                if self._master is None or not sockets.refused(error):
                    raise
                return [await self._through_master(self._master, one) for one in encoded]
            _check_sizes(encoded, self._capabilities or conversation.capabilities)
            return await self._talk(conversation, encoded)

    @property
    def worker(self) -> int:
        """The PID of the worker that answered last; 0 if that isn't known."""
        return self._conversation.worker if self._conversation else 0

    async def capabilities(self) -> Capabilities:
        """Of the worker that answers now; raises `ProxyUnavailableError`, or `ProxyError` < 2.8."""
        (version,) = await self.run(["show version"])
        return Capabilities.from_version(version)

    async def info(self) -> reads.Info:
        """Version, PID, uptime and more of the current worker."""
        return reads.parse_info(await self._read("show info"))

    async def map_entries(self, name: str) -> list[tuple[str, str]]:
        """All entries of a map; raises `CommandRefusedError` if HAProxy hasn't loaded it."""
        return reads.parse_map(await self._read(f"show map {word(name)}"))

    async def map_value(self, name: str, key: str) -> str | None:
        """The value that `key` has now; raises `CommandRefusedError` if the map isn't loaded."""
        return reads.parse_map_value(await self._read(f"get map {word(name)} {word(key)}"), key)

    async def server_states(self, backend: str | None = None) -> reads.ServerStates:
        """Servers by backend and name; `CommandRefusedError` if there is no such backend."""
        command = "show servers state" if backend is None else f"show servers state {backend}"
        return reads.parse_server_states(await self._read(command))

    async def backend_names(self) -> frozenset[str]:
        """Names of all backends; raises `CommandRefusedError` if HAProxy doesn't list them."""
        return frozenset(reads.parse_backends(await self._read("show backend")))

    async def certificates(self) -> list[str]:
        """Names of the certificates in memory."""
        return reads.parse_names(await self._read("show ssl cert"))

    async def ca_files(self) -> list[str]:
        """Names of the CA bundles in memory."""
        return reads.parse_ca_files(await self._read("show ssl ca-file"))

    async def close(self) -> None:
        """End the conversation; the next command starts another."""
        async with self._lock:
            self._drop()

    async def _read(self, command: str) -> str:
        (answer,) = await self.run([command])
        check(command, answer)
        return answer

    async def _open(self) -> _Conversation:
        # Closed while idle: nothing of ours is under way.
        if self._conversation is not None and not self._conversation.usable:
            self._drop()
        if self._conversation is None:
            self._conversation = await _Conversation.begin(self._path, self._timeout)
        return self._conversation

    async def _talk(self, conversation: _Conversation, encoded: list[Encoded]) -> list[str]:
        try:
            if not conversation.is_fresh:
                await conversation.confirm()
            return await conversation.exchange(encoded)
        except (_NothingSentError, _ReplacedError):
            # What a worker that leaves was told, the new one has not heard of.
            self._drop()
        except _StaleError:
            self._drop()
            # To ask twice does no harm, to change twice might.
            if not all(one.text.startswith(("show ", "get ")) for one in encoded):
                raise
        except BaseException:
            # Cancelled or broken: what comes next on this connection answers nobody's question.
            self._drop()
            raise
        self._conversation = again = await _Conversation.begin(self._path, self._timeout)
        try:
            return await again.exchange(encoded)
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._conversation is not None:
            self._conversation.close()
            self._conversation = None

    async def _through_master(self, master: Path, command: Encoded) -> str:
        # A connection each: the end of file is the one delimiter that no answer can contain.
        answer = await sockets.ask(master, b"@1 " + command.data, self._timeout)
        if answer.startswith(_NO_WORKER):
            raise ProxyUnavailableError("HAProxy's master has no worker that answers")
        return answer.strip("\n")


class _NothingSentError(ProxyUnavailableError):
    """The connection turned out to be closed before a byte went out."""


class _StaleError(ProxyUnavailableError):
    """The worker closed the connection; another may answer."""


class _ReplacedError(_StaleError):
    """The worker did all that it was told, but another has taken its place."""


class _Conversation:
    """One connection in prompt mode."""

    capabilities: Capabilities

    def __init__(self, connection: socket.socket, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._buffer = bytearray()
        # How many there must be in the buffer before whoever waits is woken.
        self._prompts = 0
        self._waiter: asyncio.Future[None] | None = None
        self._ended: OSError | _StaleError | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection, self._read)
        # The PID of the worker at the other end, once it has said so, and when it said so last.
        self.worker = 0
        self._judged_at = 0.0

    @classmethod
    async def begin(cls, path: Path, timeout: float) -> _Conversation:  # noqa: ASYNC109
        conversation = cls(await sockets.connect(path, timeout), timeout)
        try:
            *_, info = await conversation._piece(_GREETING, 3)
            conversation._judge(_text(info, 0))
        except BaseException:
            conversation.close()
            raise
        return conversation

    @property
    def usable(self) -> bool:
        """Still open, with nothing unasked for waiting to be read."""
        try:
            self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return not self._buffer and self._ended is None
        except OSError:
            pass
        return False

    async def exchange(self, commands: list[Encoded]) -> list[str]:
        """Answers in order; raises `ProxyUnavailableError` if their number or order is in doubt."""
        answers: list[str] = []
        for window in _windows([*commands, _QUESTION]):
            try:
                pieces = await self._piece(b"".join(one.data for one in window), len(window))
            except _NothingSentError as error:
                if answers:
                    raise ProxyUnavailableError(error.message) from error
                raise
            answers += [
                _text(piece, one.payload_lines) for piece, one in zip(pieces, window, strict=True)
            ]
        self._judge(answers.pop())
        return answers

    def _judge(self, answer: str) -> None:
        """Look at the closing question's answer: ours, from the same worker, and current?"""
        try:
            pid, stopping = reads.parse_process(answer)
            version = None if self.worker else reads.parse_info(answer).version
        except ProxyError as error:
            raise ProxyUnavailableError("HAProxy's answers can't be told apart") from error
        if self._buffer or self.worker not in (0, pid):
            raise ProxyUnavailableError("HAProxy's answers can't be told apart")
        if stopping:
            raise _ReplacedError(f"HAProxy's worker {pid} has been replaced")
        if version is not None:
            self.capabilities = Capabilities.from_version(version)
        self.worker = pid
        self._judged_at = self._loop.time()

    @property
    def is_fresh(self) -> bool:
        """Whether this was the current worker a moment ago."""
        return self._loop.time() - self._judged_at < _FRESH

    async def confirm(self) -> None:
        """Raise `_ReplacedError` if another worker has taken this one's place."""
        (answer,) = await self._piece(_QUESTION.data, 1)
        self._judge(_text(answer, 0))

    def close(self) -> None:
        self._loop.remove_reader(self._connection)
        self._connection.close()

    async def _piece(self, data: bytes, prompts: int) -> list[bytes]:
        """Send `data`; what came before each of the next `prompts` prompts."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._send(data)
                await self._until(prompts)
        except TimeoutError as error:
            raise ProxyUnavailableError(
                f"HAProxy didn't answer within {self._timeout} s on its runtime socket"
            ) from error
        except OSError as error:
            raise _StaleError(f"HAProxy's runtime socket failed: {error}") from error
        *pieces, rest = bytes(self._buffer).split(_PROMPT, prompts)
        self._buffer = bytearray(rest)
        return pieces

    async def _send(self, data: bytes) -> None:
        try:
            sent = self._connection.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise _NothingSentError(f"HAProxy's runtime socket is closed: {error}") from error
        if sent < len(data):
            await self._loop.sock_sendall(self._connection, data[sent:])

    async def _until(self, prompts: int) -> None:
        """Wait until there are so many prompts; woken once, not by each answer."""
        self._prompts = prompts - self._buffer.count(_PROMPT)
        if self._prompts <= 0:
            return
        if self._ended is not None:
            raise self._ended
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _read(self) -> None:
        # A prompt may come in two parts.
        before = max(0, len(self._buffer) - len(_PROMPT) + 1)
        try:
            self._buffer += self._received()
        except (OSError, _StaleError) as error:
            self._ended = error
            self._loop.remove_reader(self._connection)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)
            return
        if self._waiter is None or self._waiter.done():
            return
        self._prompts -= self._buffer.count(_PROMPT, before)
        if self._prompts <= 0:
            self._waiter.set_result(None)

    def _received(self) -> bytes:
        try:
            chunk = self._connection.recv(_CHUNK)
        except BlockingIOError:
            return b""
        if not chunk:
            raise _StaleError("HAProxy closed its runtime socket before it answered")
        return chunk


def _text(piece: bytes, payload_lines: int) -> str:
    # One `+ ` for the command's own line and one for each payload line, on 2.8 and 3.0.
    for _ in range(payload_lines + 1 if payload_lines else 0):
        piece = piece.removeprefix(b"+ ")
    return piece.decode(errors="replace").strip("\n")


def _windows(commands: list[Encoded]) -> Iterator[list[Encoded]]:
    window: list[Encoded] = []
    size = 0
    for command in commands:
        if window and size + len(command.data) > _WINDOW:
            yield window
            window, size = [], 0
        window.append(command)
        size += len(command.data)
    yield window


def _check_sizes(commands: list[Encoded], capabilities: Capabilities) -> None:
    for command in commands:
        if len(command.data) > capabilities.payload_limit:
            raise CommandRefusedError(
                command.text[:200],
                f"not sent: {len(command.data)} bytes are more than the "
                f"{capabilities.payload_limit} that this HAProxy takes at once",
            )
