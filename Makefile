# Every target works from a fresh clone and can be repeated. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PROTOS := $(wildcard proto/featurestore/v1/*.proto proto/featurestore/feast/*.proto)
export PYTHONDONTWRITEBYTECODE ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo up down check test fault bench proto format

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 10

setup: $(READY) ## install everything into .venv, from the hashed lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## the whole path on real parts, with a report; DEMO_SECONDS=30
	@$(BIN)/python -m examples.run_demo

up: $(READY) ## start the demo project and leave it running
	@$(BIN)/python -m cluster up --project examples/demo

down: $(READY) ## stop what `make up` started, and only that
	@$(BIN)/python -m cluster down

check: $(READY) ## format, lint, types, protos
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/buf lint proto
	$(BIN)/buf format proto --diff --exit-code
	@$(MAKE) --no-print-directory proto OUT=.raytide/proto-check
	@for f in $$(cd .raytide/proto-check && find . -name '*_pb2*'); do diff -q "proto/$$f" ".raytide/proto-check/$$f" || { echo "generated code is stale: make proto"; exit 1; }; done

test: $(READY) ## unit, property, contract, ray and stack tests, and a short version of the fault matrix
	$(BIN)/python -m pytest -m "not long and not nodes" --durations=15

long: $(READY) ## the tests that wait for deadlines, half a minute or more each
	$(BIN)/python -m pytest -m long

fault: $(READY) ## the fault matrix, into docs/proofs.md; FAULT="kill:* --rounds 5" for a part of it; then `ray up` on nodes of this machine
	@$(BIN)/python -m tests.fault --publish $(FAULT)
	$(BIN)/python -m pytest -m nodes -s

bench: $(READY) ## events/s beside a plain confluent-kafka loop, functions beside calls by hand, files beside DuckDB, streams beside both, online and historical reads beside Feast, windows beside plain SQL, and online
	@$(BIN)/python -m bench.ingest
	@$(BIN)/python -m bench.graph
	@$(BIN)/python -m bench.files
	@$(BIN)/python -m bench.beside
	@$(BIN)/python -m bench.online
	@$(BIN)/python -m bench.historical
	@$(BIN)/python -m bench.windows
	@$(BIN)/python -m bench.windows_online
	@$(BIN)/python -m bench.online_loaded

OUT ?= proto
proto: $(READY) ## regenerate the code under proto/
	@mkdir -p $(OUT)
	@$(BIN)/python -m grpc_tools.protoc -I proto --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
		--python_out=$(OUT) --pyi_out=$(OUT) --grpc_python_out=$(OUT) --mypy_grpc_out=quiet:$(OUT) $(PROTOS)

format: $(READY) ## format code and protos
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix-only .
	$(BIN)/buf format proto -w
