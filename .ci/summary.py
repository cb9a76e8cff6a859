"""One summary, in pytest's words, of the JUnit files in a directory.

Ends with status 1 if there is none, if a test failed, or if nothing passed in one of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

# The harness is found there, whichever Python this is.
sys.path.insert(0, str(Path(__file__).parents[1]))

from harness import reports


def main(directory: Path) -> int:
    """Print skips, failures and totals of `directory/*.xml`."""
    found = {file.name: reports.read(file) for file in sorted(directory.glob("*.xml"))}
    print(" short test summary info ".center(79, "="))
    for count, reason in reports.skips(found.values()):
        print(f"SKIPPED [{count}] {reason}")
    for name, report in found.items():
        for complaint in report.complaints:
            print(complaint)
        if not report.is_good and not report.complaints:
            print(f"ERROR {name} - nothing passed, {report.skipped} skipped")
    counts = {
        "failed": sum(report.failed for report in found.values()),
        "passed": sum(report.passed for report in found.values()),
        "skipped": sum(report.skipped for report in found.values()),
        "error": sum(report.errors for report in found.values()),
    }
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    seconds = sum(report.seconds for report in found.values())
    print(f" {told or 'no tests ran'} in {seconds:.2f}s ".center(79, "="))
    return 0 if found and all(report.is_good for report in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
