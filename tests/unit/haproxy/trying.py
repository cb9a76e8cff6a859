"""Rendered configurations for the canary, with an operator's lines in them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from frontserver.model.targets import HostPort
from frontserver.planning.compiled import Frontends, Profile
from frontserver.rendering.render import PROFILES, Renderer
from frontserver.rendering.templates import Templates

FRONTENDS = Frontends(
    http_binds=(HostPort("127.0.0.1", 80),),
    https_binds=(HostPort("127.0.0.1", 443),),
    mongo_binds=(HostPort("127.0.0.1", 27017),),
    runtime_socket="/nowhere/runtime.sock",
    system_ca="not looked at",
)


def texts(
    profiles: Iterable[Profile],
    *,
    in_profile: str = "",
    in_defaults: str = "",
    in_global: str = "",
    sections: str = "",
    frontends: Frontends = FRONTENDS,
    generation: str = "000001",
) -> dict[str, str]:
    """The files that hold `global`, frontends and `profiles`, with lines by the operator."""
    with tempfile.TemporaryDirectory() as name:
        custom = Path(name) / "custom"
        custom.mkdir()
        (custom / "profile.cfg.j2").write_text(in_profile)
        (custom / "http_defaults.cfg.j2").write_text(in_defaults)
        (custom / "global.cfg.j2").write_text(f"{in_global}\n{sections}")
        renderer = Renderer(Templates(Path(name)))
    return {
        **renderer.frame(frontends, generation=generation),
        PROFILES: renderer.profiles(frontends, profiles),
    }
