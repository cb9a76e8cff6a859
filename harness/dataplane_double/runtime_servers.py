"""Servers of the running worker."""

from __future__ import annotations

from typing import Any

from harness.dataplane_double import servers
from harness.dataplane_double.errors import ApiError
from harness.dataplane_double.runtime import Runtime, SaidError

Json = dict[str, Any]

# Bits of srv_admin_state, in `show servers state` (HAProxy's management guide, 9.3).
_MAINTENANCE, _DRAIN = 0x23, 0x18
_OPERATION = {"0": "down", "1": "up", "2": "up", "3": "stopping"}


class RuntimeServers:
    """What HAProxy's worker has; a HAProxy that is away looks like a backend that isn't there."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def all(self, backend: str) -> list[Json]:
        """The servers of a backend. Raises `ApiError`."""
        try:
            answer = self._runtime.say(f"show servers state {backend}")
        except SaidError as error:
            raise ApiError(404, f"no data for {backend}: not found") from error
        rows = [line.split(" ") for line in answer.splitlines()[1:] if not line.startswith("#")]
        return [_server(row) for row in rows if len(row) > 18]

    def one(self, backend: str, name: str) -> Json:
        """One server. Raises `ApiError`."""
        try:
            found = [server for server in self.all(backend) if server["name"] == name]
        except ApiError as error:
            if error.status != 404:
                raise
            found = []
        if not found:
            raise ApiError(404, f"no data for {backend}/{name}: not found")
        return found[0]

    def add(self, backend: str, server: Json) -> None:
        """Add a server, which is in maintenance then. Raises `ApiError`."""
        words = servers.attributes(server, self._runtime.version)
        try:
            self._runtime.say(f"add server {backend}/{server['name']} {words}")
        except SaidError as error:
            status = 404 if "No such backend" in str(error) else 500
            status = 409 if "Already exists" in str(error) else status
            raise self._runtime.refusal(str(error), status) from error

    def set_state(self, backend: str, name: str, body: Json) -> Json:
        """Change what is given of `admin_state` and `operational_state`. Raises `ApiError`."""
        known = self.one(backend, name)
        health, state = body.get("operational_state"), body.get("admin_state")
        if health and health != known["operational_state"]:
            self._runtime.ask(f"set server {backend}/{name} health {health}")
        if state and state != known["admin_state"]:
            self._runtime.ask(f"set server {backend}/{name} state {state}")
        return self.one(backend, name)

    def delete(self, backend: str, name: str) -> None:
        """Delete a server; one with streams stays, in maintenance. Raises `ApiError`."""
        if self.one(backend, name)["admin_state"] != "maint":
            self._runtime.ask(f"disable server {backend}/{name}")
        self._runtime.ask(f"del server {backend}/{name}")

    def change(self, backend: str, new: Json, changed: set[str]) -> bool:
        """Change a server as its configuration was changed; whether that is all it needs."""
        if not changed <= servers.CHANGEABLE:
            return False
        try:
            for command in _changes(f"{backend}/{new['name']}", new, changed):
                self._runtime.say(command)
        except (SaidError, ApiError, KeyError):
            # A property that was removed has no value to set.
            return False
        return True


def _changes(server: str, new: Json, changed: set[str]) -> list[str]:
    commands = []
    if "weight" in changed:
        commands.append(f"set server {server} weight {new['weight']}")
    if changed & {"address", "port"}:
        commands.append(f"set server {server} addr {new['address']} port {new['port']}")
    if "maintenance" in changed:
        state = "maint" if new.get("maintenance") == "enabled" else "ready"
        commands.append(f"set server {server} state {state}")
    if "agent-check" in changed and "agent-check" in new:
        verb = "enable" if new["agent-check"] == "enabled" else "disable"
        commands.append(f"{verb} agent {server}")
    if "agent-addr" in changed:
        commands.append(f"set server {server} agent-addr {new.get('agent-addr', '')}")
    if "agent-send" in changed:
        commands.append(f"set server {server} agent-send {new.get('agent-send', '')}")
    if "health_check_port" in changed:
        commands.append(f"set server {server} check-port {new['health_check_port']}")
    return commands


def _server(row: list[str]) -> Json:
    admin = int(row[6], 16)
    state = "maint" if admin & _MAINTENANCE else "drain" if admin & _DRAIN else "ready"
    server = {
        "id": row[2],
        "name": row[3],
        "address": row[4],
        "admin_state": state,
        "operational_state": _OPERATION.get(row[5], ""),
    }
    return server | ({"port": int(row[18])} if row[18].isdigit() else {})
