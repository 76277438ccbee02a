"""What functions of users return: arrays, tensors, frames, data sets and loaders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from edgeaudit.config.data import DataSpec
from edgeaudit.errors import DataError
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population
from edgeaudit.population.functions import raw_of_result
from edgeaudit.population.raw import Table

X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
Y = np.arange(20) % 3


class Rows(torch.utils.data.Dataset[Any]):
    """A map-style data set. noise: added to a record whenever it is read. as_mapping: records as mappings."""

    def __init__(self, noise: float = 0, *, as_mapping: bool = False) -> None:
        self.noise, self.as_mapping, self.classes = noise, as_mapping, ["ant", "bee", "cow"]

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> Any:
        x = torch.tensor(X[i]) + self.noise * torch.randn(4)
        return {"image": x, "label": int(Y[i])} if self.as_mapping else (x, torch.tensor(Y[i]))


class Stream(torch.utils.data.IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(zip(torch.tensor(X), Y.tolist(), strict=True))


FORMS: dict[str, Callable[[], Any]] = {
    "pair": lambda: (X, Y),
    "list": lambda: [X, Y],
    "lists": lambda: (X.tolist(), Y.tolist()),
    "mapping": lambda: {"x": X, "y": Y},
    "other names": lambda: {"data": X, "target": Y},
    "tensors": lambda: (torch.tensor(X), torch.tensor(Y)),
    "with a gradient": lambda: (torch.tensor(X, requires_grad=True), torch.tensor(Y)),
    "list of tensors": lambda: (list(torch.tensor(X)), list(torch.tensor(Y))),
    "sparse tensor": lambda: (torch.tensor(X).to_sparse(), torch.tensor(Y)),
    "sparse matrix": lambda: (scipy.sparse.csr_array(X), Y),
    "frame": lambda: (pd.DataFrame(X), pd.Series(Y)),
    "data set": Rows,
    "data set of mappings": lambda: Rows(as_mapping=True),
    "loader": lambda: torch.utils.data.DataLoader(Rows(), batch_size=8),
    "shuffled loader": lambda: torch.utils.data.DataLoader(Rows(), batch_size=8, shuffle=True, drop_last=True),
    "iterable data set": Stream,
    "loader of an iterable data set": lambda: torch.utils.data.DataLoader(Stream(), batch_size=8),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_usual_form_gives_the_same_records_in_the_same_order(form: str) -> None:
    found = raw_of_result(FORMS[form](), "f")
    assert isinstance(found.x, np.ndarray)
    assert np.allclose(found.x, X)
    assert found.y.ravel().tolist() == Y.tolist()


def test_bfloat16_is_read_as_float32() -> None:
    found = raw_of_result((torch.tensor(X).bfloat16(), torch.tensor(Y)), "f")
    assert isinstance(found.x, np.ndarray)
    assert found.x.dtype == np.float32
    assert np.allclose(found.x, X, rtol=2**-7)


def test_a_data_set_names_its_classes() -> None:
    assert raw_of_result(Rows(), "f").classes == ("ant", "bee", "cow")


def test_categorical_labels_and_a_frame_with_texts() -> None:
    frame = pd.DataFrame(X, columns=list("abcd")).assign(city=np.array(["Bern", "Oslo"])[Y % 2])
    found = raw_of_result((frame, pd.Series(np.array(["no", "yes", "maybe"])[Y], dtype="category")), "f")
    assert isinstance(found.x, Table)
    assert list(found.x.columns) == ["a", "b", "c", "d", "city"]
    assert found.y.tolist() == np.array(["no", "yes", "maybe"])[Y].tolist()


def test_a_third_value_is_the_column_of_groups_and_a_mapping_may_have_more() -> None:
    assert raw_of_result((X, Y, np.arange(20) // 4), "f").columns["groups"].tolist() == (np.arange(20) // 4).tolist()
    assert list(raw_of_result({"x": X, "y": Y, "person": Y}, "f").columns) == ["person"]


def test_columns_are_named_where_there_is_no_such_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "grouped_source.py").write_text(
        "import numpy as np\n\n\ndef load():\n"
        "    return np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2, np.arange(40) // 4\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = DataSpec(source="grouped_source:load", members=8, nonmembers=8, groups="groups")
    build_population(spec, 0, tmp_path)
    assert Population(tmp_path).groups.tolist() == [i // 4 * 4 for i in range(40)]
    with pytest.raises(DataError, match=r"data\.groups: there is no column 'group'\. Did you mean 'groups'\?"):
        build_population(spec.model_copy(update={"groups": "group"}), 0, tmp_path)


def test_a_data_set_that_answers_differently_when_read_again_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"record 0 of the data set is another one when it is read again: remove random"
    ):
        raw_of_result(Rows(noise=1), "f")


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            ((X[:, :2], X[:, 2:]), Y),
            r"records for 2 inputs \(of shape \(2,\) and \(2,\)\), and a model may have one input",
        ),
        (({"acc": X, "gyro": X, "magnet": X}, Y), "records for 3 inputs"),
        ([((torch.zeros(3, 2), torch.zeros(4)), 0)] * 3, r"of shape \(3, 2\) and \(4,\)"),
        (X, r"must return \(x, y\), .*; it returned ndarray"),
        (None, "it returned NoneType"),
        ((X, Y, Y, Y), "it returned 4 values"),
        ({"a": X}, "it returned a mapping with a"),
        (([[0.0], [1.0, 2.0]], [0, 1]), r"all records must have the same shape; they have 2 shapes, \(1,\) to \(2,\)"),
    ],
)
def test_other_results_are_refused_with_what_is_expected(result: Any, message: str) -> None:
    # A list of pairs stands for a data set here, which a plain list is not: it may be [x, y].
    with pytest.raises(DataError, match=message):
        raw_of_result(_DataSet(result) if isinstance(result, list) else result, "f")


class _DataSet:
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]
