"""The facts about a job's models and bank, from settings.

The rule: the process that drives a run loads neither torch nor a model. A copy of the fork server, which has loaded
torch anyway, looks at the files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.jobs.processes.forkserver import in_forked_process

if TYPE_CHECKING:
    from lvm_batch.jobs.models.facts import FoundModels
    from lvm_batch.jobs.settings.run import RunSettings


def find_models(settings: RunSettings) -> FoundModels:
    """Look at the models and the bank that the settings name, where torch is loaded already, or else here."""
    return in_forked_process(_look, settings)


def _look(settings: RunSettings) -> FoundModels:
    from lvm_batch.io.schema import WindowShape
    from lvm_batch.jobs.models.check import look_at_models

    return look_at_models(settings, answers_to=WindowShape().length)
