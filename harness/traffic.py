"""Traffic that watches itself while a test disturbs what carries it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import httpx

from harness.errors import HarnessError
from harness.polling import until

_PAUSE = 0.003


class Load:
    """Threads that repeat a request until the end of the `with` block.

    `request` gets a client and returns a complaint, or `None` if all is well; what it raises is
    a complaint too. Half of the threads keep their connection, half open one for each request.
    """

    def __init__(self, request: Callable[[httpx.Client], str | None], *, threads: int = 4) -> None:
        self._request = request
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._done = 0
        self.complaints: list[str] = []
        self._threads = [
            threading.Thread(
                target=self._keep if number % 2 else self._reopen, name=f"load-{number}"
            )
            for number in range(threads)
        ]

    @property
    def done(self) -> int:
        """The requests so far that went well."""
        with self._lock:
            return self._done

    def wait_for(self, more: int) -> None:
        """Wait until `more` requests than now are done, or one has failed since now."""
        goal, known = self.done + more, len(self.complaints)
        until(
            f"{more} more requests",
            lambda: self.done >= goal or len(self.complaints) > known,
            seconds=30,
        )

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _keep(self) -> None:
        with _client() as client:
            while not self._stop.wait(_PAUSE):
                self._once(client)

    def _reopen(self) -> None:
        while not self._stop.wait(_PAUSE):
            with _client() as client:
                self._once(client)

    def _once(self, client: httpx.Client) -> None:
        try:
            complaint = self._request(client)
        except httpx.HTTPError as error:
            complaint = f"{type(error).__name__}: {error}"
        with self._lock:
            if complaint is None:
                self._done += 1
            else:
                self.complaints.append(complaint)


def _client() -> httpx.Client:
    # Certificates of the system aren't read for each new connection: the load is plain HTTP.
    return httpx.Client(trust_env=False, timeout=10, verify=False)  # noqa: S501


class Download:
    """One long download of numbered lines (`/download` of an `Origin`), read in a thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._lines = 0
        self._complaint: str | None = None
        self._thread = threading.Thread(target=self._read, name="download")

    @property
    def lines(self) -> int:
        """The lines read so far, all in order."""
        with self._lock:
            return self._lines

    def wait_for(self, more: int) -> None:
        """Wait until `more` lines than now are read; raises `HarnessError` if it broke."""
        goal = self.lines + more
        until(f"{more} more lines", lambda: self.lines >= goal or self._complaint)
        self._check()

    def end(self) -> int:
        """Wait for a regular end, and return the lines read; raises `HarnessError`."""
        self._thread.join(20)
        if self._thread.is_alive():
            raise HarnessError(f"the download goes on, at line {self.lines}")
        self._check()
        return self.lines

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.join(20)

    def _check(self) -> None:
        if self._complaint:
            raise HarnessError(f"the download broke after {self.lines} lines: {self._complaint}")

    def _read(self) -> None:
        try:
            with _client() as client, client.stream("GET", self._url) as answer:
                answer.raise_for_status()
                for line in answer.iter_lines():
                    if line != str(self.lines):
                        raise HarnessError(f"line {self.lines} is {line!r}")
                    with self._lock:
                        self._lines += 1
        except (httpx.HTTPError, HarnessError) as error:
            self._complaint = f"{type(error).__name__}: {error}"
