"""A pass: the layers of a trained torch `mlp` as arrays w0, b0, w1, b1, ... of an .npz."""

import numpy as np

from edgeaudit.exporters import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.filetypes.artifact import TensorSpec


class Export(Pass):
    """A pass with heavy imports has them inside of `_apply`: listing passes imports no toolchain."""

    spec = PassSpec("npz.export", "export", ("torch",), consumes="torch", produces="npz", summary="an mlp as arrays")

    def _apply(self, job: ExportJob) -> PassResult:
        tensors = [tensor.detach().numpy() for tensor in job.torch_module().parameters()]
        named = {f"{'wb'[n % 2]}{n // 2}": tensor for n, tensor in enumerate(tensors)}
        np.savez(job.workdir / "model.npz", allow_pickle=False, **named)
        records = TensorSpec("x", (-1, *job.input_shape), "float32", "NCHW" if len(job.input_shape) == 3 else "flat")
        return PassResult("model.npz", records, TensorSpec("logits", (-1, job.n_classes), "float32"))
