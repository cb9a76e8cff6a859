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
    """Brings what `wanted` says into the desired state and into HAProxy.

    `problem` is why others are served than are wanted, `None` if they aren't. `due` is whether to
    have them served anew, whatever HAProxy is thought to serve.
    """

    def __init__(
        self,
        wanted: Callable[[], tuple[Certificate, ...]],
        desired: DesiredState,
        applied: Applied,
    ) -> None:
        self._wanted = wanted
        self._desired = desired
        self._applied = applied
        self.problem: str | None = None
        self.due = False
        self._unusable: tuple[Certificate, ...] | None = None

    def look(self) -> None:
        """Want what is there now, unless HAProxy has refused it."""
        certificates = self._wanted()
        if certificates == self._unusable:
            return
        if certificates != self._desired.config.certificates:
            self._want(certificates)
        elif not self.due:
            self.problem = None

    def retry(self) -> None:
        """What HAProxy has refused may be possible now."""
        self.due = self.problem is not None
        self._unusable = None

    async def serve(self) -> None:
        """Have the wanted ones served; if HAProxy refuses, those before go on."""
        self.due = False
        names = {certificate.name for certificate in self._applied.config.certificates}
        if not self._applied.known or names != {c.name for c in self._desired.config.certificates}:
            return  # The reload brings them in.
        try:
            await self._applied.serve(self._desired.config.certificates)
        except CommandRefusedError as error:
            self.problem = f"the new certificate isn't served: {error}"
            logger.error("%s; it is tried again", self.problem)
            self._unusable = self._desired.config.certificates
            self._want(self._applied.config.certificates)
        else:
            self.problem = None

    def _want(self, certificates: tuple[Certificate, ...]) -> None:
        self._desired.config = msgspec.structs.replace(
            self._desired.config, certificates=certificates
        )
