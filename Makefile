# Everything runs in .venv, which is made when first needed. PYTHON chooses the interpreter it is made with.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# To compile every module of torch and the like takes as long as the rest of an installation; Python compiles those that
# are imported when they first are.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
ROOMS := io jobs lvm
PACKAGE := $(addprefix jobs/package/,__init__.py __init__.pyi __main__.py errors.py py.typed)

# The tests start hundreds of processes, and pytest rewrites every assertion: without caches each would compile anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast matrix prefect soak mutants bench docs lint format stubs types check hooks changelog clean
.DELETE_ON_ERROR:

help: ## Print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.runtime ## Install, then run the main job on the vectors that ship with the project
	@$(BIN)/lvm-batch demo $(ARGS)

test: $(VENV)/.test ## Install what is missing, then run the tests; ARGS="tests/io -k name" chooses among them
	@$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal $(ARGS)

test-fast: $(VENV)/.test ## Run the unit tests alone: no processes, no servers, no clusters
	@$(BIN)/python -m pytest -m "not slow and not soak" --numprocesses=auto --maxprocesses=4 --dist=worksteal $(ARGS)

matrix: ## Run them on Python 3.11 to 3.14, as far as they are here, and with the newest torch; ARGS="3.13 newest" chooses
	@.ci/matrix $(ARGS)

# Its server and FastAPI's newest do not go together.
prefect: ## Test the Prefect flow with Prefect's own harness, in an environment of its own
	@$(PYTHON) -m venv .venv-prefect
	@.venv-prefect/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[prefect]' pytest \
		'fastapi<0.155' $$(grep '^torch==' constraints.txt)
	@.venv-prefect/bin/python -m pytest -p no:schemathesis tests/workflows/test_prefect_flow.py

soak: $(VENV)/.test ## Kill runs at random moments, fuzz, rerun 100,000 units; ARGS="--units 5000 --driven 500"
	@$(BIN)/python -m pytest -m soak
	@FUZZ_EXAMPLES=1000 $(BIN)/python -m pytest tests/hostile/test_fuzz.py
	@$(BIN)/python tests/benchmarks/soak.py $(ARGS)

mutants: $(VENV)/.test ## Ask the tests whether they notice faults in the modules that keep data; ARGS="lvm.inference.routing io.output.commit:120-160"
	@nice $(BIN)/python tests/mutation/mutants.py $(ARGS)

bench: $(VENV)/.test ## Time the job against a plain script and other frameworks, models as published, and reading; ARGS="--rows 40000 --pairs 1"
	@$(BIN)/python tests/benchmarks/against_script.py $(ARGS)
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python tests/benchmarks/models_alone.py
	@$(BIN)/python tests/benchmarks/reading.py

lint: $(VENV)/.dev ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff format .

docs: $(VENV)/.dev ## Make a site of all Markdown files in build/docs; every warning is an error, and nothing is fetched
	@$(BIN)/python -m sphinx --quiet --keep-going --fail-on-warning --jobs 2 -b html -c docs . build/docs

stubs: $(VENV)/.dev ## Write what follows from commands and settings: the stub of lvm_batch, and docs/commands.md
	@PYTHONPATH=tests $(BIN)/python -m support.stub
	@PYTHONPATH=tests $(BIN)/python -m support.command_reference
	@$(BIN)/ruff check --quiet --fix --select I jobs/package/__init__.pyi
	@$(BIN)/ruff format --quiet jobs/package/__init__.pyi

types: $(VENV)/.dev .types ## Check types
	@cd .types && ../$(BIN)/mypy --config-file ../pyproject.toml -p lvm_batch  # from the root, io/ would hide the library's

check: lint types test ## Check style, types and tests

hooks: $(VENV)/.dev ## Check style and types at every commit
	@$(BIN)/pre-commit install

changelog: $(VENV)/.dev ## Move the fragments of docs/changes into CHANGELOG.md; ARGS=--draft prints what they make
	@$(BIN)/towncrier build $(ARGS)

clean: ## Remove the virtual environment and everything else that was generated
	rm -rf $(VENV) .venv-matrix .venv-prefect .types .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find $(ROOMS) tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than what it was installed from, so that a second call installs nothing. What the checks need holds
# what the tests need, and that what the command needs: the larger installation stands for the smaller ones too.

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is needed: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing lvm-batch and what it needs into $(VENV); the first time takes a minute or two."
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing lvm-batch and what the tests need into $(VENV); the first time takes a minute or two."
	@$(INSTALL) --editable '.[faiss,test]'
	@touch $(VENV)/.runtime $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing lvm-batch and what the checks need into $(VENV); the first time takes a minute or two."
	@$(INSTALL) --editable '.[faiss,dev]'
	@touch $(VENV)/.runtime $(VENV)/.test $@

# Type checkers do not follow the installed mapping of folders to packages; these links show it to them.
.types: Makefile $(PACKAGE)
	@mkdir -p $@/lvm_batch
	@for room in $(ROOMS); do ln -sfn ../../$$room $@/lvm_batch/$$room; done
	@ln -sfn $(PACKAGE:%=../../%) $@/lvm_batch/
	@touch $@
