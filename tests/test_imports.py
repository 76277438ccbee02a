"""Import rules that a graph of modules does not show; .importlinter has the others."""

from __future__ import annotations

import subprocess
import sys

TOOLCHAINS = {
    "ai_edge_litert", "ai_edge_quantizer", "executorch", "keras", "litert_torch", "nncf", "onnx", "onnxruntime",
    "opacus", "openvino", "safetensors", "tensorflow", "tflite_runtime", "torch", "torch_pruning", "torchao",
    "torchvision",
}  # fmt: skip
NEEDS_TORCH = {
    "edgeaudit.exporters.fake_quantised", "edgeaudit.optimizers", "edgeaudit.recipes.architectures",
    "edgeaudit.recipes.auxiliary", "edgeaudit.recipes.heads", "edgeaudit.recipes.losses",
    "edgeaudit.recipes.private_training", "edgeaudit.recipes.resizing",
    "edgeaudit.recipes.timm_models", "edgeaudit.recipes.torch_checkpoint", "edgeaudit.recipes.torchvision_models",
    "edgeaudit.recipes.training",
}  # fmt: skip
"""Define torch modules and train them; whoever uses them imports them when it runs."""

IMPORT_ALL = f"""
import importlib, pkgutil, sys
import edgeaudit
for module in pkgutil.walk_packages(edgeaudit.__path__, "edgeaudit."):
    if module.name not in {NEEDS_TORCH | {"edgeaudit.__main__"}!r}:
        importlib.import_module(module.name)
print(*sorted(sys.modules))
"""


def test_no_module_imports_a_toolchain_before_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "edgeaudit.stages.compress" in loaded
    assert loaded & TOOLCHAINS == set()
