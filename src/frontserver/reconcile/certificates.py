"""The operator's certificates: which are wanted, and having them served."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from frontserver.errors import CommandRefusedError
from frontserver.planning.compiled import Certificate
from frontserver.reconcile.applied import Applied
from frontserver.reconcile.desired import DesiredState

logger = logging.getLogger(__name__)


class Certificates:
    """Brings what `wanted` says into the desired state and into HAProxy."""

    def __init__(
        self,
        wanted: Callable[[], tuple[Certificate, ...]],
        desired: DesiredState,
        applied: Applied,
    ) -> None:
        self._wanted = wanted
        self._desired = desired
        self._applied = applied
        self._unusable: tuple[Certificate, ...] = ()

    def look(self) -> None:
        """Want what is there now, unless HAProxy has refused it."""
        certificates = self._wanted()
        if certificates not in (self._desired.config.certificates, self._unusable):
            self._want(certificates)

    async def serve(self) -> None:
        """Have the wanted ones served; if HAProxy refuses, those before go on."""
        names = {certificate.name for certificate in self._applied.config.certificates}
        if not self._applied.known or names != {c.name for c in self._desired.config.certificates}:
            return  # The reload brings them in.
        try:
            await self._applied.serve(self._desired.config.certificates)
        except CommandRefusedError as error:
            logger.error("the new certificate isn't served: %s", error)
            self._unusable = self._desired.config.certificates
            self._want(self._applied.config.certificates)

    def _want(self, certificates: tuple[Certificate, ...]) -> None:
        self._desired.config = msgspec.structs.replace(
            self._desired.config, certificates=certificates
        )
