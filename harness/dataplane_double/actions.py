"""`X-Runtime-Actions`: commands that come with a configuration, instead of a reload."""

from __future__ import annotations

from harness.dataplane_double.errors import ApiError
from harness.dataplane_double.runtime import Runtime

# By their names: how many parameters they have, and the command.
_ACTIONS = {
    "SetFrontendMaxConn": (2, "set maxconn frontend {} {}"),
    "SetServerWeight": (3, "set server {}/{} weight {}"),
    "SetServerCheckPort": (3, "set server {}/{} check-port {}"),
    "SetServerAddr": (4, "set server {}/{} addr {} port {}"),
    "SetServerState": (3, "set server {}/{} state {}"),
    "EnableAgentCheck": (2, "enable agent {}/{}"),
    "DisableAgentCheck": (2, "disable agent {}/{}"),
    "SetServerAgentAddr": (3, "set server {}/{} agent-addr {}"),
    "SetServerAgentSend": (3, "set server {}/{} agent-send {}"),
}


def perform(runtime: Runtime, text: str) -> None:
    """Say each action to HAProxy; unknown ones are passed over.

    Raises `ApiError` for the first that fails; those after it aren't said.
    """
    for action in text.split(";"):
        name, *parameters = action.split(" ")
        if name not in _ACTIONS:
            continue
        count, command = _ACTIONS[name]
        if len(parameters) < count:
            raise ApiError(500, f"cannot execute {name}: not enough parameters")
        try:
            runtime.ask(command.format(*parameters))
        except ApiError as error:
            raise ApiError(500, f"cannot execute {name}: {error.message}") from error
