PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: install demo test lint slow fuzz clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install          ## take the shipped photo apart, relight it, say where the pictures are
	$(BIN)/python examples/demo.py demo

test: lint             ## the whole offline test suite
	$(BIN)/python -m pytest

slow: install          ## the heavier proofs
	$(BIN)/python -m pytest -m slow

fuzz: install          ## damaged and hostile files for every reader, for FUZZ_SECONDS (600); status 1 on a fault
	PYTHONPATH=tests $(BIN)/python -m fuzz

lint: install          ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check src

clean:
	rm -rf $(VENV) demo
