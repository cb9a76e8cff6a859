"""Each backend is made from settings; one that isn't there is refused with what to set."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from frontserver.backends.dataplane.backend import DataPlaneBackend
from frontserver.backends.dataplane.shared import one_file
from frontserver.backends.file.backend import FileBackend
from frontserver.backends.memory import MemoryBackend
from frontserver.composition import backends
from frontserver.composition.backends import make_backend
from frontserver.composition.haproxy import haproxy_process, own_program
from frontserver.rendering.render import Renderer
from frontserver.rendering.templates import Templates
from frontserver.settings import BackendName, Settings, completed


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return completed(Settings(state_dir=tmp_path, haproxy="external"))


def with_backend(settings: Settings, name: BackendName) -> Settings:
    return msgspec.structs.replace(settings, backend=name)


@pytest.mark.parametrize(
    ("name", "made"),
    [("dataplane", DataPlaneBackend), ("file", FileBackend), ("memory", MemoryBackend)],
)
async def test_the_backend_that_is_set_is_made(
    settings: Settings, name: BackendName, made: type
) -> None:
    chosen = with_backend(settings, name)
    backend = make_backend(chosen, haproxy_process(chosen), Renderer(Templates()))
    assert isinstance(backend, made)
    await backend.close()


def test_somebody_elses_haproxy_is_no_program_of_ours(settings: Settings) -> None:
    assert own_program(settings) is None


def test_all_that_is_set_of_the_data_plane_api_reaches_its_client(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}

    def client(url: str, **options: object) -> None:
        given.update(options, url=url)

    monkeypatch.setattr(backends, "DataPlaneClient", client)
    monkeypatch.setattr(backends, "DataPlaneBackend", lambda **options: given.update(options))
    chosen = msgspec.structs.replace(
        settings,
        dataplane_url="https://proxy:5555",
        dataplane_user="me",
        dataplane_password="secret",
        dataplane_ca=Path("/ca.pem"),
        dataplane_certificate=Path("/me.pem"),
        dataplane_key=Path("/me.key"),
        dataplane_file="shared",
    )

    backends.dataplane_backend(chosen, Renderer(Templates()))

    assert given["url"] == "https://proxy:5555"
    assert (given["user"], given["password"]) == ("me", "secret")
    assert given["ca"] == Path("/ca.pem")
    assert (given["certificate"], given["key"]) == (Path("/me.pem"), Path("/me.key"))
    assert given["compose"] is one_file


def test_a_file_of_our_own_is_all_ours(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(backends, "DataPlaneClient", lambda *_, **__: None)
    monkeypatch.setattr(backends, "DataPlaneBackend", lambda **options: given.update(options))

    backends.dataplane_backend(settings, Renderer(Templates()))

    assert given["compose"] is None
