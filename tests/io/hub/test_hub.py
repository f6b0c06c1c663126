"""Datasets of the Hugging Face Hub, from a server that answers as the hub's documentation says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import buckets, hub_server
from support.hub_server import NAME, TOKEN, Hub, address

from lvm_batch.io.errors import DataError, InputNotFound, OutputError
from lvm_batch.io.hub import api
from lvm_batch.io.hub.address import _commit
from lvm_batch.io.storage.locations import locate, open_object, read_file
from lvm_batch.io.storage.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = {
    "README.md": b"# Windows",
    "data/a b.parquet": bytes(range(256)) * 40,
    "data/year=2024/50%20 ü.parquet": b"PAR1",
    "data/year=2025/c.parquet": b"PAR1PAR1",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one dataset, whose requests are repeated at once."""
    buckets.need_the_extra()
    for name in ("HF_TOKEN", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(api, "_PAUSES_S", (0.0, 0.0))
    with hub_server.serving() as serving:
        monkeypatch.setenv("HF_ENDPOINT", serving.url)
        serving.commit(FILES)
        _commit.cache_clear()
        buckets.forget()
        yield serving
    _commit.cache_clear()
    buckets.forget()


def listed(text: str) -> list[str]:
    """The files below an address, without the dataset's part."""
    from pyarrow import fs

    place = locate(text)
    found = place.filesystem.get_file_info(fs.FileSelector(place.path, recursive=True))
    return sorted(
        info.path.partition("@")[2].partition("/")[2] for info in found if info.type == fs.FileType.File
    )


def test_a_place_names_the_commit_of_its_revision(hub: Hub) -> None:
    """Plans hold that commit, so a branch that moves on meanwhile changes nothing."""
    first = hub.revisions["main"]
    tagged = hub.commit(FILES, "refs/convert/parquet")
    assert locate(address("data")).text == f"hf://datasets/{NAME}@{first}/data"
    assert (
        locate(address("data", revision="refs/convert/parquet")).text == f"hf://datasets/{NAME}@{tagged}/data"
    )
    hub.commit({"data/new.parquet": b"PAR1"})
    assert listed(f"hf://datasets/{NAME}@{first}/data") == sorted(FILES)[1:]


def test_a_folder_is_listed_over_all_pages(hub: Hub) -> None:
    """The hub lists some entries at a time, and names the next page."""
    assert len(FILES) > hub_server.PAGE
    assert listed(address()) == sorted(FILES)
    assert listed(address("data/year=2025")) == ["data/year=2025/c.parquet"]


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.usefixtures("hub")
def test_a_file_is_read_whole(name: str) -> None:
    """Names may have spaces, letters beyond ASCII and a per cent sign."""
    assert read_file(address(name)) == FILES[name]


def test_only_the_range_that_is_asked_for_is_read(hub: Hub) -> None:
    """A reader of Parquet takes the footer and some columns of a large file."""
    file = open_object(locate(address("data/a b.parquet")))
    file.seek(1000)
    assert file.read(10) == FILES["data/a b.parquet"][1000:1010]
    assert hub.ranges == ["bytes=1000-1009"]


def test_the_token_opens_a_gated_dataset_and_goes_to_the_hub_alone(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are on other servers than the hub; what they are sent holds no token."""
    hub.is_gated = True
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert read_file(address("README.md")) == FILES["README.md"]
    assert hub.tokens_at_files == {None}


@pytest.mark.parametrize("token", ["", "hf_of_somebody_else"])
def test_a_gated_dataset_is_refused_by_name(hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """The error says what opens it, and shows no token."""
    hub.is_gated = True
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(InputNotFound, match="is gated") as caught:
        locate(address("data"))
    assert "HF_TOKEN" in caught.value.hint
    assert "somebody" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (f"hf://datasets/{NAME}@v9/data", InputNotFound, "no such revision"),
        ("hf://datasets/owner/other/data", InputNotFound, "no such dataset, or it is private"),
        (f"hf://datasets/{NAME}/data/none.parquet", InputNotFound, "cannot be read"),
        ("hf://datasets/owner", DataError, "names no dataset"),
        ("hf://owner/model", DataError, "names no dataset"),
        (f"hf://datasets/{NAME}@refs/convert/parquet/data", InputNotFound, "no such revision"),
    ],
)
def test_what_is_not_there_is_named(text: str, error: type[DataError], said: str) -> None:
    """A missing revision, dataset or file, and an address that is none, are told apart."""
    with pytest.raises(error, match=said):
        read_file(text)


def test_requests_are_repeated(hub: Hub) -> None:
    """A busy hub, 429 or 503, is asked again; one that stays away is named."""
    hub.faults[:] = [503, 429]
    assert locate(address("data")).text.endswith("/data")
    _commit.cache_clear()
    hub.faults[:] = [503] * 9
    with pytest.raises(InputNotFound, match="the hub answers 503"):
        locate(address("data"))


@pytest.mark.usefixtures("hub")
def test_a_dataset_is_not_written() -> None:
    """The error names the ways out."""
    with pytest.raises(OutputError, match="only read") as caught:
        open_store(address("out"), staging="tmp")
    assert "hf upload-large-folder" in caught.value.hint
