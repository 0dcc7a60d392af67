# Two commands: `make run` starts the service, `make test` runs the tests. Both install what they need.

PYTHON ?= $(firstword $(foreach v,3.12 3.13 3.11,$(if $(shell command -v python$(v)),python$(v))) python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: run test replay lint browser clean

run: $(VENV)/.installed
	$(BIN)/voice-agent serve

test: $(VENV)/.installed-test browser
	$(BIN)/python -m pytest

replay: $(VENV)/.installed
	$(BIN)/voice-agent replay samples/

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

browser: $(VENV)/.installed-test
	@sh tests/install-browser.sh

clean:
	rm -rf $(VENV) replay-out

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"Python 3.11 or newer is needed, this is {v[0]}.{v[1]}: set PYTHON=…" if v < (3, 11) else 0)'
	@echo "Installing into $(VENV) (the first time takes a minute or two) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing what the tests need …"
	@$(INSTALL) '.[test,lint]'
	@touch $@
