"""What would end HAProxy never reaches the one that serves: a throwaway one is asked first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from frontserver.backends.file.backend import FileBackend
from frontserver.backends.file.judge import Judge
from frontserver.backends.manifest import Manifest
from frontserver.backends.port import State
from frontserver.errors import ConfigRejectedError, ProxyError
from frontserver.haproxy.canary import Canary, Verdict
from frontserver.model.measurements import Unmeasured
from frontserver.model.names import DomainName
from frontserver.model.routes import CookieName, HealthCheck, HttpRoute, OriginTls
from frontserver.planning.compile import STANDARD_PROFILES
from frontserver.planning.compiled import Frontends, Profile
from frontserver.planning.diff import diff
from frontserver.planning.layout import Layout
from frontserver.planning.plan import lay_out, plan
from frontserver.rendering import invariants
from frontserver.rendering.render import PROFILES, Renderer
from frontserver.rendering.shards import shard_at, shard_name
from frontserver.rendering.templates import Templates
from tests.unit.backends.conftest import Site
from tests.unit.backends.fileworld import (
    ask,
    current,
    driving,
    generations,
    origin,
    self_signed,
    shop,
)
from tests.unit.backends.test_contract import REASON, Driver
from tests.unit.planning.routes import POLICY, compiled, config, http

# Red list R3, on every version: HAProxy ends at a dynamic server's first external check.
ENDS_HAPROXY = "    option external-check\n    external-check command /bin/true\n"
STICKY_ONLY = "{{% if profile.cookie %}}\n{}{{% endif %}}\n"


class Counted(Unmeasured):
    """Keeps the verdicts that it is told of."""

    def __init__(self) -> None:
        self.verdicts: list[str] = []

    def judged(self, verdict: str, seconds: float) -> None:
        assert seconds >= 0
        self.verdicts.append(verdict)


# --- with real processes ---


def customise(site: Site, **lines: str) -> None:
    """Templates of the operator's, by the name of their place."""
    site.templates = site.directory / "templates"
    (site.templates / "custom").mkdir(parents=True, exist_ok=True)
    for name, text in lines.items():
        (site.templates / "custom" / f"{name}.cfg.j2").write_text(text)


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the list of what is known to be harmful didn't know what these tests load."""
    monkeypatch.setattr(invariants, "check_red_list", lambda _: None)


@pytest.fixture
async def app() -> AsyncIterator[int]:
    async with origin("shop") as port:
        yield port


async def pids(driver: Driver) -> dict[str, int]:
    assert isinstance(driver.backend, FileBackend)
    master = driver.backend._handover._master
    return {worker.kind: worker.pid for worker in await master.processes()}


async def load(driver: Driver, *routes: HttpRoute) -> None:
    """Reload with these routes on top of what runs."""
    state = driver.state
    target = state.config.with_routes({**dict(state.config.routes), **compiled(*routes)})
    deferred = plan(diff(state.config, target), state.layout).deferred
    after = State(target, lay_out(state.layout, deferred, POLICY))
    await driver.backend.reload(after, REASON, changed=[change.key for change in deferred])
    driver.state = after


@pytest.mark.usefixtures("unguarded")
async def test_a_profile_that_ends_haproxy_is_refused_and_the_one_that_serves_never_sees_it(
    site: Site, app: int
) -> None:
    customise(
        site,
        **{"global": "    external-check\n    insecure-fork-wanted\n"},
        profile=STICKY_ONLY.format(ENDS_HAPROXY),
    )
    async with driving(site) as driver:
        await driver.to(shop(app))
        before = await pids(driver), current(site), generations(site)
        bad = shop(app, "bad", sticky=CookieName("C"), check=HealthCheck())

        with pytest.raises(ConfigRejectedError) as refused:
            await load(driver, bad)

        profile_id = compiled(bad)[bad.key].profile.id  # type: ignore[union-attr]
        assert f"a throwaway HAProxy with profile {profile_id} failed" in refused.value.reason
        assert "HAProxy ended with SIG" in refused.value.reason
        assert (await pids(driver), current(site), generations(site)) == before
        assert await ask(site.http_port, "shop.apps.example.com") == (200, "shop")
        await driver.assert_in_step()

        await driver.to(shop(app), shop(app, "good", check=HealthCheck()))
        assert await ask(site.http_port, "good.apps.example.com") == (200, "shop")


async def test_a_profile_that_takes_no_server_at_run_time_is_refused(site: Site, app: int) -> None:
    """No list knows of it: HAProxy's own answer to the canary's command is the reason."""
    customise(site, profile=STICKY_ONLY.format("    balance static-rr\n"))
    async with driving(site) as driver:
        before = await pids(driver)

        with pytest.raises(ConfigRejectedError, match="failed: add server p"):
            await load(driver, shop(app, sticky=CookieName("C")))

        assert await pids(driver) == before
        await driver.assert_in_step()


async def test_a_new_profile_whose_first_route_brings_its_own_ca_is_loaded(site: Site) -> None:
    """A trial needs nothing of the routes that wait for the profile."""
    pem, context = self_signed("origin.example.com")
    tls = OriginTls(server_name=DomainName("origin.example.com"), ca_pem=pem)
    async with origin("safe", context) as port, driving(site) as driver:
        route = http("safe", f"https://127.0.0.1:{port}", sticky=CookieName("C"), origin_tls=tls)
        await load(driver, route)
        assert await ask(site.http_port, "safe.apps.example.com") == (200, "safe")


@pytest.mark.usefixtures("unguarded")
async def test_the_very_first_start_is_tried_too(site: Site) -> None:
    customise(
        site,
        **{"global": "    external-check\n    insecure-fork-wanted\n"},
        profile="{% if profile.mode == 'http' and profile.check != 'none' %}\n"
        + ENDS_HAPROXY
        + "{% endif %}\n",
    )
    driver = Driver(site.backend(), site.frontends)

    with pytest.raises(ConfigRejectedError, match="HAProxy ended with SIG"):
        await driver.start()
    await driver.backend.close()

    assert await site.process().adopt() is None, "no HAProxy was started"
    assert site.generations.current() is None
    assert generations(site) == []


# --- what is tried, and how often ---


class Tries:
    """A canary that says what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[set[str], bool]] = []
        self.texts: list[set[str]] = []
        self.refuses: dict[str, Verdict] = {}
        self.error: Exception | None = None

    async def try_profiles(
        self, texts: Mapping[str, str], profiles: Sequence[Profile], *, dynamic: bool = False
    ) -> Mapping[str, Verdict]:
        if self.error is not None:
            raise self.error
        self.asked.append(({profile.id for profile in profiles}, dynamic))
        self.texts.append(set(texts))
        good = Verdict(ok=True, dynamic_ok=True if dynamic else None)
        return {profile.id: self.refuses.get(profile.id, good) for profile in profiles}


class Bench:
    """A judge over generations that no HAProxy runs."""

    def __init__(self, site: Site, canary: Tries | None) -> None:
        self.site = site
        self.told = Counted()
        self.checked: list[Path] = []
        site.generations.prepare()
        self.judge = Judge(
            site.generations,
            self._check,
            canary,  # type: ignore[arg-type]
            self.told,
        )

    async def _check(self, path: Path, files: Sequence[str]) -> None:
        del files
        self.checked.append(path)

    def write(self, *routes: HttpRoute, frontends: Frontends | None = None) -> tuple[Path, State]:
        """A generation of these routes."""
        made = config(*routes, frontends=frontends or self.site.frontends)
        planned = plan(diff(config(frontends=made.frontends), made), Layout().reloaded({}, POLICY))
        state = State(made, lay_out(planned.layout, planned.deferred, POLICY))
        renderer = Renderer(Templates(None))
        files = renderer.everything(state.config, state.layout, generation="x")
        name = self.site.generations.next_name()
        return self.site.generations.write(name, files, Manifest.of(state)), state

    async def require(self, *routes: HttpRoute, frontends: Frontends | None = None) -> None:
        path, state = self.write(*routes, frontends=frontends)
        await self.judge.require(path, state, None)


@pytest.fixture
def canary() -> Tries:
    return Tries()


@pytest.fixture
def bench(site: Site, canary: Tries) -> Bench:
    return Bench(site, canary)


STANDARD = {profile.id for profile in STANDARD_PROFILES}
STICKY = shop(1, "sticky", sticky=CookieName("C"))
STICKY_ID = next(iter(config(STICKY).routes.values())).profile.id


async def test_only_profiles_that_are_new_are_tried(bench: Bench, canary: Tries) -> None:
    await bench.require()
    await bench.require(shop(1))
    assert canary.asked == [(STANDARD, False)], "routes of known profiles cost no trial"

    await bench.require(STICKY)
    await bench.require(STICKY, shop(1, "other", sticky=CookieName("C")))

    assert canary.asked[1:] == [({STICKY_ID}, False)]
    assert bench.told.verdicts == ["passed"] * (len(STANDARD) + 1)
    assert len(bench.checked) == 4, "HAProxy's own check is asked each time"


async def test_what_is_handed_to_the_canary_is_the_frame_and_one_shard_a_profile(
    bench: Bench, canary: Tries
) -> None:
    await bench.require(*(shop(1, f"s{number}") for number in range(3)), STICKY)
    (texts,) = canary.texts
    assert PROFILES in texts
    assert {t for t in texts if t.startswith("50-")} <= {
        shard_name(shard_at(one, 0)) for one in {*STANDARD, STICKY_ID}
    }
    assert not [text for text in texts if text.startswith(("maps/", "certs/"))]


async def test_other_frontends_or_templates_make_every_profile_unknown_again(
    bench: Bench, canary: Tries
) -> None:
    await bench.require(STICKY)
    changed = Frontends(
        http_binds=bench.site.frontends.http_binds,
        https_binds=(),
        mongo_binds=bench.site.frontends.mongo_binds,
        runtime_socket=bench.site.frontends.runtime_socket,
        hard_stop_after="1m",
    )
    await bench.require(STICKY, frontends=changed)
    assert canary.asked == [({*STANDARD, STICKY_ID}, False)] * 2


async def test_a_refused_profile_is_asked_about_again_and_the_others_are_not(
    bench: Bench, canary: Tries
) -> None:
    """The canary's own memory knows whether that costs anything."""
    canary.refuses = {STICKY_ID: Verdict(ok=False, reason="a request: it ended")}
    for _ in range(2):
        with pytest.raises(ConfigRejectedError, match=f"{STICKY_ID} failed: a request: it ended"):
            await bench.require(STICKY)

    assert canary.asked == [({*STANDARD, STICKY_ID}, False), ({STICKY_ID}, False)]
    assert bench.told.verdicts.count("failed") == 2


async def test_what_only_took_too_long_is_refused_and_counted_apart(
    bench: Bench, canary: Tries
) -> None:
    canary.refuses = {STICKY_ID: Verdict(ok=False, reason="too slow", final=False)}
    with pytest.raises(ConfigRejectedError, match="too slow"):
        await bench.require(STICKY)
    assert sorted(set(bench.told.verdicts)) == ["passed", "unfinished"]

    canary.refuses = {}
    await bench.require(STICKY)


async def test_where_nothing_can_be_tried_haproxys_own_check_decides(
    bench: Bench, canary: Tries, caplog: pytest.LogCaptureFixture
) -> None:
    canary.error = ProxyError("the program can't be run")
    await bench.require(STICKY)
    assert "no profile can be tried here" in caplog.text
    assert len(bench.checked) == 1
    assert bench.told.verdicts == []


async def test_what_is_of_no_profile_refuses_the_whole(bench: Bench, canary: Tries) -> None:
    canary.error = ConfigRejectedError("unknown keyword")
    with pytest.raises(ConfigRejectedError, match="unknown keyword"):
        await bench.require()


async def test_without_a_program_nothing_is_tried(site: Site) -> None:
    bench = Bench(site, None)
    await bench.require(STICKY)
    assert len(bench.checked) == 1
    assert bench.judge.growing == frozenset()


async def test_profiles_are_tried_once_more_where_backends_can_be_made_at_run_time(
    bench: Bench, canary: Tries
) -> None:
    await bench.require(STICKY)
    assert bench.judge.growing == frozenset(), "nothing is known of that yet"

    bench.judge.dynamic = True
    await bench.require(STICKY)
    await bench.require(STICKY)

    assert canary.asked == [({*STANDARD, STICKY_ID}, dynamic) for dynamic in (False, True)]
    bench.judge.loaded(bench.site.frontends.fingerprint)
    assert bench.judge.growing == {*STANDARD, STICKY_ID}


async def test_what_runs_already_is_only_learnt_of(
    bench: Bench, canary: Tries, caplog: pytest.LogCaptureFixture
) -> None:
    """It serves: that a profile of it fails now is worth a warning, and no more."""
    path, _ = bench.write(STICKY)
    manifest = bench.site.generations.manifest(path.name)
    assert manifest is not None
    canary.refuses = {STICKY_ID: Verdict(ok=False, reason="it ended")}
    bench.judge.dynamic = True

    await bench.judge.learn(path, manifest)

    assert f"{STICKY_ID} failed: it ended" in caplog.text
    assert bench.judge.growing == STANDARD


async def test_the_trial_and_the_check_go_side_by_side_and_neither_outlives_the_other(
    site: Site, canary: Tries
) -> None:
    bench = Bench(site, canary)

    async def refuse(path: Path, files: Sequence[str]) -> None:
        raise ConfigRejectedError(f"no {path.name}")

    bench.judge._check = refuse
    with pytest.raises(ConfigRejectedError, match="no 0"):
        await bench.require(STICKY)


def test_a_canary_fits_where_the_tests_put_another() -> None:
    """`Tries` stands in for it."""
    assert Canary.try_profiles.__annotations__ == Tries.try_profiles.__annotations__
