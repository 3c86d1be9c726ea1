# What people run, and CI the same. Needs GNU make and a Python that scripts/find-python accepts; everything else goes
# into ./.venv, from the locks in requirements/.
#
#   make serve PORT=9000             another port than 8000
#   make serve DEVICE=gpu            installs requirements/gpu.txt (Linux with an NVIDIA driver) instead of cpu.txt
#   make serve PYTHON=/path/python   the Python to make ./.venv from
#   make test TESTS=tests/unit       a part of the tests; PROCESSES=0 for one after the other (3 at a time else: many wait)
#   make chaos SEED=7 JOBS=2000      other faults, and more; or MINUTES=10; LEASES=default: a worker's own settings of time

DEVICE ?= cpu
PORT ?=
PYTHON ?=
TESTS ?= tests
PROCESSES ?= 3

# A venv each: two builds of TensorFlow in one would overwrite each other.
VENV := $(if $(filter gpu,$(DEVICE)),.venv-gpu,.venv)
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	--no-emit-find-links $(UPGRADE)
LOCK := $(BIN)/uv pip compile pyproject.toml requirements/build.in $(LOCK_OPTIONS)
LOCK_UV := $(BIN)/uv pip compile requirements/uv.in $(LOCK_OPTIONS)

# A stamp is the proof of an installation: it is older than its lock when there is something to install.
SERVE_STAMP := $(VENV)/.installed-$(DEVICE)
DEV_STAMP := $(VENV)/.installed-dev
RELEASE_STAMP := $(VENV)/.installed-release

.DELETE_ON_ERROR:
.PHONY: help serve test check format bench chaos fuzz train lock upgrade install dev clean release-check licences pictures screenshots

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /  make \1	/' | expand -t 16

serve: $(SERVE_STAMP) ## everything on http://127.0.0.1:8000; Ctrl-C stops it
	@$(if $(PORT),BOUQUET_PORT=$(PORT)) exec $(BIN)/bouquet serve

test: check ## make check, then the whole test suite
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder $(TESTS)

check: $(DEV_STAMP) ## formatter, linter, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV_STAMP) ## puts right what the formatter and the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DEV_STAMP) ## the benchmarks
	$(BIN)/bouquet bench

chaos: $(DEV_STAMP) ## some minutes of kills, stops and outages while jobs run: nothing is lost, done twice or wrong
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS)) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(LEASES),--leases $(LEASES))

fuzz: $(DEV_STAMP) ## ten minutes of Schemathesis: no answer that is not in the OpenAPI document; MINUTES=1, SEED=7
	$(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

release-check: test $(RELEASE_STAMP) ## before a release: tests, licences, SBOM, known faults, the package, the images
	scripts/release-check $(BIN) $(if $(WITHOUT_IMAGES),--without-images)

licences: $(DEV_STAMP) $(RELEASE_STAMP) ## docs/licences.md anew, after a change of the locks
	$(BIN)/python scripts/licences.py

screenshots: $(DEV_STAMP) ## the pictures of docs/page.md anew, of the bundle that ships; needs Chromium
	$(BIN)/python scripts/screenshots.py

pictures: $(DEV_STAMP) ## those of README.md and docs/quality.md anew, of the bundle that ships
	$(BIN)/python scripts/pictures.py

train: $(DEV_STAMP) ## trains the reference recipe: make train DATA=data/flowers102 OUT=runs/reference
	$(BIN)/bouquet train --preset flowers64 --data $(or $(DATA),tfds) --out $(or $(OUT),runs/reference)

install: $(SERVE_STAMP) ## what `make serve` needs

dev: $(DEV_STAMP) ## what `make test` needs

# Whatever can be installed together is locked together: the smaller locks are held to the versions of the largest.
lock: $(DEV_STAMP) ## the locks anew, after a change of pyproject.toml; `make upgrade` takes newer versions as well
	@$(LOCK) --extra dev --output-file requirements/dev.txt >/dev/null
	@$(LOCK) --extra cpu --extra s3 --constraints requirements/dev.txt --output-file requirements/cpu.txt >/dev/null
	@$(LOCK) --extra gpu --extra s3 --extra train --constraints requirements/dev.txt --output-file requirements/gpu.txt >/dev/null
	@$(LOCK) --extra gpu --extra s3 --constraints requirements/gpu.txt --output-file requirements/gpu-worker.txt >/dev/null
	@$(LOCK) --extra release --constraints requirements/dev.txt --output-file requirements/release.txt >/dev/null
	@$(LOCK) --extra s3 --constraints requirements/dev.txt --output-file requirements/api.txt >/dev/null
	@$(LOCK_UV) --constraints requirements/dev.txt --output-file requirements/uv.txt >/dev/null

upgrade:
	$(MAKE) lock UPGRADE=--upgrade

clean: ## removes what was installed and cached; the images, the queue and the runs stay
	rm -rf .venv .venv-gpu build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find app model worker tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A venv whose Python has gone, or is one that TensorFlow does not support, is made anew.
$(BIN)/python:
	@python="$$(scripts/find-python $(if $(PYTHON),"$(PYTHON)"))" && echo "Making ./$(VENV) with $$python" && "$$python" -m venv --clear $(VENV)

# Compiled on all processors. (Some packages hold templates that are no Python: never mind.)
$(VENV)/.installed-%: requirements/%.txt pyproject.toml scripts/find-python scripts/install | $(BIN)/python
	@scripts/find-python $(BIN)/python >/dev/null || { echo "./$(VENV) cannot be used: make clean, then again." >&2; exit 1; }
	@echo "Installing requirements/$*.txt into ./$(VENV) (the first time this takes a minute or more)"
	@scripts/install $(BIN)/python $< || { echo "Installing requirements/$*.txt failed, see above." >&2; exit 1; }
	@$(BIN)/python -W ignore -m compileall -qq -j 0 $(VENV)/lib || true
	@PYTHONWARNINGS=ignore $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
