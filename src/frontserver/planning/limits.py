"""What a way to HAProxy can't carry at run time, so that only a reload brings it in."""

from __future__ import annotations

import re

import msgspec

from frontserver.model.routes import HealthCheck
from frontserver.planning.compiled import CheckTiming, CompiledRoute, Profile, Server, SlotValue

# When a MongoDB server is checked, and an HTTP one whose owner named no times of his own.
MONGO_CHECK = CheckTiming(interval_ms=5000, rise=2, fall=3)
_DEFAULTS = HealthCheck()
HTTP_CHECK = CheckTiming(_DEFAULTS.interval_ms, _DEFAULTS.rise, _DEFAULTS.fall)
# What stands between the certificates of a bundle.
_BETWEEN = re.compile(r"(?<=-----END CERTIFICATE-----\n)")


class RuntimeLimits(msgspec.Struct, frozen=True):
    """Without limits, whatever a loaded profile allows can be done at run time.

    `cookies` is whether a server can be added that has a cookie's value of its own, `checks`
    whether any server's checks can be started; without, those of a `prepared` server alone can.
    `unsayable` finds what no map's value may hold, `unsayable_keys` what no key may.
    `longest_bundle` is the most bytes that a CA bundle may have, `longest_certificate` one
    certificate of it.
    """

    cookies: bool = True
    checks: bool = True
    unsayable: re.Pattern[str] | None = None
    unsayable_keys: re.Pattern[str] | None = None
    longest_bundle: int | None = None
    longest_certificate: int | None = None

    def prevent(self, old: CompiledRoute | None, new: CompiledRoute) -> bool:
        """Whether `new` can't take the place of `old` without a reload."""
        kept = {server.name for server in old.servers} if old else set()
        fresh = [server for server in new.servers if server.name not in kept]
        if not self.cookies and any(server.cookie is not None for server in fresh):
            return True
        ready = prepared(new.profile, new.servers)
        if not self.checks and any(s.check is not None and s is not ready for s in fresh):
            return True
        held = old.ca_files if old else ()
        if any(self._is_too_long(file.pem) for file in new.ca_files if file not in held):
            return True
        said = old.values if old else ()
        return any(self._prevents(value) for value in new.values if value not in said)

    def _prevents(self, value: SlotValue) -> bool:
        return _holds(value.value, self.unsayable) or _holds(value.suffix, self.unsayable_keys)

    def _is_too_long(self, pem: str) -> bool:
        if self.longest_bundle is not None and len(pem) > self.longest_bundle:
            return True
        most = self.longest_certificate
        return most is not None and any(len(one) > most for one in _BETWEEN.split(pem))


def _holds(text: str, bad: re.Pattern[str] | None) -> bool:
    return bad is not None and bad.search(text) is not None


def is_prepared(profile: Profile) -> bool:
    """Whether slots of a profile can have a server that waits, checks and all, for an address."""
    return profile.check != "none" and profile.cookie is None


def ordinary_check(profile: Profile) -> CheckTiming:
    """When a prepared server of the profile is checked."""
    return MONGO_CHECK if profile.mode == "tcp" else HTTP_CHECK


def prepared(profile: Profile, servers: tuple[Server, ...]) -> Server | None:
    """The server of a route that the prepared server of its slot can be: an only one, plain."""
    if len(servers) != 1 or not is_prepared(profile):
        return None
    (only,) = servers
    plain = Server(only.address, only.port, only.weight, check=ordinary_check(profile))
    return only if only == plain else None
