# make serve and make test are all that a newcomer needs; both set up .venv on their first run.
# PYTHON=python3.12 chooses the Python, JOBS=1 the number of test processes, ARGS="…" adds arguments.

JOBS ?= 2
ARGS ?=
BIN := .venv/bin

.PHONY: serve test test-quick coverage check count format readme bench demo docs links packaging clean clients engines test-engines demo-cluster

serve: .venv/.installed
	$(BIN)/tus serve $(ARGS)

test: .venv/.tested clients engines
	$(BIN)/pytest -n $(JOBS) $(ARGS)

test-quick: .venv/.tested
	$(BIN)/pytest -n $(JOBS) -m "not slow and not clients and not zope and not engines" $(ARGS)

# What needs real engines, on every one of them; builds those that take long.
test-engines: export EVERY_ENGINE = 1
test-engines: .venv/.tested engines
	$(BIN)/pytest -n $(JOBS) -m engines $(ARGS)

coverage: .venv/.tested clients engines
	$(BIN)/pytest -n $(JOBS) --cov --cov-report=term-missing:skip-covered $(ARGS)

check: .venv/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/readme --check
	$(BIN)/pytest -q -p no:randomly tests/test_layers.py

# What each kind of request costs, in instructions, against what is committed.
count: .venv/.tested
	command -v valgrind >/dev/null || scripts/install-packages valgrind "counting instructions"
	$(BIN)/python bench/count.py --check $(ARGS)

format: .venv/.tested
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

readme: .venv/.installed
	$(BIN)/python scripts/readme

bench: .venv/.tested
	bench/run $(ARGS)

demo: .venv/.installed
	$(BIN)/tus serve development.ini $(ARGS)

# Two processes on one bucket and one Redis, with nginx in front: until Ctrl+C, and nothing is left.
demo-cluster: .venv/.installed
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable ".[redis]"
	command -v nginx >/dev/null && command -v redis-server >/dev/null && command -v curl >/dev/null || \
	    scripts/install-packages "nginx-light redis-server curl" "the cluster"
	scripts/demo-cluster

docs: .venv/.documented
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html

# Asks every address on the web that the documents name; that of a page which is gone is nobody's fault, so not in CI.
links: .venv/.documented
	$(BIN)/sphinx-build -q -b linkcheck docs docs/_build/links

# The source archive, the wheel that is built of it, and what the index and its users would say of both.
packaging: .venv/.packaged
	rm -rf build dist
	$(BIN)/python -m build -q .
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents --toplevel tus --package tus dist/*.whl
	$(BIN)/pyroma -n 8 dist/*.tar.gz

clean:
	rm -rf .venv .cache build dist *.egg-info docs/_build tests/*/js/node_modules
	rm -rf .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find tus tests bench -name __pycache__ -prune -exec rm -rf {} +

# Set-up. Each stamp says: done, for these files as they are.

.venv/.made: scripts/make-venv
	scripts/make-venv
	touch $@

.venv/.installed: .venv/.made setup.py
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable .
	touch $@

.venv/.tested: .venv/.made setup.py
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable ".[test,examples]"
	touch $@ .venv/.installed

.venv/.documented: .venv/.made setup.py
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable ".[docs]"
	touch $@

.venv/.packaged: .venv/.made setup.py
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable ".[packaging]"
	touch $@

clients:
	scripts/make-clients

engines:
	scripts/make-engines
