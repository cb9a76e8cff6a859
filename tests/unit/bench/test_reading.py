"""What is read of others' output: wrk's report, and the trace of a server."""

from __future__ import annotations

import pytest

from bench.datapath import parse
from bench.steps import REST, accounted
from harness.errors import HarnessError

WRK = """\
Running 2s test @ http://127.0.0.1:8000/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.91ms    1.56ms  25.61ms   85.72%
    Req/Sec    11.25k     1.23k   13.07k    70.00%
  Latency Distribution
     50%    2.63ms
     75%  830.00us
     90%    4.45ms
     99%    1.02s
  22430 requests in 2.00s, 3.25MB read
  Socket errors: connect 1, read 2, write 0, timeout 4
  Non-2xx or 3xx responses: 10
Requests/sec:  11201.55
Transfer/sec:      1.62MB
"""


def test_a_report_of_wrk_is_read_with_its_errors() -> None:
    assert parse(WRK) == (11201.55, 2.63, 1020.0, 17)


def test_without_lines_about_errors_there_are_none() -> None:
    text = "".join(
        line for line in WRK.splitlines(True) if "errors" not in line and "Non" not in line
    )

    assert parse(text)[3] == 0


def test_something_else_is_no_report() -> None:
    with pytest.raises(HarnessError, match="can't be read"):
        parse("unable to connect to 127.0.0.1:1 Connection refused")


def test_steps_are_averaged_over_requests_and_the_rest_is_told() -> None:
    calls = [
        ["decode", 10.001, 10.002, 0.001],
        ["commit", 10.002, 10.006, 0.003],
        ["decode", 20.001, 20.004, 0.003],
    ]

    found = accounted("ours", 0, [(10.0, 10.01), (20.0, 20.01)], {"calls": calls, "missing": []})

    assert found.total_ms == pytest.approx(10.0)
    assert pytest.approx(found.steps) == {"decode": 2.0, "commit": 1.5, REST: 6.5}


def test_what_happens_beside_a_request_is_not_its_own() -> None:
    calls = [
        ["drift check", 9.0, 10.5, 1.5],
        ["decode", 10.001, 10.002, 0.001],
        ["drift check", 10.009, 12.0, 1.9],
    ]

    found = accounted("ours", 0, [(10.0, 10.01)], {"calls": calls, "missing": []})

    assert set(found.steps) == {"decode", REST}
