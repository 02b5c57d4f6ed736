# make quickstart   the whole path on real data, in its own virtual environment
# make test         the test suite, likewise
# make test-fast    the tests that train little or nothing, under 2 minutes on 2 cores
# make matrix       a fast suite with each supported TensorFlow, Keras and Python, into docs/versions.md
# make backends     a core suite on TensorFlow, JAX and PyTorch, those installed, into docs/backends.md
# make wheel        the wheel, installed with everything from the package index into a new environment
# make emulate      bundles on emulated Raspberry Pis of 64 and 32 bits (root, Debian or Ubuntu, x86-64)
# make emulate-micro  files in TFLite Micro, and compiled to C on an emulated Cortex-M4 (gcc-arm-none-eabi, qemu-system-arm)
# make proofs       what is proven on devices, or on what stands for them, into docs/proofs.md
# make coverage     which models each technique takes, ours and TFMOT's, into docs/coverage.md
# make soak         damaged input, kills, signals and long trainings, into docs/reliability.md
# make examples     every script of examples/ and the code of the guides and pages, for seconds each
# make bench        all benchmarks beside their peers, many hours, resumable, into docs/benchmarks.md
# make bench-fast   the quick ones, within a quarter of an hour on 2 cores
# make lint         ruff, the floors of the house (import-linter), types (mypy)
# make types        pyright on the examples, as an editor checks them
# make docs         the pages of docs/ as a site in site/, warnings are errors

PYTHON ?= python3
VENV ?= .venv
OUT ?= quickstart_out
BIN := $(VENV)/bin
EACH := tests/compat tests/test_each_technique.py
MATRIX := $(EACH) tests/legacy/test_legacy_files.py
FAST := $(EACH) tests/tflite tests/keras_graph tests/pruning tests/quantization/arithmetic \
  tests/quantization/test_scheme.py tests/quantization/test_integers.py tests/quantization/test_plan.py \
  tests/clustering/test_constraint.py tests/clustering/test_soft_kmeans.py tests/clustering/test_grouping.py \
  tests/distillation/test_arithmetic.py tests/distillation/test_matching.py \
  tests/test_data.py tests/test_extras.py tests/test_interruption.py

.PHONY: quickstart test test-fast matrix backends wheel emulate emulate-micro proofs examples lint types format docs clean coverage soak bench bench-fast

quickstart: $(VENV)/installed
	$(BIN)/tfcompress quickstart --out $(OUT)

test: $(VENV)/installed
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-fast: $(VENV)/installed
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(FAST)

matrix: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[matrix]'
	$(BIN)/python tests/version_matrix.py $(MATRIX)

backends: $(VENV)/installed
	$(BIN)/python tests/backend_matrix.py tests/backends tests/compat/test_keras_steps.py

wheel: $(VENV)/installed
	$(BIN)/python -m pytest -q -m network tests/test_wheel.py

emulate: $(VENV)/installed
	$(BIN)/python -m pytest -q -s -m emulation tests/exporters/bundling/test_arm_boards.py

emulate-micro: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[bakenn,micro]'
	$(BIN)/python -m pytest -q -s -m emulation tests/exporters/bundling/test_cortex_m.py
	$(BIN)/python -m pytest -q tests/exporters/test_weight_encoding.py tests/quantization/test_micro_runtime.py

proofs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[bakenn,micro,mediapipe,ethos-u,signature]'
	$(BIN)/python tests/proofs.py

coverage: $(VENV)/installed
	$(BIN)/python benchmarks/run_all.py coverage_matrix quantization_coverage zoo_coverage

bench: $(VENV)/installed
	$(BIN)/python benchmarks/run_all.py

bench-fast: $(VENV)/installed
	$(BIN)/python benchmarks/run_all.py --fast

examples: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[examples]'
	$(BIN)/python -m pytest -q -m '' tests/examples
	$(BIN)/python -m pytest -q -m pages tests/docs tests/reliability

soak: $(VENV)/installed
	$(BIN)/python benchmarks/soak.py --page docs/reliability.md

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/mypy --config-file= --ignore-missing-imports --follow-imports=silent examples

types: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[examples]' 'pyright >= 1.1.400, < 2'
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

$(VENV)/installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "tfcompress needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[report,test]'
	@touch $@

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info
