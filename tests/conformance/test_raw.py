"""The whole configuration as one text."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.dataplane_double.document import checksum
from harness.origin import Origin
from harness.polling import until
from tests.conformance.contract import BROKEN
from tests.conformance.site import BACKENDS, RAW, TEXT, Site

MakeSite = Callable[..., Site]


def marked(site: Site, name: str) -> str:
    """The first configuration, with one backend more."""
    return f"{site.base}\nbackend {name} from cp_defaults\n"


def test_a_forced_text_runs_when_it_is_answered(site: Site) -> None:
    version, worker = site.version(), site.worker()

    answer = site.post(marked(site, "cp_new"))

    assert (answer.status_code, "reload-id" in answer.headers) == (201, False)
    assert site.runs("cp_new")
    assert site.worker() != worker
    assert site.version() == site.disk_version() == version + 1


def test_the_answer_is_the_file_with_its_checksum(site: Site) -> None:
    answer = site.post(marked(site, "cp_new"))

    first, _, rest = site.disk().partition("\n")
    assert answer.text == site.disk() == site.api.get(RAW).text
    assert first == f"# _md5hash={checksum(rest)}"
    assert answer.headers["configuration-checksum"] == checksum(rest)


def test_a_text_that_nobody_forces_runs_later(site: Site) -> None:
    answer = site.later(marked(site, "cp_new"))

    assert (answer.status_code, "reload-id" in answer.headers) == (202, True)
    assert "backend cp_new" in site.disk()
    site.wait_for_backend("cp_new")


def test_a_text_without_a_reload_is_in_the_file_alone(site: Site) -> None:
    worker = site.worker()

    answer = site.post(marked(site, "cp_new"), skip_reload=True)

    assert answer.status_code == 201
    assert "backend cp_new" in site.disk()
    assert (site.runs("cp_new"), site.worker()) == (False, worker)


def test_sections_and_lines_are_put_in_order(site: Site) -> None:
    text = f"""\
# at the top

{site.base}
# about b
backend cp_b from cp_defaults
    server  s1   127.0.0.1:1
    balance roundrobin # not random
    # at the end
backend cp_a from cp_defaults
"""
    written = site.post(text).text

    assert written.splitlines()[2] == "# at the top"
    assert written.index("backend cp_a") < written.index("backend cp_b")
    assert (
        "\n# about b\nbackend cp_b from cp_defaults\n"
        "  balance roundrobin # not random\n  server s1 127.0.0.1:1\n  # at the end\n"
    ) in written


def test_conditions_are_taken_from_around_their_lines(site: Site) -> None:
    text = f"""\
{site.base}
backend cp_b from cp_defaults
  .if defined(NOBODY_SETS_THIS)
  balance leastconn
  .endif
  server s1 127.0.0.1:1
"""
    written = site.post(text).text

    assert (
        "backend cp_b from cp_defaults\n  balance leastconn\n  server s1 127.0.0.1:1\n"
        "  .if defined(NOBODY_SETS_THIS)\n  .endif\n"
    ) in written


def test_what_is_posted_back_changes_nothing_but_the_version(site: Site) -> None:
    once = site.post(site.base).text
    twice = site.post(once).text

    assert [line for line in once.splitlines() if not line.startswith("# _")] == [
        line for line in twice.splitlines() if not line.startswith("# _")
    ]


def test_a_section_without_from_stays_without(site: Site) -> None:
    assert "\nbackend cp_loose\n" in site.post(f"{site.base}\nbackend cp_loose\n").text


@pytest.mark.parametrize(
    ("version", "status"), [(99, 409), (None, 400)], ids=["another", "no version"]
)
def test_the_version_must_be_the_one_in_memory(
    site: Site, version: int | None, status: int
) -> None:
    before = site.disk()

    answer = site.post(marked(site, "cp_new"), version=version, force_reload=True)

    assert answer.status_code == status
    assert (site.disk(), site.statuses()) == (before, {})


def test_errors_are_json_under_another_name(site: Site) -> None:
    answer = site.post(site.base, version=99, force_reload=True)

    assert answer.headers["content-type"] == "text/plain"
    assert answer.json()["code"] == 409
    assert f"version in configuration file is {site.version()}, given" in answer.json()["message"]


@pytest.mark.parametrize(
    ("text", "headers", "status"),
    [
        ("no line end", TEXT, 400),
        ("", TEXT, 422),
        ("global\n", {"content-type": "application/x-yaml"}, 415),
        ("global\n", {}, 415),
    ],
    ids=["one line", "nothing", "another type", "no type"],
)
def test_a_body_must_be_text(site: Site, text: str, headers: dict[str, str], status: int) -> None:
    query = {"version": site.version()}
    answer = site.api.post(RAW, params=query, content=text, headers=headers, extensions=BROKEN)

    assert (answer.status_code, answer.json()["code"] in {status, 602}) == (status, True)


def test_what_haproxy_refuses_changes_nothing(site: Site) -> None:
    version, disk, worker = site.version(), site.disk(), site.worker()

    answer = site.post(f"{site.base}\nbackend cp_bad from cp_defaults\n  nonsense here\n")

    assert answer.status_code == 400
    assert "validation error" in answer.json()["message"]
    assert "unknown keyword 'nonsense'" in answer.json()["message"]
    assert (site.version(), site.disk(), site.worker()) == (version, disk, worker)
    assert list(site.statuses().values()) == ["failed"]


def test_validating_answers_the_current_file(site: Site) -> None:
    before = site.disk()
    query = {"only_validate": True, "version": None}

    assert site.post(marked(site, "cp_new"), **query).text == before
    assert site.post(marked(site, "cp_new"), **query).status_code == 202
    assert site.post(f"{site.base}\nnonsense\n", **query).status_code == 400
    assert (site.disk(), site.statuses()) == (before, {})


def test_skipping_the_version_resets_it(site: Site) -> None:
    assert site.version() > 1

    answer = site.post(site.base, version=None, skip_version=True, force_reload=True)

    assert (answer.status_code, site.version(), site.disk_version()) == (201, 1, 1)


def test_backups_are_absent_unless_they_are_kept(site: Site) -> None:
    assert site.api.get(RAW, params={"version": site.version()}).status_code == 404


# --- the operator's file ---


def test_the_operators_file_stays_as_it_is(site: Site) -> None:
    before = site.files.operator_config.read_bytes()
    site.post(marked(site, "cp_new"))
    site.post(site.base, skip_reload=True)

    assert site.files.operator_config.read_bytes() == before


def test_a_name_that_the_operator_has_is_refused(site: Site) -> None:
    answer = site.post(f"{site.base}\nfrontend op_site from cp_defaults\n  bind 127.0.0.1:1\n")

    assert answer.status_code == 400
    assert "op_site" in answer.json()["message"]


def test_a_broken_file_of_the_operator_refuses_ours(site: Site) -> None:
    operator = site.files.operator_config
    before = operator.read_text()
    operator.write_text(before + "\nnonsense here\n")

    answer = site.post(marked(site, "cp_new"))
    operator.write_text(before)

    assert answer.status_code == 400
    assert str(operator) in answer.json()["message"]
    assert site.post(marked(site, "cp_new")).status_code == 201


def test_one_file_for_both_is_put_in_order_too(make_site: MakeSite) -> None:
    operator = """\
# The operator's.
global
    stats socket {runtime} mode 600 level admin

defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s

frontend op_site
    http-request return status 200
    bind 127.0.0.1:{port}
"""
    site = make_site(single_file=True, operator=operator, reset=False)
    assert site.disk().startswith("# The operator's.")
    answer = site.api.post(
        BACKENDS,
        params={"version": site.version(), "force_reload": True},
        json={"name": "cp_new", "from": "unnamed_defaults_1"},
    )

    assert answer.status_code == 201
    assert "\ndefaults unnamed_defaults_1\n" in site.disk()
    assert "\nfrontend op_site from unnamed_defaults_1\n  bind" in site.disk()
    assert "# Dataplaneapi managed File\n" in site.disk()


# --- runtime actions ---


def with_actions(site: Site, origin: Origin, actions: str) -> int:
    """Post that the prebuilt server is at the origin, and have it done; the answer's status."""
    text = site.base.replace("127.0.0.1:1 check disabled", f"127.0.0.1:{origin.port} check")
    headers = {"X-Runtime-Actions": actions}
    return site.post(text, skip_reload=True, headers=headers).status_code


def test_runtime_actions_come_with_a_text(site: Site, origin: Origin) -> None:
    worker = site.worker()
    site.route("a.example.com", "cp_pre")

    status = with_actions(
        site,
        origin,
        f"SetServerAddr cp_pre s1 127.0.0.1 {origin.port};SetServerState cp_pre s1 ready;",
    )

    assert (status, site.get("a.example.com"), site.worker()) == (201, 200, worker)
    assert site.servers("cp_pre")["s1"]["port"] == origin.port


def test_an_action_that_fails_ends_them_and_the_file_is_written(site: Site, origin: Origin) -> None:
    status = with_actions(
        site, origin, "SetServerAddr cp_pre nobody 127.0.0.1 1;SetServerState cp_pre s1 ready"
    )

    assert status == 500
    assert f"server s1 127.0.0.1:{origin.port} check\n" in site.disk()
    assert site.servers("cp_pre")["s1"]["admin_state"] == "maint"


def test_an_unknown_action_is_passed_over(site: Site, origin: Origin) -> None:
    assert with_actions(site, origin, "Unknown cp_pre s1;SetServerState cp_pre s1 ready") == 201
    until("the server is ready", lambda: site.servers("cp_pre")["s1"]["admin_state"] == "ready")
