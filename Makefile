# `make demo` and `make test` need Python 3.12, git and make; everything else is set up here, in .venv.
SEED ?=
OBS ?=
RUN ?=
BUDGET_MIN ?= 60
TRIALS ?= 500
TREES ?= 2
SECONDS ?= 60
WORKERS ?= 2
VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready

export PYTHONUNBUFFERED := 1

.PHONY: help setup demo test test-long faults fuzz check format proto lock bench results reward-proof clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(READY)  ## create .venv with every locked dependency, and the EGL libraries for rendering

$(READY): requirements.lock pyproject.toml
	@sh scripts/setup.sh $(VENV)
	@touch $@

demo: $(READY)  ## train a simulated SO-101 to lift a cube from camera images (SEED=0 OBS=state RUN=folder)
	@$(VENV)/bin/tandem demo $(if $(SEED),seed=$(SEED)) $(if $(OBS),obs=$(OBS)) $(if $(RUN),run='$(RUN)')

test: $(READY)  ## the tests, WORKERS=2 files at once (minutes)
	@$(PYTHON) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-long: $(READY)  ## the longer proofs (tens of minutes)
	@$(PYTHON) -m pytest -m long --timeout=1800

faults: $(READY)  ## random faults in a run that goes on; every executed step is logged once (TRIALS=500 SEED=0)
	@PYTHONPATH=.:tests $(PYTHON) -m faults.run --trials $(TRIALS) --seed $(or $(SEED),0) --trees $(TREES)

fuzz: $(READY)  ## fuzzing guided by coverage, where atheris is installed (SECONDS=60 for each target)
	@PYTHONPATH=.:tests $(PYTHON) -m fuzz.guided --seconds $(SECONDS)

check: $(READY)  ## ruff, mypy and import-linter
	@$(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check . && $(VENV)/bin/mypy && $(VENV)/bin/lint-imports

format: $(READY)  ## format and fix what ruff can
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

proto: $(READY)  ## regenerate the stubs in transport/ from proto/
	@$(PYTHON) -m grpc_tools.protoc -I transport=proto --python_out=. --pyi_out=. --grpc_python_out=. \
		transport/records.proto transport/service.proto && rm -f transport/records_pb2_grpc.py

lock: $(READY)  ## resolve requirements.lock anew from pyproject.toml
	@$(VENV)/bin/uv pip compile -q --universal --generate-hashes --python-version 3.12 --all-extras \
		pyproject.toml -o requirements.lock

bench: $(READY)  ## measure throughput against LeRobot's own classes
	@$(PYTHON) -m benchmarks

results: $(READY)  ## train seeds and ablations for docs/results.md, most important first (BUDGET_MIN=60)
	@$(PYTHON) -m benchmarks.results --budget-min $(BUDGET_MIN)

reward-proof: $(READY)  ## measure the success classifier, and training with it (SEED=0 HOURS=0.5; TRAINING=0 leaves that out)
	@$(PYTHON) -m benchmarks.reward_proof $(if $(SEED),--seed $(SEED)) $(if $(HOURS),--hours $(HOURS)) \
		$(if $(filter 0,$(TRAINING)),--no-training)

clean:  ## remove .venv and caches; keeps runs/
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
