"""Which jobs are confined: every one that opens a file of others, and none that runs the user's own code."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import edgeaudit.stages
from edgeaudit.config.data import DataSpec
from edgeaudit.graph.job import Job
from edgeaudit.population.registry import SOURCES
from edgeaudit.recipes.base import Recipe
from edgeaudit.settings import Settings
from edgeaudit.stages.adopt import Adopt
from edgeaudit.stages.compress import Compress
from edgeaudit.stages.device_query import DeviceQuery
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query
from edgeaudit.stages.train import SourceFile, Train

FILE = SourceFile("0" * 64, {"model.data": "1" * 64}, Path("folder/model.onnx"))


def _drawn(**keys: Any) -> DrawPopulation:
    return DrawPopulation(content={"source": "x"}, seed=0, data=DataSpec.model_validate(keys))


def _train(recipe: str = "mlp", checkpoint: SourceFile | None = FILE, train: str | None = None) -> Train:
    made = Recipe(recipe, (3,), 2, train_function=train)
    return Train(population=_drawn(), role="target", seed=0, recipe=made, check=128, checkpoint=checkpoint)


def _adopt() -> Adopt:
    return Adopt(
        population=_drawn(), file=FILE, runtime="onnxruntime", options=Settings({}), batch_given=False,
        softmax="detect", outputs=None, accuracy=None, train_accuracy=None, versions={}, machine={},
    )  # fmt: skip


def _query(source: Any, kind: type[Query] = Query, **more: Any) -> Query:
    return kind(
        population=_drawn(), source=source, role="target", runtime="onnxruntime", options=Settings({}), tolerance=None,
        range_tolerance=None, versions={}, machine={}, **more,
    )  # fmt: skip


def _stages() -> list[type[Job[Any]]]:
    names = [module.name for module in pkgutil.iter_modules(edgeaudit.stages.__path__, "edgeaudit.stages.")]
    found = {one for name in names for _, one in inspect.getmembers(import_module(name), inspect.isclass)}
    return sorted(
        (one for one in found if issubclass(one, Job) and one.__module__ in names), key=lambda one: one.__name__
    )


OPENING = {
    # A file or data outside of the store,
    "Adopt", "DrawPopulation", "ExamineFile", "FileJob", "ReadArchitecture", "ReadFile", "ReadNames", "Train",
    "ReadJob",
    # an artifact, which may be a file of others,
    "Inspect", "Query", "ReadTraits",
    # or what a query opens.
    "BoundaryDistance", "CanaryQuery", "Latency", "View",
}  # fmt: skip
NOT_OPENING = {
    "Compress": "its source is a model that was trained here, or read by Train",
    "DeviceQuery": "the device opens the file, and is reached over the network",
    "Equivalence": "compares stored answers",
    "MeasureCanaries": "reads stored answers",
    "Trajectory": "reads stored answers and trains a student",
}


def test_every_stage_that_takes_a_file_or_data_decides_whether_it_is_confined() -> None:
    """A new stage with such a field appears here, and belongs in one of the two lists."""
    taking = set()
    for stage in _stages():
        hints = {name: str(hint) for name, hint in get_type_hints(stage).items()}
        if any("SourceFile" in hint or "DataSpec" in hint for hint in hints.values()) or any(
            name in ("source", "query", "native") and ("Job" in hint or "Query" in hint) for name, hint in hints.items()
        ):
            taking.add(stage.__name__)
    assert taking >= OPENING - {"FileJob"}
    assert taking <= OPENING | set(NOT_OPENING)
    deciding = {stage.__name__ for stage in _stages() if stage.confined is not Job.confined}
    assert deciding == OPENING | {"DeviceQuery"}


def test_files_of_others_are_confined_wherever_they_are_opened() -> None:
    adopted = _adopt()
    assert adopted.confined
    assert list(adopted.opens()) == [Path("folder/model.onnx"), Path("folder/model.data")]
    assert _query(adopted).confined
    assert not _query(_train(checkpoint=None)).confined
    assert not _query(adopted, DeviceQuery, endpoint=None, policy=None).confined
    made = Compress(
        population=_drawn(), source=_train(), role="target", seed=0, step="onnx.export", params=Settings({}),
        calibration=None, check=128, versions={}, source_tolerance=None,
    )  # fmt: skip
    assert not made.confined
    assert not _query(made).confined


@pytest.mark.parametrize(
    ("recipe", "train", "confined"),
    [
        ("mlp", None, True),
        ("keras:cnn", None, True),
        ("keras:checkpoint", None, True),
        ("timm:resnet18", None, True),
        ("torchvision:resnet18", None, True),
        ("my_models:build", None, False),
        ("keras:my_models:build", None, False),
        ("mlp", "my_models:train", False),
    ],
)
def test_checkpoints_are_confined_unless_the_users_module_builds_the_model(
    recipe: str, train: str | None, confined: bool
) -> None:
    assert _train(recipe, FILE, train).confined is confined
    assert not _train(recipe, None, train).confined  # nothing of others is opened


@pytest.mark.parametrize(
    ("keys", "confined"),
    [
        ({"source": "digits"}, False),
        ({"source": "my_data:load"}, False),
        ({"source": "torchvision:CIFAR10", "path": "x"}, True),
        ({"source": "torchvision:CIFAR10", "path": "x", "options": {"download": True}}, False),
        ({"source": "npz", "path": "x.npz", "groups": "person"}, True),
        ({"source": "npz", "path": "x.npz", "groups": "my_data:people"}, False),
        ({"source": "npz", "path": "x.npz", "slices": {"age": "my_data:age"}}, False),
    ],
)
def test_data_is_confined_unless_the_users_code_reads_it_or_it_is_downloaded(
    keys: dict[str, Any], confined: bool
) -> None:
    assert _drawn(**keys).confined is confined


def test_every_source_of_ours_that_reads_files_is_confined() -> None:
    ours = {name for name in SOURCES.names() if SOURCES.module(name).startswith("edgeaudit.")}
    assert {name for name in ours if not _drawn(source=name).confined} == {"digits"}
    assert {"npz", "csv", "parquet", "wav", "folder", "arrow"} <= ours
    two = _drawn(source="npz", members={"path": "a.npz"}, nonmembers={"path": "b.npz"})
    assert list(two.opens()) == [Path("a.npz"), Path("b.npz")]


def test_being_confined_is_no_part_of_a_key() -> None:
    assert "confined" not in str(_adopt().about())
