"""Run by test_determinism.py in a process of its own, with a network's name; prints one line of JSON."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import sys

import numpy as np
import torch

from tests.exporters.test_determinism import PASSES, digests, trained


def random_states() -> str:
    state = [random.getstate(), np.random.get_state(), torch.get_rng_state().tolist()]  # noqa: NPY002
    return hashlib.sha256(repr(state).encode()).hexdigest()


def logging_state() -> str:
    root = logging.getLogger()
    return repr((logging.getLoggerClass(), root.level, root.handlers, root.manager.disable))


def main() -> None:
    torch.set_num_threads(1)
    state: dict[str, object] = {
        "trained before": trained(),
        "random before": random_states(),
        "logging before": logging_state(),
        "environment before": dict(os.environ),
    }
    state["digests"] = digests(sys.argv[1], list(reversed(PASSES)))
    state |= {
        "random after": random_states(),
        "logging after": logging_state(),
        "environment after": dict(os.environ),
        "trained after": trained(),
        "telemetry": type(sys.modules["nncf.telemetry"].telemetry).__name__,
    }
    sys.stdout.write(json.dumps(state) + "\n")


if __name__ == "__main__":
    main()
