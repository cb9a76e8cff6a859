"""What broke the contract, written by whoever sees it and read by whoever judges the test."""

from __future__ import annotations

from pathlib import Path

from harness.contract.checks import Answer, Request, check_answer, check_request
from harness.errors import ContractError


class Journal:
    """A file with a line for each thing that was wrong; several processes may append to it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._read = 0

    def enter(self, request: Request, answer: Answer | None) -> None:
        """Hold a request against the document, and its answer if there was one."""
        try:
            check_request(request)
            if answer is not None:
                check_answer(request, answer)
        except ContractError as error:
            words = " ".join(f"{request.method} {request.target}: {error}".split())
            with self.file.open("a") as lines:
                lines.write(f"{words}\n")

    def complain(self) -> None:
        """Raises `ContractError` with what was entered since the last call, each once."""
        if not self.file.exists():
            return
        text = self.file.read_text()
        new = dict.fromkeys(text[self._read :].splitlines())
        self._read = len(text)
        if new:
            raise ContractError("not as the Data Plane API's document has it:\n" + "\n".join(new))
