"""From one backend to the other and back, on the same state, as docs/dataplane.md says."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.dataplane import DataPlane
from harness.frontserver import APP_DOMAIN
from harness.haproxy import ask
from harness.polling import until
from harness.processes import alive
from harness.stack import Stack
from harness.visitors import Visit, Visitors

pytestmark = pytest.mark.dataplane_backend

ROUTES = 20


def test_from_file_to_dataplane_and_back(make_stack: Callable[..., Stack], haproxy: Path) -> None:
    """Visitors of routes notice neither way; what was changed on one backend is so on the other."""
    stack = make_stack(backend="file")
    front = stack.front
    agent = stack.registered("switch")
    first, second = stack.origin("first"), stack.origin("second")
    names = [f"switch-{number}" for number in range(ROUTES)]
    for number, name in enumerate(names):
        options = {"check": True} if number % 4 == 1 else {}
        assert agent.api.http(name, first.url, **options).json()["status"] == "active"
    visits = [Visit(f"{name}.{APP_DOMAIN}", "first") for name in names]
    moved = [f"moved-{number}" for number in range(5)]
    for name in moved:
        assert agent.api.http(name, first.url).json()["status"] == "active"

    dataplane = DataPlane(
        stack.directory / "dp",
        program=stack.parts.dataplaneapi(),
        haproxy=haproxy,
        pools=True,
        machine=stack.parts.proxy(stack.directory),
    )
    with dataplane, Visitors(front.http_port, visits) as visitors:
        visitors.wait_for(100)
        embedded = front.sockets.master_pid()

        # To the Data Plane API.
        front.stop(haproxy=False)
        visitors.wait_for(50)
        front.use(dataplane)
        front.start()
        visitors.wait_for(50)
        front.run("haproxy", "stop", "--graceful")
        assert not alive(embedded)
        visitors.wait_for(100)
        assert visitors.complaints == []
        for name in moved:
            assert agent.api.http(name, second.url).json()["status"] == "active"
            assert stack.get(name).json()["origin"] == "second"
        visits += [Visit(f"{name}.{APP_DOMAIN}", "second") for name in moved]
        everybody = Visitors(front.http_port, visits)

        # And back; meanwhile nobody is led where routes led before.
        with everybody:
            everybody.wait_for(100)
            front.stop(haproxy=False)
            front.use(None)
            front.start("--share-ports")
            everybody.wait_for(100)
            dataplane.kill()
            for file in dataplane.files.configs[1:]:
                file.write_text("")
            dataplane.sockets.reload()
            old = dataplane.sockets
            until(
                "nothing of ours listens there",
                lambda: "fs_in" not in ask(old.runtime, "show stat"),
            )
            everybody.wait_for(200)
        assert everybody.complaints == []
        assert visitors.complaints == []
    assert agent.api.http("later", second.url).json()["status"] == "active"
    assert stack.get("later").json()["origin"] == "second"
    with socket.create_connection(("127.0.0.1", front.mongo_port), 5):
        pass
