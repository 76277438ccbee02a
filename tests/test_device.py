"""What of this machine changes a runtime's answers."""

from __future__ import annotations

import pytest

from edgeaudit.artifact import Manifest, TensorSpec
from edgeaudit.devices.local import saturates
from edgeaudit.errors import AgreementError
from edgeaudit.jobs import query


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("sse4_2", "avx", "avx2", "fma"), True),  # Haswell, Zen 1 to 3
        (("avx2", "avx512f", "avx512bw"), True),  # Skylake-SP: AVX-512 without VNNI
        (("avx2", "avx512f", "avx512_vnni"), False),
        (("avx2", "avx_vnni"), False),
        (("sse4_2",), False),
        (("asimd",), False),
    ],
)
def test_which_cpus_sum_8_bit_products_in_16_bits(flags: tuple[str, ...], expected: bool) -> None:
    assert saturates(flags) is expected


@pytest.mark.parametrize(
    ("policy", "flags", "named"),
    [("disjoint", ("avx2",), True), ("disjoint", ("avx2", "avx_vnni"), False), (None, ("avx2",), False)],
)
def test_a_disagreement_of_static_int8_names_a_cpu_that_saturates(
    monkeypatch: pytest.MonkeyPatch, policy: str | None, flags: tuple[str, ...], named: bool
) -> None:
    monkeypatch.setattr(query, "cpu_flags", lambda: flags)
    tensor = TensorSpec("x", (-1, 2), "float32")
    manifest = Manifest("onnx", "m.onnx", "", 0, tensor, tensor, softmax_inside=False, calibration_policy=policy)
    with pytest.raises(AgreementError, match="it clips") as caught, query._about_this_cpu(manifest):
        raise AgreementError("it clips")
    assert ("has AVX2 and no VNNI" in str(caught.value)) is named
