"""What a HAProxy can do, observed from the running one and from a throwaway one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from frontserver.haproxy import binary
from frontserver.haproxy.excerpt import excerpt
from frontserver.haproxy.probe import Prober, ask, command_of, probe
from frontserver.haproxy.runtime import RuntimeClient
from frontserver.haproxy.verdicts import Verdicts
from frontserver.planning.capabilities import NEEDED, Capabilities
from tests.unit.haproxy.fakes import FakeRuntime
from tests.unit.haproxy.trying import texts

BASE = texts([])
COMMANDS = "".join(f"  {command} <argument>  : what it does\n" for command in sorted(NEEDED))
HELP = (
    f"The following commands are valid at this level:\n{COMMANDS}  help [<command>] : list them\n"
)


async def test_what_haproxy_says_and_shows_is_what_was_measured(
    program: Path, runtime: RuntimeClient, place: Path
) -> None:
    """The table by version is true of the versions that it was measured on."""
    prober = Prober(program, Verdicts(place / "state" / "verdicts.json"))
    observed = await prober.observe(runtime, BASE)
    assumed = Capabilities.from_version(await binary.version(program))
    assert observed == msgspec.structs.replace(assumed, assumed=frozenset())
    assert observed.lacking == ()


async def test_without_the_program_what_cannot_be_asked_is_assumed(
    program: Path, runtime: RuntimeClient, place: Path
) -> None:
    prober = Prober(None, Verdicts(place / "verdicts.json"))
    observed = await prober.observe(runtime, BASE)
    assert observed.assumed == {
        *("automatic_sni", "del_map_removes_all", "guid", "init_state", "payload_limit"),
    }
    whole = Capabilities.from_version(await binary.version(program))
    assert observed == msgspec.structs.replace(whole, assumed=observed.assumed)


@pytest.mark.parametrize(("buffer", "limit"), [(8_192, 7_000), (32_768, 30_000)])
async def test_an_operators_buffers_count(program: Path, buffer: int, limit: int) -> None:
    tuned = texts([], in_global=f"    tune.bufsize {buffer}")
    shown = await probe(program, excerpt(tuned, frozenset(), slots=0))
    version = Capabilities.from_version(await binary.version(program))
    # 3.4 has large buffers of another size for payloads.
    assert shown.payload_limit == (120_000 if version.dynamic_backends else limit)


@pytest.mark.parametrize("size", [3_000, 7_000, 15_000, 120_000])
def test_a_command_of_a_size_has_that_size(size: int) -> None:
    data, last = command_of(size)
    assert len(data) == size
    assert data.endswith(b"x\n\n")
    assert f"\n{last} ".encode() in data


async def test_a_program_is_tried_once(program: Path, place: Path) -> None:
    path = place / "state" / "verdicts.json"
    version = await binary.version(program)
    shown = await Prober(program, Verdicts(path)).behaviour(version, BASE)
    # Nothing is there to be tried any more.
    again = Prober(place / "gone", Verdicts(path))
    assert await again.behaviour(version, texts([], generation="000099")) == shown


async def test_a_liar_is_believed_over_its_version(place: Path) -> None:
    """What a HAProxy says counts, not what others of its version do."""
    old, new = FakeRuntime("2.8"), FakeRuntime("3.4")
    backends = "".join(
        f"  {verb} backend <backend>   : \n" for verb in ("add", "del", "publish", "unpublish")
    )
    old.answers = {
        "show version": old.version,
        "help": HELP + backends + "  wait {-h|<delay_ms>} cond [args...]     : wait\n",
        "wait -h": "conditions are:\n  - srv-removable <px>/<sv> : wait for this server\n",
    }
    new.answers = {"show version": new.version, "help": HELP}
    told = []
    for fake in (old, new):
        path = place / f"{fake.dialect}.sock"
        client = RuntimeClient(path)
        async with fake.on(path):
            told.append(await ask(client))
            await client.close()
    assert [(one.version[:2], one.wait, one.dynamic_backends) for one in told] == [
        ((2, 8), True, True),
        ((3, 4), False, False),
    ]


async def test_what_a_socket_does_not_allow_is_named(place: Path) -> None:
    fake = FakeRuntime("3.2")
    less = "".join(line for line in HELP.splitlines(keepends=True) if " add server" not in line)
    fake.answers = {"show version": fake.version, "help": less}
    client = RuntimeClient(place / "rt.sock")
    async with fake.on(place / "rt.sock"):
        assert (await ask(client)).lacking == ("add server",)
        fake.answers["help"] = "no help today\n"
        silent = await ask(client)
        await client.close()
    assert silent == Capabilities.from_version(fake.version)


async def test_another_version_on_disk_is_not_tried_for_the_running_one(
    program: Path, place: Path
) -> None:
    fake = FakeRuntime("3.2")
    fake.version = "3.2.99-made-up"
    fake.answers = {"show version": fake.version, "help": HELP}
    client = RuntimeClient(place / "rt.sock")
    async with fake.on(place / "rt.sock"):
        prober = Prober(program, Verdicts(place / "verdicts.json"))
        observed = await prober.observe(client, BASE)
        await client.close()
    assert "payload_limit" in observed.assumed
    assert "wait" not in observed.assumed
