"""An agent: by its program, as in the field, or by plain requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from harness.errors import HarnessError
from harness.machines import Here, Machine
from harness.mongo import Mongod

_WAIT = "15"


class AgentFailedError(HarnessError):
    """The program ended with another exit code than 0; `answer` is what it printed."""

    def __init__(self, command: str, code: int, answer: Any, complaint: str) -> None:
        super().__init__(f"{command} ended with {code}: {complaint.strip()}")
        self.code = code
        self.answer = answer
        self.complaint = complaint


class AgentProgram:
    """Runs `frontserver-agent`; each method returns the JSON document that it printed.

    It runs on `machine`, with further settings of `environ`; its state and certificates are in
    `directory`. Raises `AgentFailedError`.
    """

    def __init__(
        self,
        agent_id: str,
        key: str,
        *,
        url: str,
        directory: Path,
        machine: Machine | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.agent_id = agent_id
        self._machine = machine or Here()
        self.certificates = directory / "certs"
        directory.mkdir(parents=True, exist_ok=True)
        self._settings = {
            "FRONTSERVER_URL": url,
            "FRONTSERVER_AGENT_ID": agent_id,
            "FRONTSERVER_AGENT_KEY": key,
            "FRONTSERVER_AGENT_STATE": str(directory / "state"),
            "FRONTSERVER_AGENT_CERT_DIR": str(self.certificates),
            **(environ or {}),
        }

    def __call__(self, *arguments: str | Path, environ: Mapping[str, str] | None = None) -> Any:
        done = self._machine.run(
            [self._machine.program("frontserver-agent"), "--json", *arguments],
            environ={**self._settings, **(environ or {})},
            seconds=120,
        )
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = None
        if done.returncode != 0 or answer is None:
            raise AgentFailedError(
                f"frontserver-agent {' '.join(map(str, arguments))}",
                done.returncode,
                answer,
                done.stderr or done.stdout,
            )
        return answer

    def register(self) -> Any:
        """Register; repeating it changes nothing."""
        return self("register", "--target-ip", "127.0.0.1")

    def http(self, subdomain: str, target: str, **options: Any) -> Any:
        """Route `subdomain` to `target`, and wait until it is active."""
        extra = [f"--option={name}={json.dumps(value)}" for name, value in options.items()]
        return self("http", "add", subdomain, target, *extra, "--wait", _WAIT)

    def mongodb(self, mongod: Mongod) -> Any:
        """Route this agent's MongoDB domain to `mongod`, and wait until it is active."""
        return self(
            "mongodb", "add", "--host", "127.0.0.1", "--port", str(mongod.port), "--wait", _WAIT
        )

    def fetch_certificates(self) -> Any:
        """Write the certificate files below `certificates`."""
        return self("certs", "fetch")

    def configure(self, mongod: Mongod) -> Any:
        """Merge the TLS settings into mongod's configuration, and try them with its binary."""
        return self("mongod", "configure", "--config", mongod.config, "--check-with", mongod.trial)

    def renew(self, *arguments: str) -> Any:
        """Bring certificate files in step with the server."""
        return self("renew", *arguments)

    def routes(self) -> list[Any]:
        """The routes that the server lists."""
        listed: list[Any] = self("routes")["routes"]
        return listed

    def remove(self, subdomain: str) -> Any:
        """Remove an HTTP route."""
        return self("remove", subdomain)

    def remove_mongodb(self) -> Any:
        """Remove the MongoDB route."""
        return self("remove", "--mongodb")


class AgentApi:
    """The same by plain requests with Basic credentials: for many, odd or concurrent ones."""

    def __init__(self, agent_id: str, key: str, *, url: str) -> None:
        self.agent_id = agent_id
        self._key = key
        self.client = httpx.Client(
            base_url=url, auth=(agent_id, key), trust_env=False, timeout=httpx.Timeout(60)
        )

    def register(self) -> httpx.Response:
        """POST /api/agents/register."""
        return self.client.post(
            "/api/agents/register",
            json={"agentId": self.agent_id, "agentKey": self._key, "targetIp": "127.0.0.1"},
        )

    def http(
        self,
        subdomain: str,
        target: str | None = None,
        *,
        path: str | None = None,
        wait: int | None = None,
        **options: Any,
    ) -> httpx.Response:
        """POST /api/proxy/http."""
        body: dict[str, Any] = {"agentId": self.agent_id, "subdomain": subdomain}
        if path is not None:
            body["path"] = path
        if target is not None:
            body["targetUrl"] = target
        if options:
            body["options"] = options
        return self.client.post("/api/proxy/http", json=body, headers=_prefer(wait))

    def mongodb(
        self, port: int, *, host: str = "127.0.0.1", wait: int | None = None, **options: Any
    ) -> httpx.Response:
        """POST /api/proxy/mongodb."""
        body: dict[str, Any] = {"agentId": self.agent_id, "targetHost": host, "targetPort": port}
        if options:
            body["options"] = options
        return self.client.post("/api/proxy/mongodb", json=body, headers=_prefer(wait))

    def remove(
        self,
        subdomain: str | None = None,
        kind: str = "http",
        *,
        path: str | None = None,
        wait: int | None = None,
    ) -> httpx.Response:
        """DELETE /api/proxy."""
        body = {"agentId": self.agent_id, "type": kind}
        if path is not None:
            body["path"] = path
        if subdomain is not None:
            body["subdomain"] = subdomain
        return self.client.request("DELETE", "/api/proxy", json=body, headers=_prefer(wait))

    def routes(self) -> dict[str, Any]:
        """The agent's routes by domain, and the path after it where there is one."""
        answer = self.client.get(f"/api/proxy/agents/{self.agent_id}")
        answer.raise_for_status()
        return {route["domain"] + route.get("path", ""): route for route in answer.json()["routes"]}

    def close(self) -> None:
        """Close its connections."""
        self.client.close()


def _prefer(wait: int | None) -> dict[str, str]:
    return {} if wait is None else {"Prefer": f"wait={wait}"}
