# Everything sets itself up: a virtual environment in .venv, with the very files whose hashes the lock files name
# (requirements.txt to run it with all its extras, requirements-dev.txt to test it; the build backend is in both). The client is tested with
# requirements-oldest.txt too, the oldest HTTP libraries that pyproject.toml allows.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD_REQUIRES = $(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])'
HTTP_REQUIRES = $(PYTHON) -c 'import tomllib; d = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]; \
	print(*(r for r in d if r.startswith(("requests", "urllib3"))), sep="\n")'
COMPILE = $(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test crash fuzz network check bench soak lock clean help

help:
	@echo "make demo    see it work: no key, no configuration, no network"
	@echo "make test    formatter, ruff, mypy, import contract, all tests"
	@echo "make crash   the proof that a crash loses and pays nothing, as root (an hour); the table for README"
	@echo "make fuzz    inputs that nobody would write, for FUZZ_SECONDS (300); FUZZ_SEED for the same ones again; what does not"
	@echo "             hold is written to build/fuzz"
	@echo "make network work on shares of real servers, NFS, SMB and sshfs, as root (an hour); the table for README"
	@echo "make bench   the benchmarks (some minutes)"
	@echo "make soak    a year of 200,000 recordings in compressed time, with faults and kills; what must stay flat does (hours;"
	@echo "             SOAK_RECORDINGS=20000 for a part of the year, SOAK_SEED for the same faults again)"
	@echo "make lock    pin the newest versions of everything, with their hashes, in requirements*.txt"
	@echo "make clean   remove what the others made"

demo: $(VENV)/.installed
	@$(BIN)/watcher demo

test: check
	$(BIN)/pytest -n $${TEST_WORKERS:-2} --dist worksteal

crash: $(VENV)/.installed-dev
	$(BIN)/python -m tests.crash --write

fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m tests.fuzz $(FUZZ_TARGETS)

network: $(VENV)/.installed-dev
	$(BIN)/python -m tests.network --write

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev
	$(BIN)/python -m tests.benchmarks

soak: $(VENV)/.installed-dev
	$(BIN)/python -m tests.soak

lock:
	rm -rf $(VENV)/lock && $(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip install --quiet uv
	$(BUILD_REQUIRES) | $(COMPILE) --upgrade --extra all -o requirements.txt pyproject.toml -
	$(BUILD_REQUIRES) | $(COMPILE) --upgrade -c requirements.txt --extra all --extra dev -o requirements-dev.txt pyproject.toml -
	$(HTTP_REQUIRES) | $(COMPILE) --resolution lowest-direct --no-deps -o requirements-oldest.txt -
	rm -rf $(VENV)/lock

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# First the locked files, then the project itself with nothing fetched for it: what was hashed is all that comes in.
$(VENV)/.installed: pyproject.toml requirements.txt | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --require-hashes --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml requirements-dev.txt | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --require-hashes --requirement requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.installed
