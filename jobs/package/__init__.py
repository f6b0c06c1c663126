"""Batch prediction with Latent Vector Models, from Python.

    import lvm_batch

    model = lvm_batch.train("data", arch="amn", output="models/amn").model
    bank = lvm_batch.build_bank("data", output="bank").path
    result = lvm_batch.run("data", model=model, bank=bank, output="predictions")
    lvm_batch.read_predictions(result.output).head().collect()

The rule: this is the ``lvm-batch`` command for programs: the same settings by the same names, the same files, results
as objects, and errors raised. Importing it imports nothing else; a public name brings its module on first use (PEP
562). Type checkers and editors read the names in ``__init__.pyi``, which ``make stubs`` writes.
"""

import importlib

_FUNCTIONS = "lvm_batch.jobs.python.functions"
_RESULTS = "lvm_batch.jobs.python.results"
_READERS = "lvm_batch.io.output.readers"

_MODULES = {
    "run": _FUNCTIONS,
    "plan": _FUNCTIONS,
    "inspect": _FUNCTIONS,
    "train": _FUNCTIONS,
    "evaluate": _FUNCTIONS,
    "build_bank": _FUNCTIONS,
    "read_summary": _FUNCTIONS,
    "read_predictions": _READERS,
    "predictions_dataset": _READERS,
    "decode_predictions": "lvm_batch.io.vectors.stored",
    "Result": _RESULTS,
    "RunResult": _RESULTS,
    "PlanResult": _RESULTS,
    "TrainResult": _RESULTS,
    "BankResult": _RESULTS,
    "Summary": "lvm_batch.jobs.prediction.results.summary",
    "LvmBatchError": "lvm_batch.errors",
    "DataError": "lvm_batch.io.errors",
    "ModelError": "lvm_batch.lvm.errors",
    "JobError": "lvm_batch.jobs.errors",
    "SettingsError": "lvm_batch.jobs.errors",
    "UnitsFailed": "lvm_batch.jobs.errors",
    "GateFailed": "lvm_batch.jobs.errors",
    "TryAgain": "lvm_batch.jobs.errors",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    """Import a public name's module on first use."""
    if name in _MODULES:
        value: object = getattr(importlib.import_module(_MODULES[name]), name)
    elif name == "__version__":
        value = importlib.import_module("importlib.metadata").version("lvm-batch")
    else:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
