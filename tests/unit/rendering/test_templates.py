"""Templates: the operator's before ours, and an error always says where."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from frontserver.errors import TemplateError
from frontserver.planning.compile import HTTP_PROFILE
from frontserver.planning.compiled import Profile
from frontserver.rendering.render import FRONTENDS, PROFILES, Renderer
from frontserver.rendering.shards import shard_at, shard_name
from frontserver.rendering.templates import Templates, default_directory, word
from tests.unit.planning.routes import FRONTENDS as BINDS
from tests.unit.planning.routes import config, http
from tests.unit.rendering.samples import rendered


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def operators(tmp_path: Path, **files: str) -> Renderer:
    """A renderer with an operator's templates; `__` in a name is a slash."""
    for name, text in files.items():
        write(tmp_path, name.replace("__", "/") + ".cfg.j2", text)
    return Renderer(Templates(tmp_path))


# --- whose template ---


def test_a_file_of_the_same_name_replaces_ours(tmp_path: Path) -> None:
    renderer = operators(tmp_path, slots="# {{ slots | length }} slots\n")
    files = rendered(config(http()), renderer=renderer)
    assert files[shard_name(shard_at(HTTP_PROFILE.id, 0))] == "# 1 slots\n"


def test_a_replacement_may_be_ours_and_something_around_it(tmp_path: Path) -> None:
    plain = rendered(config())[FRONTENDS]
    renderer = operators(
        tmp_path, frontends='{% include "default/frontends.cfg.j2" %}\nfrontend metrics\n'
    )
    assert rendered(config(), renderer=renderer)[FRONTENDS] == plain + "frontend metrics\n"


def test_a_replacement_may_extend_ours_block_by_block(tmp_path: Path) -> None:
    plain = rendered(config())[FRONTENDS]
    renderer = operators(
        tmp_path,
        frontends='{% extends "default/frontends.cfg.j2" %}'
        "{% block http %}# before\n{{ super() }}{% endblock %}{% block mongodb %}{% endblock %}",
    )
    text = rendered(config(), renderer=renderer)[FRONTENDS]
    assert text.startswith("# before\n" + plain[:40])
    assert "use_backend %[var(txn.fs_backend)" in text
    assert "mongodb" in plain
    assert "mongodb" not in text


def test_each_profile_is_a_block_that_knows_its_profile(tmp_path: Path) -> None:
    renderer = operators(
        tmp_path,
        profiles='{% extends "default/profiles.cfg.j2" %}'
        "{% block profile %}{{ super() }}# {{ profile.id }}\n{% endblock %}",
    )
    text = rendered(config(http()), renderer=renderer)[PROFILES]
    assert text.rstrip().endswith(f"# {HTTP_PROFILE.id}")


def test_custom_files_see_what_their_template_sees(tmp_path: Path) -> None:
    renderer = operators(tmp_path, custom__profile="    # {{ profile.balance }}\n")
    assert "    # roundrobin\n" in rendered(config(http()), renderer=renderer)[PROFILES]


def test_templates_are_read_once(tmp_path: Path) -> None:
    """One that is being edited gets into no reload, and the fingerprint stays true."""
    path = write(tmp_path, "slots.cfg.j2", "old\n")
    templates = Templates(tmp_path)
    before = templates.fingerprint()
    path.write_text("new {% broken\n")
    assert templates.render("slots.cfg.j2") == "old\n"
    assert templates.fingerprint() == before


# --- errors ---


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a\nb {{ \n", 2, "nexpected"),
        ("a\n{% if x %}\n", 2, "end of template"),
        ("a\n\n{{ nobody }}\n", 3, "'nobody' is undefined"),
        ("{{ frontends.nothing }}\n", 1, "nothing"),
        ("a\n{{ 'two words' | word }}\n", 2, "can't stand in a configuration"),
        ("{{ 1 / 0 }}\n", 1, "division by zero"),
        ("\n\n\n{{ 'x' | no_such_filter }}", 4, "no_such_filter"),
        ("{{ frontends() }}", 1, "not callable"),
        ("{{ [][0].x }}", 1, "no element 0"),
        ("{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}", 1, "recursion"),
    ],
)
def test_a_broken_template_is_told_with_file_and_line(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    path = write(tmp_path, "global.cfg.j2", text)
    with pytest.raises(TemplateError, match=says) as error:
        rendered(config(), renderer=Renderer(Templates(tmp_path)))
    assert error.value.file == str(path)
    assert error.value.line == line
    assert str(error.value).startswith(f"{path}:{line}: ")


def test_an_included_file_is_told_rather_than_the_one_that_includes_it(tmp_path: Path) -> None:
    path = write(tmp_path, "custom/global.cfg.j2", "ok\n{{ oops }}\n")
    with pytest.raises(TemplateError) as error:
        rendered(config(), renderer=Renderer(Templates(tmp_path)))
    assert (error.value.file, error.value.line) == (str(path), 2)


def test_a_missing_template_is_told_by_name(tmp_path: Path) -> None:
    write(tmp_path, "slots.cfg.j2", '{% include "absent.cfg.j2" %}')
    with pytest.raises(TemplateError, match="absent"):
        rendered(config(http()), renderer=Renderer(Templates(tmp_path)))


def test_unreadable_templates_are_told_by_file(tmp_path: Path) -> None:
    path = tmp_path / "global.cfg.j2"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(TemplateError) as error:
        Templates(tmp_path)
    assert error.value.file == str(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(TemplateError):
        Templates(tmp_path)


# --- fingerprint ---


def test_any_change_of_any_template_changes_the_fingerprint(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for source in default_directory().glob("*.j2"):
        write(ours, source.name, source.read_text())
    theirs.mkdir()

    def fingerprint() -> str:
        return Templates(theirs, directory=ours).fingerprint()

    seen = [fingerprint()]
    assert seen == [Templates().fingerprint()]
    for source in sorted(ours.glob("*.j2")):
        write(ours, source.name, source.read_text() + "\n")
        seen.append(fingerprint())
    write(theirs, "custom/global.cfg.j2", "a")
    seen.append(fingerprint())
    write(theirs, "custom/global.cfg.j2", "b")
    seen.append(fingerprint())
    (theirs / "custom/global.cfg.j2").rename(theirs / "custom/profile.cfg.j2")
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen)
    write(theirs, "notes.txt", "no template")
    assert fingerprint() == seen[-1]


# --- words ---


@pytest.mark.parametrize(
    "value", ["a", "A.b-c_d", "10.0.0.1:80", "[::1]:80", "certs/x.pem", "/run/a@b", "a,b=c+d", 7]
)
def test_words_pass(value: object) -> None:
    assert word(value) == str(value)


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "a b", "a\n", "a\nb", "a\rb", "a\tb", "a\0b", 'a"b', "a'b", "a\\b"),
        *("a#b", "a$b", "a%b", "%[src]", "a;b", "a{b", "a}b", "a(b)", "a|b", "a<b", "a*b"),
        *("a\u2028b", "\u212a", "\uff0e", "é", "a\x7f", "a\x85", "a\u200b"),
    ],
)
def test_what_isnt_one_word_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="can't stand in a configuration"):
        word(value)


def test_a_profile_that_holds_a_hostile_name_doesnt_render() -> None:
    """A second wall: the model refuses it already."""
    hostile = Profile(mode="http", set_request=("x\n    errorfiles S",))
    with pytest.raises(TemplateError, match="can't stand in a configuration"):
        Renderer(Templates()).profiles(BINDS, [hostile])


# --- templates that change while HAProxy runs ---


def test_each_text_is_made_by_the_templates_of_its_frontends(tmp_path: Path) -> None:
    """What runs is written as it was loaded, until the new templates have been loaded too."""
    path = write(tmp_path, "custom/slot.cfg.j2", "    # old\n")
    old = Templates(tmp_path)
    renderer = Renderer(old)
    path.write_text("    # new\n")
    new = Templates(tmp_path)
    renderer.offer(new)

    def shard(templates: Templates) -> str:
        frontends = msgspec.structs.replace(BINDS, templates=templates.fingerprint())
        files = rendered(config(http(), frontends=frontends), renderer=renderer)
        return files[shard_name(shard_at(HTTP_PROFILE.id, 0))]

    assert ("# old" in shard(old), "# new" in shard(old)) == (True, False)
    assert ("# old" in shard(new), "# new" in shard(new)) == (False, True)


def test_templates_that_nobody_knows_any_more_are_the_newest(tmp_path: Path) -> None:
    """A HAProxy of an earlier process runs with templates that were since changed."""
    path = write(tmp_path, "custom/slot.cfg.j2", "    # 0\n")
    renderer = Renderer(Templates(tmp_path))
    for number in (1, 2, 3):
        path.write_text(f"    # {number}\n")
        renderer.offer(Templates(tmp_path))

    frontends = msgspec.structs.replace(BINDS, templates="unknown")
    files = rendered(config(http(), frontends=frontends), renderer=renderer)

    assert "# 3" in files[shard_name(shard_at(HTTP_PROFILE.id, 0))]


def test_extensions_are_named_by_their_files_and_versioned_by_their_text(tmp_path: Path) -> None:
    write(tmp_path, "custom/profiles/gold.cfg.j2", "a")
    path = write(tmp_path, "custom/profiles/internal.cfg.j2", "b")
    write(tmp_path, "custom/profiles/README.cfg.j2", "not a name")
    before = Templates(tmp_path).extensions()
    path.write_text("c")
    after = Templates(tmp_path).extensions()

    assert [extension.name for extension in before] == ["gold", "internal"]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)
    assert Templates().extensions() == ()


# --- where a line comes from ---


def test_a_line_of_a_configuration_is_traced_to_its_template(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "custom/global.cfg.j2",
        "    maxconn {{ 1000 * 4 }}\n    {% if true %}\n    nonsense on\n    {% endif %}\n",
    )
    templates = Templates(tmp_path)

    assert templates.origin("    maxconn 4000\n") == (str(path), 1)
    assert templates.origin("nonsense on") == (str(path), 3)
    ours = templates.origin("stats timeout 1h")
    assert ours is not None
    assert ours[0].endswith("global.cfg.j2")


@pytest.mark.parametrize("line", ["", "   ", "no such line anywhere", "twice"])
def test_a_line_that_could_be_from_anywhere_is_from_nowhere(tmp_path: Path, line: str) -> None:
    write(tmp_path, "custom/global.cfg.j2", "twice\n{{ frontends.runtime_socket }}\ntwice\n")

    assert Templates(tmp_path).origin(line) is None
