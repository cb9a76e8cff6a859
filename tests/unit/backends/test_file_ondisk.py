"""A configuration on disk says what HAProxy runs once it has loaded it."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontserver.backends.file.generations import Generations
from frontserver.backends.file.ondisk import map_entries, read_current
from frontserver.backends.manifest import Manifest
from frontserver.errors import StorageError
from frontserver.planning.running import materialise
from frontserver.rendering.render import Renderer
from frontserver.rendering.templates import Templates
from tests.unit.planning.routes import config, http, mongo
from tests.unit.rendering.samples import laid_out


def test_what_was_written_is_what_runs(tmp_path: Path) -> None:
    wanted = config(
        http("shop", "http://10.0.0.1:3000", "http://[2001:db8::1]:8443"), mongo(check=True)
    )
    layout = laid_out(wanted)
    generations = Generations(tmp_path)
    generations.prepare()
    pools = tuple((pool.profile, pool.size) for pool in layout.pools.values())
    manifest = Manifest(wanted.frontends.fingerprint, pools)
    files = Renderer(Templates()).everything(wanted, layout, generation=manifest.label("000001"))
    generations.promote(generations.write("000001", files, manifest))

    present = read_current(generations)

    assert present.label == manifest.label("000001")
    assert present.files == files
    assert present.running == materialise(wanted, layout)


def test_nothing_on_disk_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no configuration on disk"):
        read_current(Generations(tmp_path))


def test_the_first_of_two_entries_counts_as_it_does_for_haproxy() -> None:
    assert map_entries("# a comment\na 1\nb two words\na 2\n\n") == {"a": "1", "b": "two words"}
