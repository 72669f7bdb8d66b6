# make serve and make test are all that a newcomer needs; both set up .venv on their first run.
# PYTHON=python3.12 chooses the Python, JOBS=1 the number of test processes, ARGS="…" adds arguments.

JOBS ?= 2
ARGS ?=
BIN := .venv/bin
NODE_CLIENTS := tests/clients/js/node_modules/.made

.PHONY: serve test test-quick coverage check format readme bench demo docs clean node-clients

serve: .venv/.installed
	$(BIN)/tus serve $(ARGS)

test: .venv/.tested node-clients
	$(BIN)/pytest -n $(JOBS) $(ARGS)

test-quick: .venv/.tested
	$(BIN)/pytest -n $(JOBS) -m "not slow and not clients" $(ARGS)

coverage: .venv/.tested node-clients
	$(BIN)/pytest -n $(JOBS) --cov --cov-report=term-missing:skip-covered $(ARGS)

check: .venv/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/readme --check
	$(BIN)/pytest -q -p no:randomly tests/test_layers.py

format: .venv/.tested
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

readme: .venv/.installed
	$(BIN)/python scripts/readme

bench: .venv/.tested
	bench/run $(ARGS)

demo: .venv/.installed
	$(BIN)/tus serve development.ini $(ARGS)

docs: .venv/.documented
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html

clean:
	rm -rf .venv build dist *.egg-info docs/_build tests/clients/js/node_modules
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
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable ".[test]"
	touch $@ .venv/.installed

.venv/.documented: .venv/.made setup.py
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable ".[docs]"
	touch $@

node-clients: $(NODE_CLIENTS)

# Makes no stamp when it could not install them; the tests are then skipped, with the reason.
$(NODE_CLIENTS): tests/clients/js/package-lock.json
	scripts/make-clients
