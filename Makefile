# Three commands on a fresh clone, with python3 (3.11 to 3.13), make and a package index:
#   make compare      make experiments      make test
# GNU make 3.81 (macOS) reads this as well. `make compare PYTHON=python3.12` chooses the Python.

PYTHON = python3
VENV = .venv
EXTRAS =
ARGS =
PYTHONS = python3.11 python3.12 python3.13
RUN = "$(VENV)/bin/python" -m

.DEFAULT_GOAL = help
.NOTPARALLEL:
.PHONY: help compare experiments test lint format docs constraints clean

# $(call environment,EXTRAS): see .ci/environment.py. Here only what a too old Python could not read.
# exec, here and below, so that whoever kills make reaches the command and not a shell around it.
define environment
@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
	echo "make: this needs Python 3.11, 3.12 or 3.13; $(PYTHON) says: $$("$(PYTHON)" --version 2>&1 | head -n 1)"; \
	for python in python3.13 python3.12 python3.11; do \
		"$$python" -c '' 2>/dev/null && echo "make: $$python is here; try: make $@ PYTHON=$$python"; \
	done; exit 1; } >&2
@exec "$(PYTHON)" .ci/environment.py "$(VENV)" $(1)
endef

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo 'Options: ARGS="--help" for the command, EXTRAS=cuda,baselines PYTHON=python3.12 VENV=.venv for the environment.'

compare: ## compare the gradients of every objective on MNIST and draw the page
	$(call environment,$(EXTRAS))
	@exec $(RUN) lab compare $(ARGS)

experiments: ## run every experiment on the embedded sample and show them all on one page
	$(call environment,baselines $(EXTRAS))
	@out=runs/$$(date +%Y%m%d-%H%M%S)-experiments; for script in experiments/*.py; do \
		echo "== $$script"; "$(VENV)/bin/python" "$$script" --sample --out "$$out" $(ARGS) || exit 1; \
	done; exec $(RUN) lab report "$$out"

test: ## run the quick tests on all cores (the slow ones: ARGS='-m slow')
	$(call environment,dev $(EXTRAS))
	@exec $(RUN) pytest -n auto --maxprocesses 8 --dist loadfile $(ARGS)

lint: ## check style and types, change nothing
	$(call environment,dev $(EXTRAS))
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) pyright --pythonpath "$(VENV)/bin/python"

format: ## rewrite the code in the project's style
	$(call environment,dev $(EXTRAS))
	$(RUN) ruff check --fix
	$(RUN) ruff format

docs: ## build the documentation into site/ (read site/index.html)
	$(call environment,docs $(EXTRAS))
	@NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict $(ARGS)
	@echo "The documentation: site/index.html"

constraints: ## pin the newest versions anew, for every Python of PYTHONS
	"$(PYTHON)" .ci/constraints.py $(PYTHONS) > constraints.txt.new
	mv constraints.txt.new constraints.txt

clean: ## remove the environments and caches; runs and downloaded data stay
	rm -rf .venv .venv-* .venv.* build dist site .pytest_cache .ruff_cache .hypothesis constraints.txt.new
	find lab experiments tests benchmarks docs .ci -name __pycache__ -type d -prune -exec rm -rf {} +
