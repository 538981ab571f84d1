# `make demo` and `make test` need Python >= 3.11 and make, nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo picture test lint bench bench-extender fuzz notebooks lock clean help
help:
	@echo "make demo   set up, replay ten built-in weeks under four policies, write a report"
	@echo "make test   set up, check style and types, pass all tests"
	@echo "make bench  speed against the floor of bare SimPy"
	@echo "make notebooks  set up, install JupyterLab, open the notebooks in the browser"
	@echo "make bench-extender  what an answer to kube-scheduler costs"
	@echo "make coverage  how often the intervals of a comparison are right"
	@echo "make fuzz   long property tests"
	@echo "make chaos  a sweep of 200 cells under kill -9 at random moments"

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, found " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: $(READY)
	$(BIN)/rehearse demo --out demo-out

picture: demo
	$(BIN)/rehearse report demo-out --picture waits --out docs/picture.svg

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n auto --dist worksteal

bench: $(READY)
	$(BIN)/python -m benchmarks.replay

bench-extender: $(READY)
	$(BIN)/python -m benchmarks.extender

coverage: $(READY)
	$(BIN)/python -m benchmarks.coverage

fuzz: $(READY)
	REHEARSE_FUZZ=long $(BIN)/python -m pytest -n auto tests/properties

chaos: $(READY)
	REHEARSE_SWEEP_CELLS=200 $(BIN)/python -m pytest -s tests/unit/test_sweep_chaos.py -k killed

notebooks: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[notebooks]'
	$(BIN)/jupyter lab --ServerApp.root_dir=notebooks $(LAB)

lock: $(READY)
	@(head -1 requirements.lock; $(BIN)/python -m pip freeze --exclude-editable; \
	  $(BIN)/python -m pip list --format=freeze | grep '^setuptools=') > requirements.lock.new && mv requirements.lock.new requirements.lock

clean:
	rm -rf $(VENV) demo-out build *.egg-info
