# Everything starts here. Each target sets up what it needs: a virtual environment in .venv, filled from
# requirements.lock by pip alone. Nothing has to be activated.
#
# Options, as in `make fuzz TIME=600 WORKERS=1`:
#   PYTHON   the interpreter that .venv is built on       (python3; 3.11 or newer)
#   TIME     seconds of fuzzing                           (60)
#   HOURS    that a night lasts                           (1)
#   WORKERS  processes to fuzz with                       (all: one for each core)
#   CASE     the case file to replay
#   CASES    fresh cases to crash                         (500)
#   KILLS    processes to kill                            (200)
#   DAMAGED  case files to damage                         (100000)
#   STEPS    of the largest workflows to explore          (3)
#   SHARD    the part of the mutation run to do           (1/1: all)
#   TARGET   MODULE:FACTORY, an engine other than ours
#   JSON     a file for the machine-readable report
#   ARGS     anything else for the command behind the target

PYTHON ?= python3
TIME = 60
HOURS = 1
WORKERS = all
CASE =
CASES = 500
KILLS = 200
DAMAGED = 100000
STEPS = 3
SHARD = 1/1
TARGET =
JSON =
ARGS =

BIN := .venv/bin
LOCKSTEP := $(BIN)/lockstep
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := .venv/.installed

OPTIONS = $(if $(TARGET),--target '$(TARGET)') $(if $(JSON),--json '$(JSON)') $(ARGS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@echo
	@sed -n '/^# Options/,/^$$/ s/^# \{0,1\}//p' Makefile

# --- the environment ------------------------------------------------------------------------------------------------

# A virtual environment that works is kept; one that does not (half built, its interpreter gone) is built anew.
define ENVIRONMENT
if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
		found=$$($(PYTHON) --version 2>&1) || found='no Python'; \
		echo "Lockstep needs Python 3.11 or newer, and $(PYTHON) is $$found: try make PYTHON=/path/to/python3.11" >&2; \
		exit 2; \
	fi; \
	echo 'Building .venv'; \
	$(PYTHON) -m venv --clear .venv; \
fi
endef

# The stamp is written last: an install that failed is tried again next time.
$(READY): requirements.lock pyproject.toml
	@rm -f $@
	@$(ENVIRONMENT)
	@echo 'Installing what requirements.lock says'
	@$(PIP) install --quiet --require-hashes --requirement requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: lock
lock: ## Resolve the dependencies again (ARGS=--upgrade takes the newest; needs uv, and installs it)
	@$(ENVIRONMENT)
	@$(PIP) install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra cluster --extra service --group dev --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
		--output-file requirements.lock $(ARGS) pyproject.toml

# --- the checks -----------------------------------------------------------------------------------------------------

.PHONY: test
test: lint types coverage ## Everything that must hold before a commit: lint, types, walls, tests, coverage, explore
	@$(LOCKSTEP) explore --steps 3

.PHONY: lint
lint: $(READY) ## Style (ruff) and the walls between the packages (import-linter)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(READY) ## Let ruff put right what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: types
types: $(READY) ## Types (mypy)
	$(BIN)/mypy

# Two processes, on any machine: the time that it takes is then comparable, and two cores are all that CI has.
.PHONY: coverage
coverage: $(READY) ## The tests, and how much of the code they reach (ARGS goes to pytest)
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses 2 --dist loadgroup $(ARGS)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# --- the harness ----------------------------------------------------------------------------------------------------

.PHONY: fuzz
fuzz: $(READY) ## Search for TIME seconds for a case that breaks the contract
	@$(LOCKSTEP) fuzz --seconds $(TIME) $(if $(filter-out all,$(WORKERS)),--workers $(WORKERS)) $(OPTIONS)

# About so many hours in all: what came of it is printed, and kept in .lockstep/nightly.md and nightly.json.
.PHONY: nightly
nightly: $(READY) ## The search of a night, HOURS long: all machines, planted bugs, small workflows, crashes
	@$(BIN)/python -m machines.nightly --hours $(HOURS) $(ARGS)

# make turns every failure into its own exit status 2, so the recipe says the real one.
.PHONY: replay
replay: $(READY) ## Carry out a saved case again: make replay CASE=tests/regressions/some.json
	@if [ -z '$(CASE)' ]; then echo 'Which case? make replay CASE=path/to/case.json' >&2; exit 2; fi
	@status=0; $(LOCKSTEP) replay '$(CASE)' $(OPTIONS) || status=$$?; \
	echo "lockstep replay: exit status $$status (0 the contract holds, 1 violated as recorded," \
		"3 violated in another way, 2 the case cannot be carried out)"; \
	exit $$status

.PHONY: reach
reach: $(READY) ## Show which situations the machines get to, and which they never do
	@$(LOCKSTEP) reach $(OPTIONS)

# Not a search: every course there is. `make test` does it for 3 steps, the night for 4.
.PHONY: explore
explore: $(READY) ## Play all that can happen to every workflow of up to STEPS steps
	@$(LOCKSTEP) explore --steps $(STEPS) --workers $(WORKERS) $(OPTIONS)

# The committed regressions and CASES fresh cases, crashed at every boundary of their journals.
.PHONY: crashes
crashes: $(READY) ## Crash at every boundary of the journal of many cases, and recover
	@$(LOCKSTEP) crashes --cases $(CASES) $(if $(JSON),--json '$(JSON)') $(ARGS) tests/regressions/*.json

# `make test` does the same with 20 of them.
.PHONY: kills
kills: $(READY) ## End KILLS processes with SIGKILL, and look for anything that is lost
	@KILLS=$(KILLS) $(BIN)/python -m pytest --quiet tests/integration/test_crash.py $(ARGS)

# 1,000 cases x 3 processes x 4 hash seeds x every CPython from 3.11 up; each but this one gets an environment of its own
# in .lockstep/exact. `make test` does the same with a few.
.PHONY: exact
exact: $(READY) ## Play 1,000 cases in many processes, on every Python here: the histories must be the same
	@$(BIN)/python -m machines.exact $(ARGS)

# `make test` does the same with 3,000 of them.
.PHONY: damage
damage: $(READY) ## Damage DAMAGED case files: each must be read, or refused in one line
	@DAMAGED=$(DAMAGED) $(BIN)/python -m pytest --quiet tests/test_damage.py $(ARGS)

.PHONY: canary
canary: $(READY) ## Test the tester: every planted bug must be found
	@$(LOCKSTEP) canary --workers $(WORKERS) $(if $(JSON),--json '$(JSON)') $(ARGS)

.PHONY: bugs
bugs: $(READY) ## Search for every planted bug many times, and say how soon each is found
	@$(LOCKSTEP) bugs --workers $(WORKERS) $(if $(JSON),--json '$(JSON)') $(ARGS)

.PHONY: minimal
minimal: $(READY) ## Find every planted bug from ten seeds, and say how small and how alike its cases become
	@$(BIN)/python -m machines.minimal $(if $(JSON),--json '$(JSON)') $(ARGS)

# A part of it, as in `make mutation SHARD=3/12`, which takes two cores less than 20 minutes; started again, it goes on.
.PHONY: mutation
mutation: $(READY) ## Change the engine's core in one place after the other: what notices, and what does not?
	@$(BIN)/python -m machines.mutation --shard $(SHARD) --workers $(WORKERS) $(ARGS)

.PHONY: drive
drive: $(READY) ## Search with the fast front end, in one process
	@$(LOCKSTEP) drive $(OPTIONS)

.PHONY: bench
bench: $(READY) ## Measure the engine, the model and the machines
	@$(BIN)/python -m machines.bench $(ARGS)

.PHONY: summary
summary: $(READY) ## Write what is tested, and what came of it, to .lockstep/summary.md
	@$(BIN)/python -m machines.summary $(ARGS)

.PHONY: clean
clean: ## Remove what was built and cached; the cases in .lockstep stay
	rm -rf .venv .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache \
		build dist htmlcov *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
