"""A MongoDB replica set of three members on one machine each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from harness.mongo import Mongod
from harness.polling import until

MEMBERS = 3
_SECONDS = 60.0


class ReplicaSet:
    """Members that were made with one `replica_set` name, and aren't started yet."""

    def __init__(self, members: Iterable[Mongod]) -> None:
        self.members = list(members)

    def start(self) -> Mongod:
        """Start all of them as one set; the primary. Raises `HarnessError`."""
        for member in self.members:
            member.start()
        configuration = {
            "_id": "rs0",
            "members": [
                {"_id": number, "host": f"127.0.0.1:{member.port}"}
                for number, member in enumerate(self.members)
            ],
        }
        _tell(self.members[0], "replSetInitiate", configuration)
        return self.primary()

    def primary(self) -> Mongod:
        """The member that takes writes, once there is one. Raises `HarnessError`."""
        return until("the replica set has a primary", self._primary, seconds=_SECONDS)

    def _primary(self) -> Mongod | None:
        for member in self.members:
            try:
                if _tell(member, "hello").get("isWritablePrimary"):
                    return member
            except PyMongoError:
                continue
        return None


def _tell(member: Mongod, command: str, value: Any = 1) -> dict[str, Any]:
    with MongoClient[dict[str, Any]](
        "127.0.0.1", member.port, directConnection=True, serverSelectionTimeoutMS=2000
    ) as client:
        answer: dict[str, Any] = client.admin.command(command, value)
    return answer
