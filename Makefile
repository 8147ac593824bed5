# Two commands are all that a fresh machine needs: `make sweep` and `make test`. Both rest on `make setup`.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
SOURCES := orchestrator implementations
PORT ?= 5000

.PHONY: sweep test unit setup ui check versions searchers lint types imports format docs constraints clean help

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

sweep: setup  ## run sweeps/quick.yaml on what is here (a GPU, else the CPU) and print the table
	@$(BIN)/python -m orchestrator sweeps/quick.yaml

# Two files at a time: three keep two cores no busier, and make what is timed noisier. Where there is a GPU, sweeps have
# it one after the other.
SWEEPS_AT_ONCE := $(if $(wildcard /dev/nvidia0),0,2)

# Implementations first: their longest file must not be left when the other process has nothing more to do.
test: setup  ## run the tests
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests/implementations tests/unit
	@$(BIN)/python -m pytest -q tests/gpu
	@$(BIN)/python -m pytest -n $(SWEEPS_AT_ONCE) --dist loadfile --no-loadscope-reorder \
		tests/docs tests/integration tests/faults

unit: setup  ## the unit tests that take no half a second each: all of them in a minute
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow" tests/unit

setup: $(READY)  ## install everything into .venv, pinned by constraints.txt; nothing to do the second time

$(READY): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 " + "setup")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (once; some minutes: about 1 GB is fetched, 3 GB more with torch for CUDA)" >&2
	@if test -t 2; then quiet=; else quiet=--quiet; fi; \
	$(BIN)/python -m pip install $$quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[dev]' --config-settings editable_mode=compat
	@touch $@

ui: setup  ## open the MLflow UI on 127.0.0.1 (PORT=5000)
	@$(BIN)/python -m orchestrator.trackers.ui --port $(PORT)

check: lint types imports versions test  ## what CI runs: lint, types, import rules, tests

# What differs between versions of Python: imports, syntax trees, paths, pickling. None of it needs torch, Ray or MLflow.
LIGHT := pydantic ruamel.yaml numpy scipy tabulate simpleeval psutil rich shtab jinja2 nvidia-ml-py typing-extensions \
	pyyaml hypothesis pytest pytest-timeout
PURE := tests/unit/usercode/test_neighbours.py tests/unit/usercode/test_source.py \
	tests/unit/usercode/test_registry.py tests/unit/machine/test_variables.py tests/unit/spec tests/unit/plan \
	tests/unit/results tests/unit/util/test_credentials.py tests/unit/executors/test_cleanup.py \
	tests/unit/machine/test_cgroup.py tests/unit/stats

versions:  ## the tests that need none of the heavy packages, on Python 3.12 and 3.13 where they are installed
	@for version in 3.12 3.13; do \
	  python=python$$version; $$python -c '' 2>/dev/null || python=$$(ls -d "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version.*/bin/python 2>/dev/null | sort -V | tail -1); \
	  if ! test "$$python" || ! $$python -c '' 2>/dev/null; then echo "Python $$version is not installed: left out" >&2; continue; fi; \
	  ready=.venv-$$version/.ready; \
	  test "$$(cat $$ready 2>/dev/null)" = "$(LIGHT)" || { $$python -m venv .venv-$$version && \
	    .venv-$$version/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt $(LIGHT) && \
	    echo "$(LIGHT)" > $$ready; } || exit 1; \
	  PYTHONPATH=. .venv-$$version/bin/python -m pytest -q -p no:cacheprovider -m "not slow" $(PURE) || exit 1; \
	done

# Each searcher of Ray Tune in the version that works, beside what .venv has: none of them is a dependency.
SEARCHERS := .venv-searchers/.ready

searchers: $(SEARCHERS)  ## the tests of every searcher that a sweep file may name, in an environment of their own
	@PYTHONPATH=. .venv-searchers/bin/python -m pytest -q -p no:cacheprovider -W ignore tests/unit/search/test_tune.py

$(SEARCHERS): $(READY) orchestrator/spec/searchers.py
	@$(BIN)/python -m venv --clear .venv-searchers
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(.venv-searchers/bin/python -c \
	  'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth"
	@$(BIN)/python -c 'from orchestrator.spec.searchers import SEARCHERS; print(*[known.packages for known in SEARCHERS.values()], sep="\n")' \
	  | xargs .venv-searchers/bin/python -m pip install --quiet --disable-pip-version-check
	@touch $@

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy

imports: setup
	@$(BIN)/lint-imports --no-logo

format: setup  ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: setup  ## write the reference of every module into docs/api/
	@$(BIN)/python docs/reference.py docs/api

constraints: setup  ## write constraints.txt anew from what is installed
	@sed -n '/^#/p' constraints.txt > .venv/constraints && $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//' >> .venv/constraints
	@mv .venv/constraints constraints.txt

clean:  ## remove the virtual environment and caches; mlruns/ stays
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache docs/api
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
