"""Reloads that are prepared beside changes: what happens meanwhile is part of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import pytest

from frontserver.backends.file import drafts
from frontserver.backends.file.backend import FileBackend
from frontserver.backends.file.tree import Tree
from frontserver.backends.port import Prepared, State
from frontserver.errors import ConfigRejectedError, StorageError
from frontserver.model.routes import (
    CookieName,
    HeaderEdits,
    HeaderName,
    HeaderValue,
    Route,
    RouteKey,
)
from frontserver.planning.compiled import HOSTS, MAPS, VALUES, CompiledConfig
from frontserver.planning.diff import diff
from frontserver.planning.layout import Layout, PoolPolicy
from frontserver.planning.plan import RouteSteps, lay_out, lay_out_within, plan
from frontserver.rendering.render import FRAME, PROFILES
from frontserver.rendering.shards import STRETCH_SLOTS, divided, shard_at, shard_name
from tests.unit.backends.conftest import Site
from tests.unit.backends.fileworld import (
    REFILL,
    ask,
    current,
    driving,
    generations,
    origin,
    shop,
    until,
)
from tests.unit.backends.test_contract import Driver
from tests.unit.planning.routes import POLICY, compiled, http, mongo

ROOMY = PoolPolicy(POLICY.standard, spare=3 * STRETCH_SLOTS)
EDITS = HeaderEdits(set=((HeaderName("x-a"), HeaderValue("1")),))


@pytest.fixture
async def driver(site: Site) -> AsyncIterator[Driver]:
    async with driving(site) as made:
        await made.seen()
        yield made


class Reload:
    """A reload in two parts, as the reconciler takes it."""

    def __init__(self, driver: Driver, policy: PoolPolicy = POLICY) -> None:
        self.driver = driver
        self.policy = policy

    async def prepare(self, *routes: Route) -> Prepared:
        """With these routes on top of what runs; they wait for it."""
        state = self.driver.state
        target = state.config.with_routes({**dict(state.config.routes), **compiled(*routes)})
        self.deferred = plan(diff(state.config, target), state.layout).deferred
        layout = lay_out(state.layout, self.deferred, self.policy)
        config = state.config.with_routes({c.key: c.new for c in self.deferred})
        keys = [change.key for change in self.deferred]
        return await self.driver.backend.prepare(State(config, layout), keys)

    async def load(self, prepared: Prepared) -> None:
        """What was done since is in the driver's state by now."""
        state = self.driver.state
        layout = lay_out_within(state.layout, self.deferred, prepared.state.layout)
        assert layout is not None
        config = state.config.with_routes({c.key: c.new for c in self.deferred})
        self.driver.state = State(config, layout)
        keys = [change.key for change in self.deferred]
        await self.driver.backend.reload(self.driver.state, REFILL, prepared, keys)


async def test_what_was_done_while_a_reload_was_prepared_is_part_of_it(
    site: Site, driver: Driver
) -> None:
    async with origin("new") as new, origin("kept") as kept:
        await driver.to(shop(kept, "kept"), shop(1, "gone"), shop(2, "moved"), mongo())
        reload = Reload(driver)
        prepared = await reload.prepare(shop(new, "waits", sticky=CookieName("C")))
        await driver.to(shop(kept, "kept"), shop(new, "moved"), shop(new, "added"), mongo())
        await reload.load(prepared)

        await driver.assert_in_step()
        for name, answer in (("waits", "new"), ("moved", "new"), ("added", "new")):
            assert await ask(site.http_port, f"{name}.apps.example.com") == (200, answer)
        assert await ask(site.http_port, "kept.apps.example.com") == (200, "kept")
        assert (await ask(site.http_port, "gone.apps.example.com"))[0] == 404


async def test_of_what_is_derived_only_what_is_new_is_checked(site: Site, driver: Driver) -> None:
    """HAProxy runs the rest, and takes most of the time for it."""
    await driver.to(shop(1), mongo())
    sticky = shop(1, "waits", sticky=CookieName("C"))
    prepared = await Reload(driver).prepare(sticky)
    profile = compiled(sticky)[sticky.key].profile

    draft = site.generations.path(prepared.token)
    files = {path.name for path in draft.glob("*.cfg")}
    differing = {
        name
        for name in files
        if not (current(site) / name).exists()
        or (current(site) / name).stat().st_ino != (draft / name).stat().st_ino
    }
    assert shard_name(shard_at(profile.id, 0)) in differing
    assert site.checked[-1] == tuple(sorted(differing))
    assert set(FRAME) < differing < files


async def test_a_mistake_in_what_is_new_is_found(site: Site, driver: Driver) -> None:
    before = current(site)
    bad = shop(1, "bad", sticky=CookieName("C"))
    assert isinstance(driver.backend, FileBackend)
    renderer = driver.backend._renderer
    real = renderer.profiles

    def profiles(*args: Any) -> str:
        return real(*args) + "    no-such-word\n"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renderer, "profiles", profiles)
        with pytest.raises(ConfigRejectedError, match="no-such-word"):
            await Reload(driver).prepare(bad)
    assert current(site) == before
    await driver.assert_in_step()


async def test_what_was_under_way_when_a_reload_was_begun_is_part_of_it(
    site: Site, driver: Driver
) -> None:
    """The change was sent already, and nobody has heard of its success yet."""
    backend, before = driver.backend, driver.state
    reload = Reload(driver)
    target = CompiledConfig(before.config.frontends).with_routes(compiled(shop(1), mongo()))
    planned = plan(diff(before.config, target), before.layout)

    assert isinstance(backend, FileBackend)
    taken, heard, take = asyncio.Event(), asyncio.Event(), backend._performer.take

    async def slow(steps: Sequence[RouteSteps]) -> Mapping[RouteKey, str]:
        failed = await take(steps)
        taken.set()
        await heard.wait()
        return failed

    backend._performer.take = slow  # type: ignore[method-assign]
    changing = asyncio.create_task(backend.apply(planned.steps))
    await taken.wait()
    preparing = asyncio.create_task(reload.prepare())
    await asyncio.sleep(0)
    heard.set()
    assert await changing == {}
    driver.state = State(target, planned.layout)
    await backend.persist(driver.state, planned.steps)
    await reload.load(await preparing)

    await driver.assert_in_step()


async def test_what_came_while_a_draft_was_derived_and_went_again_is_not_in_it(
    site: Site, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server would take part in serving whoever gets the slot next."""
    begun, go_on = threading.Event(), threading.Event()
    real = drafts._spoilt

    def slow(tree: Tree, shards: Iterable[int]) -> list[int]:
        found = real(tree, shards)
        begun.set()
        assert go_on.wait(10)
        return found

    await driver.to(shop(1, "kept"))
    monkeypatch.setattr(drafts, "_spoilt", slow)
    reload = Reload(driver, ROOMY)
    preparing = asyncio.create_task(reload.prepare())
    await until(begun.is_set, "a draft is derived")
    await driver.to(shop(1, "kept"), shop(2, "short"))
    slot = driver.state.layout.slots[shop(2, "short").key]
    go_on.set()
    prepared = await preparing
    await driver.to(shop(1, "kept"))
    await reload.load(prepared)

    assert (await driver.seen()).servers[slot] == {}
    await driver.assert_in_step()


async def test_a_cold_start_after_such_a_reload_brings_back_the_same(
    site: Site, driver: Driver
) -> None:
    async with origin("new") as new:
        await driver.to(shop(1, "gone", response_headers=EDITS), shop(2, "other"))
        reload = Reload(driver)
        prepared = await reload.prepare(shop(new, "waits", sticky=CookieName("C")))
        await driver.to(shop(2, "other"), shop(new, "added"))
        await reload.load(prepared)
        await driver.to(*[shop(new, name) for name in ("other", "added", "late")])
        await driver.backend.close()
        await site.process().stop()

        again = Driver(site.backend(), site.frontends)
        await again.start()
        again.state = driver.state
        await again.assert_in_step()
        assert await ask(site.http_port, "added.apps.example.com") == (200, "new")
        await again.backend.close()


async def test_values_of_a_slot_that_was_left_do_not_come_back(site: Site, driver: Driver) -> None:
    """Their streams were over with the reload; the next route there must not inherit them."""
    backend = driver.backend
    await driver.to(http("gone", response_headers=EDITS))
    (slot,) = driver.state.layout.slots.values()
    target = CompiledConfig(driver.state.config.frontends)
    planned = plan(diff(driver.state.config, target), driver.state.layout)
    await backend.apply(planned.steps)
    driver.state = State(target, planned.layout)
    await backend.persist(driver.state, planned.steps)
    reload = Reload(driver)
    await reload.load(await reload.prepare())

    await driver.assert_in_step()
    assert slot not in (current(site) / VALUES).read_text()


async def test_what_is_alike_is_shared_and_what_grows_is_written(
    site: Site, driver: Driver
) -> None:
    await driver.to(http(), mongo())
    before = current(site)
    reload = Reload(driver, ROOMY)
    await reload.load(await reload.prepare())
    after = current(site)

    profile = POLICY.standard[0].id
    shards = [shard_name(shard_at(profile, n)) for n in range(4)]
    wanted = {shard_name(shard) for shard in divided(driver.state.layout.pools)}
    assert {path.name for path in after.glob("50-*.cfg")} == wanted
    assert {*shards} <= wanted
    await driver.to(http(), mongo(), http("second"))
    reload = Reload(driver, ROOMY)
    await reload.load(await reload.prepare())

    again = current(site)
    assert (again / shards[1]).samefile(after / shards[1])
    assert not any((again / name).samefile(after / name) for name in MAPS)
    assert not before.exists()
    await driver.assert_in_step()


async def test_haproxy_bears_the_names_of_all_files(site: Site) -> None:
    """2.8 and 3.0 pass them to their master in one variable, and end if that is too long."""
    site.keep_in(site.directory / ("deep" * 50))
    many = PoolPolicy(POLICY.standard[:1], spare=600 * STRETCH_SLOTS)
    driver = Driver(site.backend(), site.frontends)
    driver.state = State(driver.state.config, Layout().reloaded({}, many))
    await driver.start()
    await driver.seen()
    for _ in range(2):
        reload = Reload(driver, many)
        await reload.load(await reload.prepare())
    await driver.to(shop(1))
    await driver.assert_in_step()
    await driver.backend.close()


async def test_a_file_that_somebody_changed_is_not_shared(site: Site, driver: Driver) -> None:
    await driver.to(http(), mongo())
    reload = Reload(driver, ROOMY)
    await reload.load(await reload.prepare())
    spoilt = current(site) / shard_name(shard_at(POLICY.standard[0].id, 1))
    spoilt.write_text(spoilt.read_text().replace("backend", "nonsense", 1))

    await reload.load(await reload.prepare())
    await driver.assert_in_step()
    assert "nonsense" not in (current(site) / spoilt.name).read_text()

    path = current(site) / HOSTS
    path.write_text(path.read_text() + "stray.apps.example.com p0.0\n")
    await reload.load(await reload.prepare())
    await driver.assert_in_step()


async def test_a_reload_that_is_not_wanted_any_more_leaves_nothing(
    site: Site, driver: Driver
) -> None:
    await driver.to(http(), mongo())
    had = generations(site)
    prepared = await Reload(driver).prepare(shop(1, "waits", sticky=CookieName("C")))
    assert generations(site) != had
    await driver.backend.discard(prepared)
    assert generations(site) == had
    with pytest.raises(StorageError, match="gone"):
        await driver.backend.reload(driver.state, REFILL, prepared, ())
    await driver.assert_in_step()


async def test_a_refused_candidate_is_told_before_anything_is_loaded(
    site: Site, driver: Driver
) -> None:
    await driver.to(http(), mongo())
    had = generations(site)
    site.templates = None

    async def refuse(path: object, files: object) -> None:
        raise ConfigRejectedError("no")

    backend = driver.backend
    assert isinstance(backend, FileBackend)
    backend._judge._check = refuse
    with pytest.raises(ConfigRejectedError):
        await Reload(driver).prepare(shop(1, "waits", sticky=CookieName("C")))
    assert generations(site) == had
    assert PROFILES in {path.name for path in current(site).iterdir()}
    await driver.assert_in_step()


async def test_slots_rest_on_while_a_draft_is_written_instead_of_having_changes_wait(
    site: Site, driver: Driver
) -> None:
    """A sweep is a part of a round: whoever needs no reload would wait for the disk."""
    await driver.to(shop(1), mongo())
    slot = driver.state.layout.slots[shop(1).key]
    await driver.to(mongo())
    backend, writing = driver.backend, threading.Event()
    assert isinstance(backend, FileBackend)
    derive = site.generations.derive

    def slow(*arguments: Any) -> Tree:
        assert writing.wait(10)
        return derive(*arguments)

    site.generations.derive = slow  # type: ignore[method-assign]
    preparing = asyncio.create_task(Reload(driver).prepare(shop(1, "w", sticky=CookieName("C"))))
    try:
        await until(lambda: backend._mirror.is_at_rest, "the draft is being written")
        async with asyncio.timeout(5):
            assert await backend.idle([slot]) == frozenset()
    finally:
        writing.set()
        prepared = await preparing
    assert await backend.idle([slot]) == {slot}
    await backend.discard(prepared)
