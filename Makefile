# One environment in .venv, from the pinned constraints. `make run` and `make test` set it up themselves.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
RUNS := .venv/.runs
DOCS := .venv/.docs
# uv does not read pip's own setting for local wheels.
export UV_FIND_LINKS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS))

# A file's tests stay with one worker, in their order: they share servers and projects.
# Files in their order, not those with most tests first: the few tests of a file of kills take longest.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -q --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: run test test-slow lint types check docs constraints clean

# What a run needs; what tests need has that too.
run: $(or $(wildcard $(STAMP)),$(RUNS))
	$(BIN)/ratchet run
	@echo "Next: . .venv/bin/activate; then \`ratchet status\`, \`ratchet ui\`, or \`ratchet init\` in a folder of yours."

test: $(STAMP)
	$(PYTEST) -m "not slow"

test-slow: $(STAMP)
	$(PYTEST) -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

check: lint types test

# The site of docs/, in site/. Open site/index.html; its search needs a server: python -m http.server --directory site.
docs: $(or $(wildcard $(STAMP)),$(DOCS))
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

define install
	@echo "Installing $(1) into .venv, once"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' constraints.txt)"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -e '$(1)' -c constraints.txt
	touch $@
endef

$(STAMP): pyproject.toml constraints.txt
	$(call install,.[dev])

$(RUNS): pyproject.toml constraints.txt
	$(call install,.[train])

$(DOCS): pyproject.toml constraints.txt
	$(call install,.[docs])

# The CPU build of torch keeps CUDA packages out of the file; without its local suffix any build of that version fits.
constraints:
	$(BIN)/uv pip compile --quiet --all-extras --no-annotate --no-header --upgrade pyproject.toml -o constraints.new
	sed 's/+cpu$$//' constraints.new > constraints.txt && rm constraints.new

clean:
	rm -rf .venv site .mypy_cache .pytest_cache .ruff_cache .hypothesis
