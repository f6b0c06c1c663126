"""Tests of finding a model by path, name and role."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvm_batch.lvm import ModelError, resolve_model
from lvm_batch.lvm.registry.registry import (
    DEFAULT_MODELS_DIR,
    is_plain,
    list_models,
    list_names,
    name_in,
    named_model,
    role_path,
    role_target,
)
from lvm_batch.lvm.registry.roles import name_of


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    """A registry of two models, one of them in the production role."""
    models = tmp_path / "lvm" / "models"
    for name in ("amn-v2", "gru-v1"):
        (models / name).mkdir(parents=True)
        (models / name / "best_model.pt").write_bytes(b"weights")
    (models / "empty").mkdir()
    (models.parent / "production_model").symlink_to(Path("models") / "amn-v2")
    return models


def resolved(spec: str | None, models_dir: Path, role: str = "production_model") -> str | None:
    """Resolve a model in that registry."""
    return resolve_model(spec, role=role, models_dir=models_dir)


def test_a_folder_may_hold_either_form(models_dir: Path) -> None:
    """A folder with a model.safetensors alone is a model; beside a best_model.pt that file does not count."""
    (models_dir / "portable").mkdir()
    for name in ("portable", "amn-v2"):
        (models_dir / name / "model.safetensors").write_bytes(b"weights")
    assert resolved("portable", models_dir) == str(models_dir / "portable/model.safetensors")
    assert resolved("amn-v2", models_dir) == str(models_dir / "amn-v2/best_model.pt")
    assert list_models(models_dir) == ("amn-v2", "gru-v1", "portable")


def test_a_file_without_a_folder_may_be_of_either_form(models_dir: Path) -> None:
    """Of two files of one name the .pt counts; the other is found by its whole name, and each has one name."""
    for file in ("flat.safetensors", "both.pt", "both.safetensors"):
        (models_dir / file).write_bytes(b"weights")
    names = {"flat": "flat.safetensors", "both": "both.pt", "both.safetensors": "both.safetensors"}
    for name, file in names.items():
        assert resolved(name, models_dir) == str(models_dir / file)
        assert name_in(models_dir / file) == name
    assert list_models(models_dir) == ("amn-v2", *sorted((*names, "gru-v1")))


def test_a_name_means_its_best_model(models_dir: Path) -> None:
    """A name is looked up in the registry."""
    assert resolved("gru-v1", models_dir) == str(models_dir / "gru-v1" / "best_model.pt")
    assert list_models(models_dir) == ("amn-v2", "gru-v1")


def test_a_path_means_itself(models_dir: Path) -> None:
    """A file is used as it is; for a folder, the checkpoint in it."""
    folder = models_dir / "gru-v1"
    assert resolved(str(folder / "best_model.pt"), models_dir) == str(folder / "best_model.pt")
    assert resolved(str(folder), models_dir / "elsewhere") == str(folder / "best_model.pt")


def test_a_url_is_passed_on(models_dir: Path) -> None:
    """A URL is returned without looking for it locally."""
    assert resolved("s3://bucket/best_model.pt", models_dir) == "s3://bucket/best_model.pt"


def test_no_name_means_the_role(models_dir: Path) -> None:
    """Without a name the role's link is followed; a role without a model gives None."""
    path = resolved(None, models_dir)
    assert path is not None
    assert Path(path).resolve() == (models_dir / "amn-v2" / "best_model.pt").resolve()
    assert resolved(None, models_dir, role="fallback_model") is None


def test_a_role_may_link_to_a_file(models_dir: Path) -> None:
    """A link may also point to a checkpoint file."""
    (models_dir.parent / "fallback_model").symlink_to(models_dir / "gru-v1" / "best_model.pt")
    path = resolved(None, models_dir, role="fallback_model")
    assert path is not None
    assert Path(path).is_file()


def test_a_link_to_nowhere_is_refused(models_dir: Path) -> None:
    """A role whose model is gone is an error, unlike a role without a model."""
    (models_dir.parent / "fallback_model").symlink_to(Path("models") / "gone")
    with pytest.raises(ModelError, match="fallback_model leads to models/gone"):
        resolved(None, models_dir, role="fallback_model")


def test_an_unknown_name_is_answered_with_the_nearest(models_dir: Path) -> None:
    """The error suggests the most similar name, or lists all names if none is similar."""
    with pytest.raises(ModelError, match="no model 'amn-v3'") as caught:
        resolved("amn-v3", models_dir)
    assert caught.value.hint == "did you mean amn-v2?"
    with pytest.raises(ModelError) as caught:
        resolved("gru-fast", models_dir)
    assert caught.value.hint == "did you mean gru-v1?"
    with pytest.raises(ModelError) as caught:
        resolved("/no/such/file.pt", models_dir)
    assert "amn-v2, gru-v1" in caught.value.hint
    with pytest.raises(ModelError) as caught:
        resolved("x", models_dir / "nowhere")
    assert "none" in caught.value.hint


def test_a_folder_without_a_checkpoint_is_refused(models_dir: Path) -> None:
    """The error for an empty folder names the missing file."""
    with pytest.raises(ModelError, match=r"no best_model\.pt or model\.safetensors in"):
        resolved(str(models_dir / "empty"), models_dir)


def test_a_hidden_folder_is_no_model(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hidden folder is being written or was deleted: it is not listed and cannot be named."""
    hidden = models_dir / ".amn-v3"
    hidden.mkdir()
    (hidden / "best_model.pt").write_bytes(b"half of the weights")
    monkeypatch.chdir(models_dir.parent)
    assert list_models(models_dir) == ("amn-v2", "gru-v1")
    assert list_names(models_dir) == ("amn-v2", "empty", "gru-v1")
    for find in (resolved, named_model):
        with pytest.raises(ModelError, match=r"no model '\.amn-v3'"):
            find(".amn-v3", models_dir)
    assert resolved(str(hidden), models_dir) == str(hidden / "best_model.pt")


def test_a_checkpoint_without_a_folder_has_a_name(models_dir: Path) -> None:
    """NAME.pt in the registry is found as NAME, and suggested; no hidden file and no best_model.pt is."""
    for name in ("amn_v0.pt", ".half.pt", "best_model.pt", "notes.txt"):
        (models_dir / name).write_bytes(b"weights")
    for find in (resolved, named_model):
        for name in ("amn_v0", "amn_v0.pt"):
            assert find(name, models_dir) == str(models_dir / "amn_v0.pt")
        for name in (".half", "best_model"):
            with pytest.raises(ModelError, match="no model"):
                find(name, models_dir)
    assert list_models(models_dir) == ("amn-v2", "amn_v0", "gru-v1")
    assert list_names(models_dir) == ("amn-v2", "amn_v0", "empty", "gru-v1")
    with pytest.raises(ModelError) as caught:
        resolved("amn_v1", models_dir)
    assert "amn_v0" in caught.value.hint


def test_a_file_does_not_take_the_name_of_a_folder(models_dir: Path) -> None:
    """A folder with a checkpoint keeps its name, and the file's is NAME.pt; an empty folder has none to keep."""
    for name in ("gru-v1.pt", "empty.pt"):
        (models_dir / name).write_bytes(b"other weights")
    for find in (resolved, named_model):
        assert find("gru-v1", models_dir) == str(models_dir / "gru-v1/best_model.pt")
        assert find("gru-v1.pt", models_dir) == str(models_dir / "gru-v1.pt")
        assert find("empty", models_dir) == str(models_dir / "empty.pt")
    assert list_models(models_dir) == ("amn-v2", "empty", "gru-v1", "gru-v1.pt")
    assert [
        name_of(Path(str(resolved(name, models_dir))), models_dir) for name in list_models(models_dir)
    ] == [*list_models(models_dir)]


@pytest.mark.parametrize(
    ("name", "is_one"), [("amn-v2", True), ("v2.", True), ("v.2", True), (".v2", False), ("a/v2", False)]
)
def test_a_name_is_one_part_of_a_path_and_not_hidden(name: str, is_one: bool) -> None:  # noqa: FBT001 - a case
    """The check does not depend on whether such a model exists."""
    assert is_plain(name) == is_one


def test_models_lie_in_the_cards_folder_by_default() -> None:
    """The default folder is that of the cards, relative to the working directory."""
    assert Path("artifacts/lvm/models") == DEFAULT_MODELS_DIR


def test_roles_lie_beside_the_folder_of_models(monkeypatch: pytest.MonkeyPatch, models_dir: Path) -> None:
    """The roles' folder is as relative as the models' folder, unless that is the working directory or above it."""
    monkeypatch.chdir(models_dir)
    assert role_path("production_model", Path("x/models")) == Path("x/production_model")
    for here in (".", "../models/amn-v2/.."):
        assert role_path("production_model", Path(here)) == models_dir.parent / "production_model"


@pytest.mark.parametrize(("n_bytes", "target"), [(4096, "models/amn-v2"), (4097, "fallback_model")])
def test_a_text_of_one_line_points_to_a_model(models_dir: Path, n_bytes: int, target: str) -> None:
    """A text is read up to the longest possible path; a larger file in the link's place is a checkpoint."""
    (models_dir.parent / "fallback_model").write_text("models/amn-v2".ljust(n_bytes))
    assert role_target("fallback_model", models_dir) == Path(target)


def test_a_pointer_with_invalid_text_is_refused(models_dir: Path) -> None:
    """The error shows the first 40 bytes, also of one line that could be printed."""
    (models_dir.parent / "fallback_model").write_bytes(b"models/" + b"\xff" * 60)
    with pytest.raises(ModelError, match="neither a link nor a line") as caught:
        role_target("fallback_model", models_dir)
    assert caught.value.message.endswith(f"it begins with {b'models/' + bytes([255]) * 33!r}")


def test_an_unreadable_role_is_an_error(models_dir: Path) -> None:
    """The error gives the role and the system's message; the role does not count as vacant."""
    with pytest.raises(ModelError, match=r"/r+ cannot be read: File name too long"):
        role_target("r" * 300, models_dir)


def test_an_unreadable_registry_is_an_error(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not count as an empty registry."""

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ModelError, match="models cannot be read: Permission denied"):
        list_names(models_dir)


def test_a_command_about_the_registry_takes_paths_and_urls_too(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths and URLs need no registry; a path is relative to the working directory, whatever the registry holds."""
    nowhere = tmp_path / "nowhere"
    file = models_dir / "gru-v1/best_model.pt"
    assert named_model(str(file), nowhere) == str(file)
    assert named_model("s3://bucket/best_model.pt", nowhere) == "s3://bucket/best_model.pt"
    for folder in (models_dir / "team/amn", tmp_path / "team/amn"):
        folder.mkdir(parents=True)
        (folder / "best_model.pt").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    assert named_model("team/amn", models_dir) == "team/amn/best_model.pt"


def test_an_unknown_name_of_the_registry_is_answered_with_its_nearest(
    models_dir: Path, tmp_path: Path
) -> None:
    """The suggestion comes from the named registry; if it does not exist, the error says so."""
    with pytest.raises(ModelError) as caught:
        named_model("amn-v3", models_dir)
    assert caught.value.hint == "did you mean amn-v2?"
    with pytest.raises(ModelError, match="there is no folder of models"):
        named_model("amn-v3", tmp_path / "nowhere")
