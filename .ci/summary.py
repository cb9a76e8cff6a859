"""One summary, in pytest's words, of the JUnit files in a directory.

Ends with status 1 if there is none, or if a test failed.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET


def main(directory: Path) -> int:
    """Print failures and totals of `directory/*.xml`."""
    files = sorted(directory.glob("*.xml"))
    totals: Counter[str] = Counter()
    seconds = 0.0
    print(" short test summary info ".center(79, "="))
    for file in files:
        # The file is our own pytest's.
        for suite in ET.parse(file).getroot().iter("testsuite"):  # noqa: S314
            seconds += float(suite.get("time", 0))
            for case in suite.iter("testcase"):
                outcome = _outcome(case)
                totals[outcome] += 1
                if outcome in {"failed", "error"}:
                    print(f"{outcome.upper()} {_name(case)} - {_message(case)}")
    counts = [
        f"{totals[outcome]} {outcome}"
        for outcome in ("failed", "passed", "skipped", "error")
        if totals[outcome]
    ]
    print(f" {', '.join(counts) or 'no tests ran'} in {seconds:.2f}s ".center(79, "="))
    return 0 if totals["passed"] and not totals["failed"] + totals["error"] else 1


def _outcome(case: ET.Element) -> str:
    for tag, outcome in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
        if case.find(tag) is not None:
            return outcome
    return "passed"


def _name(case: ET.Element) -> str:
    return f"{case.get('classname', '')}::{case.get('name', '')}"


def _message(case: ET.Element) -> str:
    found = case.find("failure")
    if found is None:
        found = case.find("error")
    message = found.get("message", "") if found is not None else ""
    return message.splitlines()[0][:160] if message else ""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
