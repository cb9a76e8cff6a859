"""An agent whose database is a replica set: its route follows the primary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pymongo import WriteConcern
from pymongo.errors import PyMongoError

from harness.polling import until
from harness.stack import Stack
from tests.e2e.clients import mongo_client

pytestmark = pytest.mark.one_mongodb


def test_the_route_follows_the_primary(
    make_stack: Callable[..., Stack], mongod_binary: Path
) -> None:
    stack = make_stack(mongodb="replica-set")
    agent = stack.registered("cluster")
    primary = stack.secured_mongod(agent)
    agent.mongodb(primary)
    with mongo_client(stack, agent) as client:
        log = client.fleet.get_collection("log", write_concern=WriteConcern("majority"))
        log.insert_one({"_id": "before"})
        hello = client.admin.command("hello")
        assert (hello["setName"], len(hello["hosts"])) == ("rs0", 3)

    primary.stop()
    replica_set = stack.replica_sets["cluster"]
    following = replica_set.primary()
    assert following.port != primary.port
    agent.mongodb(following)

    with mongo_client(stack, agent) as client:
        written = until(
            "writes go on",
            lambda: client.fleet.log.insert_one({"_id": "after"}).inserted_id,
            quiet=(PyMongoError,),
        )
        assert written == "after"
        assert client.fleet.log.count_documents({}) == 2
