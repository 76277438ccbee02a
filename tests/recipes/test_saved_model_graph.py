from __future__ import annotations

from pathlib import Path

import pytest

from tests.keras_process import in_tensorflow


def _refusal(operator: str, folder: str) -> str:
    from tests.recipes.saved_models import refusal

    return refusal(operator, folder)


def _refusals_of_models(folder: str) -> list[str]:
    from tests.recipes.saved_models import refusal_of_models

    return refusal_of_models(folder)


@pytest.mark.toolchain
@pytest.mark.parametrize(
    "operator", ["ReadFile", "WriteFile", "PyFunc", "PrintV2", "SaveV2", "InitializeTableFromTextFileV2"]
)
def test_a_graph_that_reaches_beyond_itself_is_refused_by_name(operator: str, tmp_path: Path) -> None:
    said = in_tensorflow(_refusal, operator, str(tmp_path))
    assert said.startswith("model.checkpoint: saved: its graph has operators that a model does not need")
    assert f": {operator}. It was not loaded" in said


@pytest.mark.toolchain
def test_models_are_taken(tmp_path: Path) -> None:
    """Their own functions that save and restore are no reason to refuse them."""
    assert in_tensorflow(_refusals_of_models, str(tmp_path)) == [""] * 5
