"""``serve`` against its own OpenAPI: schemathesis sends valid and invalid requests, and checks the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.served import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

pytest.importorskip("fastapi", reason='pip install "lvm-batch[serve]"')
schemathesis = pytest.importorskip("schemathesis", reason='pip install "lvm-batch[test]"')

DIM = 8
"""Short vectors, so that schemathesis can make valid ones; the dimension in OpenAPI is the model's."""

EXAMPLES = 30


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with small models."""
    from lvm_batch.jobs.settings.serve import ServeSettings
    from lvm_batch.lvm import AttentionMixtureNetwork, GRUStack, save_checkpoint

    folder = tmp_path_factory.mktemp("small")
    models = {
        "amn": AttentionMixtureNetwork(DIM, 4, 8),
        "gru": GRUStack(DIM, 8, 1),
    }
    for name, model in models.items():
        save_checkpoint(
            folder / f"{name}.pt", model, architecture=name, epoch=1, val_loss=0.5, val_cosine=0.5
        )
    settings = ServeSettings(model=str(folder / "amn.pt"), fallback=str(folder / "gru.pt"))
    with serving(settings) as started:
        yield started.url


def schema_of(url: str) -> schemathesis.BaseSchema:
    """The service's own description, as schemathesis reads it."""
    config = schemathesis.Config.from_dict(
        {
            "base-url": url,
            "seed": 1,
            "generation": {"max-examples": EXAMPLES, "deterministic": True},
            "phases": {"stateful": {"enabled": False}},
            # Contexts of zeros, or of numbers that overflow in the model, have no answer; no schema can
            # express that.
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 422]}},
        }
    )
    return schemathesis.openapi.from_url(f"{url}/openapi.json", config=config)


def test_what_openapi_says_is_what_is_accepted(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Valid requests are answered and invalid ones refused as OpenAPI says; none ends in a 500."""
    monkeypatch.chdir(tmp_path)  # schemathesis may keep a cache where it runs
    from schemathesis.engine import events, from_schema

    n_requests, wrong = 0, []
    for event in from_schema(schema_of(url)).execute():
        if isinstance(event, (events.NonFatalError, events.FatalError)):
            wrong.append(str(event.info if isinstance(event, events.NonFatalError) else event.exception))
        if isinstance(event, events.ScenarioFinished):
            n_requests += len(event.recorder.interactions)
            wrong += [
                f"{event.recorder.label}: {check.failure_info.failure}"
                for checks in event.recorder.checks.values()
                for check in checks
                if check.failure_info is not None
            ]
    assert not wrong
    assert n_requests > 100
