"""The front server's image as its users run it: with its own entry point, user and volume."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import docker
import httpx
import pytest

from harness.agent import AgentApi
from harness.containers.images import chosen_images
from harness.frontserver import APP_DOMAIN, MONGO_DOMAIN
from harness.origin import Origin
from harness.polling import until
from harness.ports import free_port

STATE = "/var/lib/frontserver"


class Service:
    """A container of the image, on this machine's network."""

    def __init__(self, container: Any, api_port: int, http_port: int) -> None:
        self.container = container
        self.url = f"http://127.0.0.1:{api_port}"
        self._http_port = http_port

    def wait_until_ready(self) -> None:
        until("the front server is ready", self._is_ready, seconds=60, detail=self._logs)

    def get(self, name: str) -> httpx.Response:
        """What a visitor of that name meets."""
        host = {"Host": f"{name}.{APP_DOMAIN}"}
        return httpx.get(f"http://127.0.0.1:{self._http_port}/", headers=host, trust_env=False)

    def run(self, *command: str) -> str:
        """What a command in it says."""
        return str(self.container.exec_run(list(command)).output.decode())

    def _is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health/ready", trust_env=False).status_code == 200
        return False

    def _logs(self) -> str:
        return str(self.container.logs(tail=20).decode())


@pytest.fixture
def service() -> Iterator[Service]:
    api_port, http_port, mongo_port = free_port(), free_port(), free_port()
    client = docker.from_env()
    volume = client.volumes.create()
    container = None
    try:
        container = client.containers.run(
            chosen_images().front("2.8"),
            detach=True,
            network_mode="host",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            volumes={volume.name: {"bind": STATE, "mode": "rw"}},
            environment={
                "FRONTSERVER_APP_DOMAIN": APP_DOMAIN,
                "FRONTSERVER_MONGO_DOMAIN": MONGO_DOMAIN,
                "FRONTSERVER_BACKEND": "file",
                "FRONTSERVER_LISTEN": f"127.0.0.1:{api_port}",
                "FRONTSERVER_HTTP_BIND": f"127.0.0.1:{http_port}",
                "FRONTSERVER_HTTPS_BIND": "off",
                "FRONTSERVER_MONGO_BIND": f"127.0.0.1:{mongo_port}",
                "FRONTSERVER_ENROLMENT": "open",
                "FRONTSERVER_TARGET_POLICY": "allow-loopback",
            },
        )
        yield Service(container, api_port, http_port)
    finally:
        if container is not None:
            container.remove(force=True)
        volume.remove(force=True)
        client.close()


def test_it_serves_as_it_is_shipped_and_keeps_its_state_in_its_volume(service: Service) -> None:
    service.wait_until_ready()
    assert service.run("id", "-u").strip() != "0"
    assert "Read-only file system" in service.run("touch", "/opt/x")
    agent = AgentApi("host", "a key of its own, long enough", url=service.url)
    try:
        agent.register().raise_for_status()
        with Origin("shop") as origin:
            assert agent.http("shop", origin.url).json()["status"] == "active"
            assert origin.name in service.get("shop").text

            service.container.restart(timeout=20)

            service.wait_until_ready()
            assert origin.name in service.get("shop").text
    finally:
        agent.close()
    assert service.container.stop(timeout=20) is None
    service.container.reload()
    assert service.container.attrs["State"]["ExitCode"] == 0
