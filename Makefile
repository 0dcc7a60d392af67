# Two commands: `make run` starts the service, `make test` runs the tests. Both install what they need.

# A name on the path is not enough: some version managers put one there that only says what it would run.
PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && exit; done; echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
# Every process of the tests would compile what it imports anew where nothing may be kept.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest

.PHONY: run test test-network replay lint tools clean

run: $(VENV)/.installed
	$(BIN)/voice-agent serve

test: $(VENV)/.installed-test tools
	$(PYTEST) --numprocesses 3 --dist loadfile -m 'not alone and not network'
	$(PYTEST) --numprocesses 2 --dist loadfile -m 'alone and not network' $$(grep -rl --include='test_*.py' 'mark\.alone' tests)

# Networks that lose, delay and fail: minutes, and namespaces that only root may make.
test-network: $(VENV)/.installed-test tools
	$(PYTEST) --numprocesses 3 --dist worksteal -m network tests/netlab
	$(PYTEST) -m network --ignore tests/netlab

replay: $(VENV)/.installed
	$(BIN)/voice-agent replay samples/ --jobs 2

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

tools: $(VENV)/.installed-test
	@sh tests/install-tools.sh
	@sh tests/interop/install.sh

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
