# Two commands matter to a newcomer: `make demo` and `make test`. Each sets up what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
OUTPUT := demo-output
BENCH_OUTPUT := bench-output
MINUTES := 5
# Nothing here may reach for a model hub.
export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-heavy test-cluster fuzz chaos lint format bench bench-scale clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# torch comes first and by itself: it is most of what is downloaded.
$(VENV)/ready-base: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing torch …"
	@$(PIP) torch
	@touch $@

$(VENV)/ready-demo: $(VENV)/ready-base pyproject.toml
	@echo "Installing Strideformer and what it needs …"
	@$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/ready-test: $(VENV)/ready-base pyproject.toml
	@echo "Installing Strideformer and what its tests need …"
	@$(PIP) --editable '.[test]'
	@touch $@

# MLflow's server has an environment of its own: it wants an older pyarrow than ours.
$(VENV)/ready-heavy: $(VENV)/ready-test
	@echo "Installing what the slow tests need …"
	@$(PIP) --editable '.[tracking,train-ray]'
	@test -x $(VENV)/mlflow-server/bin/python || $(PYTHON) -m venv $(VENV)/mlflow-server
	@$(VENV)/mlflow-server/bin/python -m pip install --quiet --disable-pip-version-check 'mlflow==3.17.2'
	@touch $@

# The type checker reads the benchmarks, too, which import what the tests need.
$(VENV)/ready-lint: $(VENV)/ready-test
	@$(PIP) --editable '.[lint]'
	@touch $@

demo: $(VENV)/ready-demo  ## label 40 real documents with the embedded model
	@$(BIN)/python -m tests.demo $(OUTPUT)

test: $(VENV)/ready-test  ## run the tests
	@$(BIN)/python -m pytest

test-heavy: $(VENV)/ready-heavy  ## what is too slow for every change: 1 GB lines, 100,000 files, killed encoders, training on Ray (2 GB of disk)
	@$(BIN)/python -m pytest tests/heavy -s --timeout 1800

test-cluster: $(VENV)/ready-test  ## the launchers of cluster/ on a real Slurm, and over ssh, in network namespaces: as root, with Debian's slurm-wlm, munge, iproute2, openssh-server, rsync
	@$(BIN)/python -m pytest tests/launchers -rs

fuzz: $(VENV)/ready-test  ## any bytes as input for MINUTES minutes
	@$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

lint: $(VENV)/ready-lint  ## check format, style and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(VENV)/ready-lint  ## apply format and safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/ready-test  ## measure the encoder, tokenising and the whole job against what else there is (15 minutes)
	@$(BIN)/python -m tests.benchmarks --output $(BENCH_OUTPUT)

bench-scale: $(VENV)/ready-test  ## measure the pipeline with up to a million documents and eight encoders
	@$(BIN)/python -m tests.benchmarks.scale

chaos: $(VENV)/ready-test  ## kill, cut off and starve jobs, 60 rounds, and count every document
	@$(BIN)/python -m tests.chaos

clean:  ## remove everything that make created
	rm -rf $(VENV) $(OUTPUT) $(BENCH_OUTPUT) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
