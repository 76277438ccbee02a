"""The reference: the trained torch module itself, in float32. Needs torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.runtimes.base import Runtime, RuntimeSpec

__all__ = ["TorchReference"]


class TorchReference(Runtime):
    """The module in eval mode, built from the manifest's recipe and the artifact's state dict."""

    spec = RuntimeSpec(
        name="torch",
        extra="torch",
        packages=("torch",),
        serves="torch",
        summary="the trained torch module, the reference for all formats",
        defaults={"batch": 64},
    )

    def _open(self) -> None:
        from edgeaudit.recipes.base import module_from_manifest

        self._module = module_from_manifest(self.artifact.manifest.recipe, self.artifact.path).eval()

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # another order of summation changes the last bits
        try:
            with torch.inference_mode():
                answer: npt.NDArray[Any] = np.asarray(self._module(torch.from_numpy(block)).numpy())
        finally:
            torch.set_num_threads(threads)
        return answer
