"""Tests of roles: which model has one, how it changes, and what the role log records."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.full_disk import files_of_at_most

from lvm_batch.lvm import ModelError, resolve_model
from lvm_batch.lvm.registry.registry import list_names, named_model, role_path
from lvm_batch.lvm.registry.role_log import (
    RoleChange,
    log_path,
    open_role_log,
    past_holders,
    previous_holder,
    read_role_log,
)
from lvm_batch.lvm.registry.roles import (
    RoleHolder,
    check_replaceable,
    digest_of,
    give_role,
    holder,
    name_of,
    roles_of,
)

PRODUCTION = "production_model"


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    """A registry of three models and an empty folder; no model has a role."""
    models = tmp_path / "lvm" / "models"
    for name in ("a", "b", "c"):
        (models / name).mkdir(parents=True)
        (models / name / "best_model.pt").write_bytes(f"weights of {name}".encode())
    (models / "empty").mkdir()
    return models


@pytest.fixture
def no_symlinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without symlinks, such as FAT: creating one fails."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)


def held(name: str, models_dir: Path) -> RoleHolder:
    """A model of the registry in its current state."""
    return RoleHolder(name, digest_of(models_dir / name))


def change(action: str, before: RoleHolder | None, after: RoleHolder, role: str = PRODUCTION) -> RoleChange:
    """A role change at some time."""
    return RoleChange("2026-11-23T08:00:00+00:00", "me@here", action, role, before, after, None, "0.1.0")


def promotions(*names: str) -> list[RoleChange]:
    """Successive promotions, the first from no model."""
    models = [None, *(RoleHolder(name, f"sha of {name}") for name in names)]
    return [change("promote", before, after) for before, after in pairwise(models) if after is not None]


def test_a_role_is_a_relative_link_beside_the_models(models_dir: Path) -> None:
    """The link is relative, so the registry can be moved as a whole, and a run finds the role's model."""
    give_role(PRODUCTION, held("a", models_dir), models_dir)
    link = models_dir.parent / PRODUCTION
    assert (link.is_symlink(), link.readlink()) == (True, Path("models/a"))
    assert holder(PRODUCTION, models_dir) == held("a", models_dir)
    assert holder("fallback_model", models_dir) is None
    assert resolve_model(None, role=PRODUCTION, models_dir=models_dir) == str(models_dir / "a/best_model.pt")
    assert roles_of(models_dir / "a/best_model.pt", models_dir) == (PRODUCTION,)


def test_a_role_change_leaves_no_other_files(models_dir: Path) -> None:
    """The link is replaced, even over leftovers of a killed process, and nothing else remains."""
    (models_dir.parent / f".{PRODUCTION}.tmp").symlink_to("models/c")
    for name in ("a", "b"):
        give_role(PRODUCTION, held(name, models_dir), models_dir)
    assert sorted(path.name for path in models_dir.parent.iterdir()) == ["models", PRODUCTION]
    assert holder(PRODUCTION, models_dir) == held("b", models_dir)
    give_role(PRODUCTION, None, models_dir)
    assert resolve_model(None, role=PRODUCTION, models_dir=models_dir) is None


@pytest.mark.usefixtures("no_symlinks")
def test_a_text_file_stands_in_for_a_symlink(models_dir: Path) -> None:
    """Where symlinks are impossible, a text line names the model; it is followed, replaced and removed like a link."""
    for name in ("a", "b"):
        give_role(PRODUCTION, held(name, models_dir), models_dir)
        assert (models_dir.parent / PRODUCTION).read_bytes() == f"models/{name}\n".encode()
        path = resolve_model(None, role=PRODUCTION, models_dir=models_dir)
        assert path == str(models_dir / name / "best_model.pt")
        assert holder(PRODUCTION, models_dir) == held(name, models_dir)
    assert roles_of(models_dir / "b/best_model.pt", models_dir) == (PRODUCTION,)
    give_role(PRODUCTION, None, models_dir)
    assert not (models_dir.parent / PRODUCTION).exists()


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_pointer_may_be_written_by_hand(models_dir: Path, ending: str) -> None:
    """Any line ending or none is accepted; a symlink that git checked out as text works too."""
    (models_dir.parent / PRODUCTION).write_bytes(f"models/a{ending}".encode())
    assert holder(PRODUCTION, models_dir) == held("a", models_dir)


def test_a_pointer_to_nowhere_is_refused(models_dir: Path) -> None:
    """It is refused like a broken link; the previous holder stays known."""
    (models_dir.parent / PRODUCTION).write_text("models/gone\n", encoding="utf-8")
    with pytest.raises(
        ModelError, match="production_model leads to models/gone, which does not exist"
    ) as caught:
        resolve_model(None, role=PRODUCTION, models_dir=models_dir)
    assert "models promote NAME --role production_model" in caught.value.hint
    assert holder(PRODUCTION, models_dir) == RoleHolder("gone", None)


@pytest.mark.parametrize(
    "rubbish", [b"", b"\n", b"one\ntwo\n", b"\xff\xfe\x00m", b"models/a\x00", b"\x7fELF"]
)
def test_a_pointer_of_rubbish_is_refused(models_dir: Path, rubbish: bytes) -> None:
    """If the text is not one line with a path, the error shows its beginning, and it is not overwritten."""
    link = models_dir.parent / PRODUCTION
    link.write_bytes(rubbish)
    for call in (
        lambda: resolve_model(None, role=PRODUCTION, models_dir=models_dir),
        lambda: holder(PRODUCTION, models_dir),
        lambda: give_role(PRODUCTION, held("a", models_dir), models_dir),
    ):
        with pytest.raises(ModelError, match="production_model is neither a link nor a line"):
            call()
    assert link.read_bytes() == rubbish


def test_nothing_but_a_link_is_replaced(models_dir: Path) -> None:
    """A folder or checkpoint in the link's place may be the only copy; it works as before and is not replaced."""
    link = models_dir.parent / PRODUCTION
    link.mkdir()
    (link / "best_model.pt").write_bytes(b"a copy")
    with pytest.raises(ModelError, match="production_model is a folder"):
        give_role(PRODUCTION, held("a", models_dir), models_dir)
    assert resolve_model(None, role=PRODUCTION, models_dir=models_dir) == str(link / "best_model.pt")
    checkpoint = models_dir.parent / "fallback_model"
    checkpoint.write_bytes(b"PK" + bytes(5000))
    with pytest.raises(ModelError, match="fallback_model is a file of its own"):
        check_replaceable("fallback_model", models_dir)
    assert resolve_model(None, role="fallback_model", models_dir=models_dir) == str(checkpoint)


def test_a_holder_may_lie_elsewhere(models_dir: Path, tmp_path: Path) -> None:
    """A link out of the registry is recorded by its absolute path, and can be restored by a rollback."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "best_model.pt").write_bytes(b"other weights")
    (models_dir.parent / PRODUCTION).symlink_to(elsewhere)
    found = holder(PRODUCTION, models_dir)
    assert found == RoleHolder(str(elsewhere), digest_of(elsewhere))
    give_role(PRODUCTION, held("a", models_dir), models_dir)
    give_role(PRODUCTION, found, models_dir)
    assert holder(PRODUCTION, models_dir) == found


def test_a_model_has_one_name(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths, the checkpoint's path and links to the registry all resolve to one name."""
    (tmp_path / "linked").symlink_to(models_dir)
    monkeypatch.chdir(tmp_path)
    paths = ("lvm/models/a", "lvm/models/../models/a/best_model.pt", "linked/a", models_dir / "a")
    assert {name_of(Path(path), models_dir) for path in paths} == {"a"}


def test_a_registry_may_be_the_current_folder(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Roles lie beside the working directory then."""
    monkeypatch.chdir(models_dir)
    give_role(PRODUCTION, held("a", models_dir), Path())
    assert (models_dir.parent / PRODUCTION).readlink() == Path("models/a")
    assert role_path(PRODUCTION, Path("../models/..")) == models_dir.parent.parent / PRODUCTION
    assert holder(PRODUCTION, Path()) == held("a", models_dir)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The error gives the link and the reason."""
    with pytest.raises(ModelError, match="production_model cannot be written: No such file"):
        give_role(PRODUCTION, RoleHolder("a", None), tmp_path / "nowhere" / "models")


def test_a_name_is_looked_for_in_the_registry_first(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name in the registry wins over a folder of that name; roles, paths and URLs are accepted too."""
    (models_dir.parent / "a").mkdir()
    monkeypatch.chdir(models_dir.parent)
    give_role(PRODUCTION, held("b", models_dir), models_dir)
    assert named_model("a", models_dir) == str(models_dir / "a/best_model.pt")
    assert named_model(PRODUCTION, models_dir) == str(models_dir / "b/best_model.pt")
    assert named_model("models/c", models_dir) == "models/c/best_model.pt"
    assert named_model("s3://bucket/best_model.pt", models_dir) == "s3://bucket/best_model.pt"


def test_anything_but_a_model_is_refused(models_dir: Path) -> None:
    """A vacant role, a folder without a checkpoint, a name without a registry and an invalid path are refused."""
    for name, message in (
        ("fallback_model", "no model has the role fallback_model"),
        ("empty", r"no best_model\.pt or model\.safetensors in"),
        ("d", "no model 'd'"),
        ("x" * 5000, "no model 'xxx"),
        ("a\0b", "no model"),
    ):
        with pytest.raises(ModelError, match=message):
            named_model(name, models_dir)
    with pytest.raises(ModelError, match="there is no folder of models"):
        named_model("a", models_dir / "nowhere")


def test_folders_are_listed_with_and_without_checkpoints(models_dir: Path) -> None:
    """Hidden folders and files are not listed."""
    (models_dir / ".cache").mkdir()
    (models_dir / "notes.txt").touch()
    assert list_names(models_dir) == ("a", "b", "c", "empty")
    with pytest.raises(ModelError, match="there is no folder of models"):
        list_names(models_dir / "nowhere")


def test_the_log_keeps_every_change(models_dir: Path) -> None:
    """Changes are one JSON line each and are read back unchanged; without a log there are none."""
    assert read_role_log(models_dir) == ()
    changes = promotions("a", "b")
    changes[1] = replace(changes[1], cosine={"mean": 0.65, "current_mean": None})
    for each in changes:
        with open_role_log(models_dir) as log:
            log.add(each)
    assert read_role_log(models_dir) == tuple(changes)
    lines = log_path(models_dir).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["to"]["name"] for line in lines] == ["a", "b"]
    assert (json.loads(lines[0])["from"], log_path(models_dir)) == (None, models_dir.parent / "roles.jsonl")


@pytest.mark.parametrize("torn", [b"{", b'{"at": "2026', b"\0\0\0", b'{"at": 1}'])
def test_a_line_truncated_by_a_crash_is_skipped(models_dir: Path, torn: bytes) -> None:
    """Earlier changes stay valid, and the next change overwrites the partial line."""
    first, second = promotions("a", "b")
    with open_role_log(models_dir) as log:
        log.add(first)
    with log_path(models_dir).open("ab") as file:
        file.write(torn)
    assert read_role_log(models_dir) == (first,)
    with open_role_log(models_dir) as log:
        log.add(second)
    assert read_role_log(models_dir) == (first, second)


def test_a_last_line_without_its_end_is_kept(models_dir: Path) -> None:
    """An editor may remove the last newline."""
    first, second = promotions("a", "b")
    log_path(models_dir).write_text(first.as_line().rstrip(), encoding="utf-8")
    with open_role_log(models_dir) as log:
        log.add(second)
    assert read_role_log(models_dir) == (first, second)


@pytest.mark.parametrize("rubbish", ["rubbish", "[]", "{}", "", '{"to": {"name": 1}}'])
def test_a_whole_line_of_rubbish_is_refused(models_dir: Path, rubbish: str) -> None:
    """The error gives the line number, wherever the line is, since the role to roll back to would be a guess."""
    (first,) = promotions("a")
    for text in (f"{rubbish}\n{first.as_line()}", f"{rubbish}\n"):
        log_path(models_dir).write_text(text, encoding="utf-8")
        with pytest.raises(ModelError, match=r"roles\.jsonl, line 1 is not a change of a role"):
            read_role_log(models_dir)


def test_one_process_at_a_time_changes_the_log(models_dir: Path) -> None:
    """A second process is refused at once, and admitted when the first has ended."""
    with open_role_log(models_dir), pytest.raises(BlockingIOError), open_role_log(models_dir):
        pass
    with open_role_log(models_dir) as log:
        assert log.changes() == ()


def test_a_log_that_cannot_be_opened_is_an_error(models_dir: Path) -> None:
    """Errors of reading and writing name the log."""
    log_path(models_dir).mkdir()
    with pytest.raises(ModelError, match=r"roles\.jsonl cannot be written"), open_role_log(models_dir):
        pass
    with pytest.raises(ModelError, match=r"roles\.jsonl cannot be read"):
        read_role_log(models_dir)


def test_a_file_system_without_locks_is_named(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the file system; it does not report another process, since waiting would not help."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(ModelError, match=r"roles\.jsonl cannot be locked: No locks"),
        open_role_log(models_dir),
    ):
        pass


def test_a_line_that_does_not_fit_leaves_nothing(models_dir: Path) -> None:
    """If the disk takes only part of a line, the log stays as it was."""
    first, second = promotions("a", "b")
    with open_role_log(models_dir) as log:
        log.add(first)
        size = log_path(models_dir).stat().st_size
        with files_of_at_most(size + 20), pytest.raises(OSError, match="too large"):
            log.add(second)
        assert log_path(models_dir).stat().st_size == size
        log.add(second)
    assert read_role_log(models_dir) == (first, second)


def back(changes: list[RoleChange], now: str | None) -> str | None:
    """The name of the model that a rollback gives the role to."""
    found = previous_holder(changes, PRODUCTION, now=RoleHolder(now, None) if now else None)
    return found.name if found else None


def test_each_rollback_goes_further_back() -> None:
    """A second rollback does not return to the model that the first one removed."""
    changes = promotions("a", "b", "c")
    assert back(changes, "c") == "b"
    changes.append(change("rollback", RoleHolder("c", "sha of c"), RoleHolder("b", "sha of b")))
    assert back(changes, "b") == "a"
    changes.append(change("rollback", RoleHolder("b", "sha of b"), RoleHolder("a", "sha of a")))
    assert back(changes, "a") is None


def test_a_promotion_after_a_rollback_continues_from_there() -> None:
    """The model that was rolled back does not count as a previous holder."""
    changes = promotions("a", "b")
    changes.append(change("rollback", RoleHolder("b", None), RoleHolder("a", "sha of a")))
    changes.append(change("promote", RoleHolder("a", "sha of a"), RoleHolder("d", "sha of d")))
    assert [each.name for each in past_holders(changes, PRODUCTION)] == ["a", "d"]


def test_a_model_counts_at_its_latest_promotion() -> None:
    """Two models promoted alternately are visited once each."""
    changes = promotions("a", "b", "a", "b")
    assert back(changes, "b") == "a"
    changes.append(change("rollback", RoleHolder("b", None), RoleHolder("a", "sha of a")))
    assert back(changes, "a") is None


def test_a_link_set_by_hand_counts() -> None:
    """A rollback goes from an unknown holder or none to the last known one, from a known one to its predecessor."""
    changes = promotions("a", "b", "c")
    assert [back(changes, now) for now in ("x", "b", "a", None)] == ["c", "a", None, "c"]


def test_a_holder_that_the_log_missed_is_found_in_the_next_change() -> None:
    """No holder is lost by a crash between link and log, or by a link set by hand."""
    changes = [*promotions("a"), change("promote", RoleHolder("x", "sha of x"), RoleHolder("b", "sha of b"))]
    assert back(changes, "b") == "x"
    assert [each.name for each in past_holders(changes, PRODUCTION)] == ["a", "x", "b"]


def test_the_roles_have_histories_of_their_own() -> None:
    """Changes of one role do not affect the other."""
    changes = [*promotions("a", "b"), change("promote", None, RoleHolder("gru", "1"), "fallback_model")]
    assert back(changes, "b") == "a"
    assert previous_holder(changes, "fallback_model", now=RoleHolder("gru", "1")) is None


def test_the_digest_of_a_deleted_model_is_kept() -> None:
    """A model that was deleted while it had the role differs from a new model of the same name."""
    changes = [*promotions("a"), change("promote", RoleHolder("a", None), RoleHolder("b", "sha of b"))]
    assert previous_holder(changes, PRODUCTION, now=RoleHolder("b", None)) == RoleHolder("a", "sha of a")


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "back"]), max_size=30))
def test_rollbacks_end(steps: list[str]) -> None:
    """After any changes, repeated rollbacks visit each model once, the last one first, and then end."""
    changes: list[RoleChange] = []
    now: RoleHolder | None = None
    for step in steps:
        target = previous_holder(changes, PRODUCTION, now=now) if step == "back" else RoleHolder(step, step)
        if target is not None and target != now:
            changes.append(change("rollback" if step == "back" else "promote", now, target))
            now = target
    met = [now]
    while (target := previous_holder(changes, PRODUCTION, now=now)) is not None:
        changes.append(change("rollback", now, target))
        now = target
        met.append(now)
    assert len(set(met)) == len(met)
