"""The calls that a client makes, in their order: base, routes, persisting, recovery."""

from __future__ import annotations

import socket

from harness.origin import Origin
from tests.conformance.site import BACKENDS, MAP, RUNTIME, TRANSACTIONS, Site

SLOTS = 6


def text(site: Site, servers: dict[str, int], revision: int) -> str:
    """The desired state: slots with their servers, and a marker."""
    slots = "".join(
        f"\nbackend cp_s{n} from cp_defaults\n"
        + (f"  server s1 127.0.0.1:{servers[f'cp_s{n}']}\n" if f"cp_s{n}" in servers else "")
        for n in range(SLOTS)
    )
    return f"{site.base}{slots}\nbackend cp_rev_{revision} from cp_defaults\n"


def add(site: Site, host: str, slot: str, port: int, *, last: bool) -> None:
    """A route into an empty slot, live when this returns."""
    path = f"{RUNTIME}/backends/{slot}/servers"
    body = {"name": "s1", "address": "127.0.0.1", "port": port}
    assert site.api.post(path, json=body).status_code == 201
    ready = site.api.put(f"{path}/s1", json={"admin_state": "ready"})
    assert ready.json()["operational_state"] == "up"
    assert site.route(host, slot, sync=last).status_code == 201


def remove(site: Site, host: str, slot: str) -> None:
    """A route out of its slot, which is empty again."""
    entry = site.api.delete(f"{MAP}/entries/{host}", params={"force_sync": True})
    assert entry.status_code == 204
    assert site.api.delete(f"{RUNTIME}/backends/{slot}/servers/s1").status_code == 204


def test_from_nothing_to_recovery(site: Site, origin: Origin) -> None:
    # Base: leftovers are deleted, everything is posted, the marker shows that it runs.
    leftover = site.begin()
    for transaction in site.statuses():
        assert site.api.delete(f"{TRANSACTIONS}/{transaction}").status_code == 204
    assert site.version() == site.disk_version()
    assert site.post(text(site, {}, 1)).status_code == 201
    assert site.runs("cp_rev_1")
    assert leftover not in site.statuses()
    worker = site.worker()

    # Routes: live at once, persisted together.
    routes = {f"r{n}.example.com": f"cp_s{n}" for n in range(4)}
    for number, (host, slot) in enumerate(routes.items()):
        add(site, host, slot, origin.port, last=number == len(routes) - 1)
        assert site.get(host) == 200
    servers = dict.fromkeys(routes.values(), origin.port)
    assert site.post(text(site, servers, 1), skip_reload=True).status_code == 201
    assert site.worker() == worker

    # Removal.
    remove(site, "r0.example.com", "cp_s0")
    del servers["cp_s0"], routes["r0.example.com"]
    assert site.post(text(site, servers, 1), skip_reload=True).status_code == 201
    assert (site.get("r0.example.com"), site.worker()) == (404, worker)

    # HAProxy starts anew from what is on disk.
    site.dataplane.haproxy.restart()
    assert [site.get(host) for host in routes] == [200, 200, 200]
    assert site.get("r0.example.com") == 404

    # A reload fails: traffic goes on, and the desired state without the culprit heals all.
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        bad = (
            f"{text(site, servers, 2)}\nfrontend cp_bad from cp_defaults\n  bind 127.0.0.1:{port}\n"
        )
        assert site.post(bad).status_code == 400
        assert [site.get(host) for host in routes] == [200, 200, 200]
        assert site.version() != site.disk_version()
        assert site.post(text(site, servers, 2)).status_code == 201
    assert (site.version(), site.runs("cp_rev_2")) == (site.disk_version(), True)
    assert [site.get(host) for host in routes] == [200, 200, 200]

    # Both start anew.
    site.dataplane.kill()
    site.dataplane.haproxy.kill()
    site.dataplane.haproxy.start()
    site.dataplane.start()
    assert site.runs("cp_rev_2")
    assert [site.get(host) for host in routes] == [200, 200, 200]
    assert [known["name"] for known in site.api.get(f"{BACKENDS}/cp_s1/servers").json()] == ["s1"]


def test_an_unknown_outcome_is_told_by_version_and_content(site: Site) -> None:
    """A commit whose answer was lost: its transaction is gone, the version is the next one."""
    version, transaction = site.version(), site.begin()
    query = {"transaction_id": transaction, "full_section": True}
    site.api.post(BACKENDS, params=query, json={"name": "cp_rev_7", "from": "cp_defaults"})
    site.api.put(f"{TRANSACTIONS}/{transaction}", params={"force_reload": True})

    assert site.api.get(f"{TRANSACTIONS}/{transaction}").status_code == 404
    assert site.version() == version + 1
    assert site.runs("cp_rev_7")
