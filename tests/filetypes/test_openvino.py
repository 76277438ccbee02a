"""OpenVINO IR: what its graph states."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.registry import find_filetype
from tests.filetypes.samples import IMAGES, sparse_module, with_softmax
from tests.runtimes.served import converted

pytestmark = pytest.mark.toolchain
OPENVINO = find_filetype("openvino")
every_pass = pytest.mark.parametrize(
    "passes", [["openvino.export"], ["openvino.export", "nncf.ptq-openvino"]], ids="+".join
)


@every_pass
def test_a_softmax_at_the_end_is_seen(tmp_path: Path, passes: list[str]) -> None:
    (tmp_path / "logits").mkdir()
    assert OPENVINO.ends_in_softmax(converted(tmp_path, passes, with_softmax, IMAGES).path)
    assert not OPENVINO.ends_in_softmax(converted(tmp_path / "logits", passes, sparse_module, IMAGES).path)


def test_weights_are_read_without_a_hang_or_a_way_out(tmp_path: Path) -> None:
    path = converted(tmp_path, ["openvino.export"], sparse_module, IMAGES).path
    weights = path.with_suffix(".bin")
    weights.unlink()
    weights.symlink_to("/etc/passwd")
    with pytest.raises(ArtifactError, match=r"\.bin, a link that leads out of its folder"):
        OPENVINO.contract(path)
    weights.unlink()
    os.mkfifo(weights)
    with pytest.raises(ArtifactError, match=r"\.bin, which is missing"):
        OPENVINO.contract(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ArtifactError, match=r"^\S+\.xml is neither a file nor a folder"):
        OPENVINO.contract(path)


def test_truncated_weights_give_a_one_line_error(tmp_path: Path) -> None:
    path = converted(tmp_path, ["openvino.export"], sparse_module, IMAGES).path
    path.with_suffix(".bin").write_bytes(b"\0" * 16)
    with pytest.raises(ArtifactError, match=r"^cannot read .*model\.xml as OpenVINO IR: it is truncated, damaged .*$"):
        OPENVINO.weights(path)
