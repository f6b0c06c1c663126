"""Finding a model by path, by name and by role."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvm_batch.lvm import ModelError, list_models, resolve_model


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    """A registry of two models, with the role of production given to one."""
    models = tmp_path / "lvm" / "models"
    for name in ("amn-v2", "gru-v1"):
        (models / name).mkdir(parents=True)
        (models / name / "best_model.pt").write_bytes(b"weights")
    (models / "empty").mkdir()
    (models.parent / "production_model").symlink_to(Path("models") / "amn-v2")
    return models


def resolved(spec: str | None, models_dir: Path, role: str = "production_model") -> str | None:
    """Resolve in that registry."""
    return resolve_model(spec, role=role, models_dir=models_dir)


def test_a_name_means_its_best_model(models_dir: Path) -> None:
    """The registry is asked by name."""
    assert resolved("gru-v1", models_dir) == str(models_dir / "gru-v1" / "best_model.pt")
    assert list_models(models_dir) == ("amn-v2", "gru-v1")


def test_a_path_means_itself(models_dir: Path) -> None:
    """A file is taken as it is, a folder for the checkpoint in it."""
    folder = models_dir / "gru-v1"
    assert resolved(str(folder / "best_model.pt"), models_dir) == str(folder / "best_model.pt")
    assert resolved(str(folder), models_dir / "elsewhere") == str(folder / "best_model.pt")


def test_a_url_is_passed_on(models_dir: Path) -> None:
    """What lies elsewhere is not looked for here."""
    assert resolved("s3://bucket/best_model.pt", models_dir) == "s3://bucket/best_model.pt"


def test_no_name_means_the_role(models_dir: Path) -> None:
    """The role's link is followed; a role that nobody has gives None."""
    path = resolved(None, models_dir)
    assert path is not None
    assert Path(path).resolve() == (models_dir / "amn-v2" / "best_model.pt").resolve()
    assert resolved(None, models_dir, role="fallback_model") is None


def test_a_role_may_link_to_a_file(models_dir: Path) -> None:
    """A link to the checkpoint itself does as well."""
    (models_dir.parent / "fallback_model").symlink_to(models_dir / "gru-v1" / "best_model.pt")
    path = resolved(None, models_dir, role="fallback_model")
    assert path is not None
    assert Path(path).is_file()


def test_a_link_to_nowhere_is_refused(models_dir: Path) -> None:
    """A role whose model is gone is an error, not a role that nobody has."""
    (models_dir.parent / "fallback_model").symlink_to(Path("models") / "gone")
    with pytest.raises(ModelError, match="fallback_model leads to models/gone"):
        resolved(None, models_dir, role="fallback_model")


def test_an_unknown_name_is_answered_with_the_nearest(models_dir: Path) -> None:
    """And with all there are where none is near."""
    with pytest.raises(ModelError, match="no model 'amn-v3'") as caught:
        resolved("amn-v3", models_dir)
    assert caught.value.hint.startswith("did you mean amn-v2")
    with pytest.raises(ModelError) as caught:
        resolved("/no/such/file.pt", models_dir)
    assert "amn-v2, gru-v1" in caught.value.hint
    with pytest.raises(ModelError) as caught:
        resolved("x", models_dir / "nowhere")
    assert "none" in caught.value.hint


def test_a_folder_without_a_checkpoint_is_refused(models_dir: Path) -> None:
    """An empty folder is named with the file it lacks."""
    with pytest.raises(ModelError, match=r"no best_model\.pt in"):
        resolved(str(models_dir / "empty"), models_dir)
