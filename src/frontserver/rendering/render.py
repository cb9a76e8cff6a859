"""The files of one configuration: which there are, and what is in each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from frontserver.errors import TemplateError
from frontserver.planning.compiled import (
    HTTPS_CERTIFICATE,
    MAINTENANCE,
    MAPS,
    PLAIN_ONLY,
    REDIRECT_HTTPS,
    SYSTEM_CA,
    CompiledConfig,
    CompiledRoute,
    Frontends,
    Profile,
)
from frontserver.planning.layout import Layout, backend_name
from frontserver.planning.running import entries, seats
from frontserver.rendering.dialect import Dialect
from frontserver.rendering.shards import Stretch, divided, shard_name, slots_in
from frontserver.rendering.templates import Templates

GLOBAL = "00-global.cfg"
SECTIONS = "05-sections.cfg"
FRONTENDS = "10-frontends.cfg"
PROFILES = "20-profiles.cfg"

# All that doesn't depend on routes and may hold sections of any kind.
FRAME = (GLOBAL, SECTIONS, FRONTENDS, PROFILES)

# What runs, and what is to run next.
_KEPT_TEMPLATES = 2

# A map's key ends at the first blank, a comment starts with '#', a line at a line feed.
_MAP_KEY = re.compile(r"[^\s#\x00-\x20\x7f][^\s\x00-\x20\x7f]*")
_MAP_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


class Renderer:
    """Renders whole configurations and parts of them; does no I/O but templates.

    While templates change, it knows those that run and those to come: each text is made by the
    ones that its frontends were compiled with (`Frontends.templates`), else by the newest.
    `dialect` is set by whoever loads what is rendered.
    """

    def __init__(self, templates: Templates, dialect: Dialect | None = None) -> None:
        self.dialect = dialect or Dialect()
        self._templates: dict[str, Templates] = {}
        self.offer(templates)

    def offer(self, templates: Templates) -> None:
        """Know these templates too. The ones before are kept, in case these come to nothing."""
        self._templates.pop(templates.fingerprint(), None)
        self._templates[templates.fingerprint()] = templates
        for fingerprint in list(self._templates)[:-_KEPT_TEMPLATES]:
            del self._templates[fingerprint]

    def origin(self, line: str) -> tuple[str, int] | None:
        """File and line of the template that a line of a configuration was made of, if clear."""
        found = (templates.origin(line) for templates in reversed(self._templates.values()))
        return next((origin for origin in found if origin is not None), None)

    @property
    def newest(self) -> Templates:
        """The templates that were offered last."""
        return next(reversed(self._templates.values()))

    def _made_with(self, fingerprint: str) -> Templates:
        return self._templates.get(fingerprint, self.newest)

    def everything(
        self, config: CompiledConfig, layout: Layout, *, generation: str
    ) -> dict[str, str]:
        """File name → text, of all files of a configuration."""
        files = self.frame(config.frontends, generation=generation)
        files[PROFILES] = self.profiles(
            config.frontends, (pool.profile for _, pool in sorted(layout.pools.items()))
        )
        routes = seats(config, layout)
        for shard, parts in sorted(divided(layout.pools).items()):
            files[shard_name(shard)] = "".join(
                self.stretch(part, routes, templates=config.frontends.templates) for part in parts
            )
        files.update(self.maps(routes))
        files.update(self.certificates(config))
        return files

    def frame(self, frontends: Frontends, *, generation: str) -> dict[str, str]:
        """The files that don't depend on routes."""
        values = self._frontend_values(frontends)
        templates = self._made_with(frontends.templates)
        return {
            GLOBAL: templates.render("global.cfg.j2", generation=generation, **values),
            SECTIONS: templates.render("sections.cfg.j2", **values),
            FRONTENDS: templates.render("frontends.cfg.j2", **values),
        }

    def adopted(self, frontends: Frontends) -> dict[str, tuple[str, str]]:
        """What is ours in frontends of the operator's: name → mode (`http`, `tcp`) and lines."""
        if not frontends.adopts:
            return {}
        values = self._frontend_values(frontends)
        templates = self._made_with(frontends.templates)
        kinds = dict.fromkeys(frontends.http_adopted, "http")
        kinds |= dict.fromkeys(frontends.mongodb_adopted, "tcp")
        return {
            name: (mode, templates.render("adopted.cfg.j2", mode=mode, **values))
            for name, mode in kinds.items()
        }

    def profiles(self, frontends: Frontends, profiles: Iterable[Profile]) -> str:
        """The `defaults` sections."""
        return self._made_with(frontends.templates).render(
            "profiles.cfg.j2",
            frontends=frontends,
            profiles=list(profiles),
            maps=self.dialect.maps,
        )

    def stretch(
        self, part: Stretch, routes: Mapping[str, CompiledRoute], *, templates: str = ""
    ) -> str:
        """The backends of a stretch; `routes` by backend name, `templates` as in `Frontends`."""
        pool, number = part
        names = [backend_name(pool.profile.id, slot) for slot in slots_in(pool, number)]
        slots = [
            {
                "backend": name,
                "profile": pool.profile.id,
                "servers": self.dialect.servers(pool.profile, routes.get(name)),
            }
            for name in names
        ]
        return self._made_with(templates).render("slots.cfg.j2", slots=slots)

    def maps(self, routes: Mapping[str, CompiledRoute]) -> dict[str, str]:
        """All map files; `routes` by backend name."""
        lines: dict[str, list[str]] = {name: [] for name in MAPS}
        for backend, route in routes.items():
            for entry in entries(route, backend):
                lines[entry.map].append(map_line(entry.key, entry.value))
        return {name: "".join(sorted(content)) for name, content in lines.items()}

    def certificates(self, config: CompiledConfig) -> dict[str, str]:
        """Certificates that frontends serve and CA bundles that servers refer to."""
        files = {certificate.name: certificate.pem for certificate in config.certificates}
        if config.frontends.system_ca is not None:
            files[SYSTEM_CA] = config.frontends.system_ca
        for route in config.routes.values():
            files.update({file.name: file.pem for file in route.ca_files})
        return files

    def _frontend_values(self, frontends: Frontends) -> dict[str, Any]:
        port = frontends.https_binds[0].port if frontends.https_binds else 443
        return {
            "frontends": frontends,
            "process": self.dialect.process,
            "maps": self.dialect.maps,
            "https_certificate": self.dialect.place(HTTPS_CERTIFICATE),
            "https_port_suffix": "" if port == 443 else f":{port}",
            "system_ca": self.dialect.place(SYSTEM_CA),
            "redirect_https": REDIRECT_HTTPS,
            "plain_only": PLAIN_ONLY,
            "maintenance": MAINTENANCE,
        }


def map_line(key: str, value: str) -> str:
    """One line of a map file; raises `TemplateError` for what would not stay one line."""
    if not _MAP_KEY.fullmatch(key) or not _MAP_VALUE.fullmatch(value):
        raise TemplateError(f"{key!a} {value!a} isn't a map entry", file="maps")
    return f"{key} {value}\n"
