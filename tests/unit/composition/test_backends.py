"""Each backend is made from settings; one that isn't there is refused with what to set."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from frontserver.backends.dataplane.backend import DataPlaneBackend
from frontserver.backends.file.backend import FileBackend
from frontserver.backends.memory import MemoryBackend
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
