# Every command sets up .venv by itself (see dev.py). Arguments: make test ARGS="-k cache"
PYTHON ?= python3

.PHONY: help demo test lint doctest examples bench ci clean
.NOTPARALLEL:

help:
	@$(PYTHON) dev.py --help

demo test lint doctest examples bench:
	@$(PYTHON) dev.py $@ $(ARGS)

ci:
	@bash .ci/run

clean:
	rm -rf .venv .venv.lock dist build .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
