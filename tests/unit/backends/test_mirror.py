"""What the files say follows what was done, to the last backend."""

from __future__ import annotations

from pathlib import Path

import msgspec

from frontserver.backends.file.mirror import Mirror
from frontserver.backends.file.tree import Tree
from frontserver.backends.port import State
from frontserver.planning.actions import DropBackend
from frontserver.planning.compile import HTTP_PROFILE
from frontserver.planning.compiled import HTTPS_CERTIFICATE, Certificate, CompiledConfig
from frontserver.planning.layout import Layout, Pool, backend_name
from frontserver.rendering.render import Renderer
from frontserver.rendering.shards import STRETCH_SLOTS, shard_name, shard_of
from frontserver.rendering.templates import Templates
from tests.unit.planning.routes import FRONTENDS

# Made at run time, and the first of its stretch.
EXTRA = backend_name(HTTP_PROFILE.id, STRETCH_SLOTS)


def holding(*extra: int) -> State:
    """A pool of one whole stretch, and these extra slots."""
    pool = msgspec.structs.replace(Pool(HTTP_PROFILE, STRETCH_SLOTS), extra=frozenset(extra))
    return State(CompiledConfig(FRONTENDS), Layout(pools=Layout().pools.set(HTTP_PROFILE.id, pool)))


async def test_a_backend_that_was_alone_in_its_file_is_gone_from_it(tmp_path: Path) -> None:
    mirror = Mirror(Renderer(Templates()))
    mirror.doubt(holding(STRETCH_SLOTS), Tree.unknown(tmp_path))
    await mirror.flush()
    file = tmp_path / shard_name(shard_of(EXTRA))
    assert f"backend {EXTRA} " in file.read_text()

    mirror.follow(holding(), ())
    mirror.act([DropBackend(EXTRA)])
    await mirror.flush()

    assert "backend" not in file.read_text()


async def test_a_renewed_certificate_is_part_of_what_runs(tmp_path: Path) -> None:
    """Should no configuration on disk load, a new one is made of that."""
    state = holding()
    old = Certificate(HTTPS_CERTIFICATE, "old\n")
    config = msgspec.structs.replace(state.config, certificates=(old,))
    mirror = Mirror(Renderer(Templates()))
    mirror.doubt(msgspec.structs.replace(state, config=config), Tree.unknown(tmp_path))

    new = Certificate(HTTPS_CERTIFICATE, "new\n")
    mirror.renew(new)

    assert mirror.state is not None
    assert mirror.state.config.certificates == (new,)
