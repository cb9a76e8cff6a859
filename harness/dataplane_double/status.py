"""HAProxy's own figures: of its process, and of everything that it balances."""

from __future__ import annotations

import csv
from typing import Any

from harness.dataplane_double.runtime import Runtime, SaidError

Json = dict[str, Any]

_INFO = {
    "Version": "version",
    "Release_date": "release_date",
    "Nbthread": "nbthread",
    "Nbproc": "processes",
    "Process_num": "process_num",
    "Pid": "pid",
    "Uptime_sec": "uptime",
    "Maxconn": "max_conn",
    "Hard_maxconn": "hard_max_conn",
    "CurrConns": "curr_conns",
    "CumConns": "cum_conns",
    "CumReq": "cum_req",
    "Tasks": "tasks",
    "Run_queue": "run_queue",
    "Idle_pct": "idle_pct",
    "Stopping": "stopping",
    "Jobs": "jobs",
    "Listeners": "listeners",
    "node": "node",
}
_TYPES = {"0": "frontend", "1": "backend", "2": "server"}


def process_info(runtime: Runtime) -> Json:
    """Of the worker: `info`, or `error` if it can't be asked."""
    told: Json = {"runtimeAPI": str(runtime.path)}
    try:
        answer = runtime.say("show info typed")
    except SaidError as error:
        return told | {"error": str(error)}
    info: Json = {}
    for line in answer.splitlines():
        # `0.Name.1:POS:str:HAProxy` (HAProxy's management guide, 9.3).
        place, _, _, value = line.split(":", 3)
        word = place.split(".")[1]
        if word in _INFO:
            info[_INFO[word]] = int(value) if value.isdigit() else value
    info["release_date"] = str(info["release_date"]).replace("/", "-")
    return told | {"info": info}


def statistics(
    runtime: Runtime, columns: set[str], kind: str | None, name: str | None, parent: str | None
) -> Json:
    """All rows, or those of a kind, a name, a backend: `stats`, or `error`.

    `columns` are the names of figures that are told.
    """
    told: Json = {"runtimeAPI": f"{runtime.path}@1"}
    try:
        answer = runtime.say("show stat")
    except SaidError as error:
        return told | {"error": str(error)}
    rows = [_row(row, columns) for row in csv.DictReader(answer[2:].splitlines())]
    wanted = {"type": kind, "name": name, "backend_name": parent}
    if kind != "server":
        del wanted["backend_name"]
    stats = [
        row
        for row in rows
        if all(value is None or row.get(word) == value for word, value in wanted.items())
    ]
    return told | {"stats": stats}


def _row(row: dict[str, str], columns: set[str]) -> Json:
    figures = {
        name: int(value) if value.lstrip("-").isdigit() else value
        for name, value in row.items()
        if name in columns and value
    }
    kind = _TYPES.get(row["type"])
    if kind is None:
        return {"stats": figures}
    if kind == "server":
        return {
            "type": kind,
            "name": row["svname"],
            "backend_name": row["pxname"],
            "stats": figures,
        }
    return {"type": kind, "name": row["pxname"], "stats": figures}
