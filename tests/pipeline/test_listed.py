"""Which single records a report lists, by `report.records`."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgeaudit.config.report import RecordsShown
from edgeaudit.errors import SpecError
from edgeaudit.leakage.rows import ClaimedRecord, ExposedRecord
from edgeaudit.pipeline.listed import MOST_THUMBNAILS, listed, require_images, thumbnails
from edgeaudit.population.base import Population


@dataclass(frozen=True)
class Stored:
    """A population of images."""

    x: npt.NDArray[Any]
    names: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.x.shape[1:]

    def as_stored(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        return self.x[ids]


def stored(x: npt.NDArray[Any], *names: str) -> Population:
    return cast("Population", Stored(x, names))


def exposed(record: int, rank: int) -> ExposedRecord:
    return ExposedRecord("f", "local", rank, record, 0, 1.0, None, member=True)


def claimed(record: int) -> ClaimedRecord:
    return ClaimedRecord(record, 0, 0.001, 0.01, 0.02, None, member=True, calibrated=False)


def decoded(uri: str) -> Image.Image:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


@pytest.mark.parametrize(
    ("shown", "expected"),
    [("none", []), ("ids", [(1, None)]), ("names", [(1, "b.png")]), ("thumbnails", [(1, "b.png")])],
)
def test_rows_have_what_was_asked_for(shown: RecordsShown, expected: list[tuple[int, str | None]]) -> None:
    population = stored(np.zeros((2, 1, 4, 4), np.uint8), "a.png", "b.png")
    rows: tuple[ExposedRecord | ClaimedRecord, ...] = (exposed(1, 1), claimed(1))
    for row in rows:
        assert [(one.record, one.name) for one in listed([row], population, shown)] == expected  # type: ignore[type-var]


def test_records_without_names_have_none() -> None:
    population = stored(np.zeros((2, 1, 4, 4), np.uint8))
    assert listed([exposed(1, 1)], population, "names") == [exposed(1, 1)]


@pytest.mark.parametrize("shown", ["none", "ids", "names"])
def test_images_are_shown_only_if_they_are_asked_for(shown: RecordsShown) -> None:
    population = stored(np.zeros((2, 1, 4, 4), np.uint8))
    assert thumbnails([claimed(0)], [exposed(1, 1)], population, shown) == []
    assert thumbnails([], [], population, "thumbnails") == []


def test_pixels_are_those_of_the_record() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (3, 3, 4, 6), dtype=np.uint8)
    (one,) = thumbnails([claimed(2)], [], stored(x), "thumbnails")
    np.testing.assert_array_equal(np.asarray(decoded(one.image)), x[2].transpose(1, 2, 0))


def test_other_types_are_scaled_by_the_images_that_are_shown() -> None:
    # From -1 to 3 by quarters of the range: 0, 64, 128, 191, 255 of 255, rounded to even (63.75 -> 64, 127.5 -> 128).
    x = np.array([[-1.0, 0.0, 1.0, 2.0, 3.0, np.nan], [9.0] * 6]).reshape(2, 1, 2, 3)
    (one,) = thumbnails([], [exposed(0, 1)], stored(x), "thumbnails")
    # nan is 0, as the second value
    assert np.asarray(decoded(one.image)).ravel().tolist() == [0, 64, 128, 191, 255, 64]
    (flat,) = thumbnails([], [exposed(1, 1)], stored(x), "thumbnails")
    assert np.asarray(decoded(flat.image)).ravel().tolist() == [0] * 6


def test_large_images_are_made_small_and_there_are_at_most_twenty() -> None:
    x = np.zeros((60, 1, 200, 100), np.uint8)
    rows = [exposed(n, n + 1) for n in reversed(range(40))]
    found = thumbnails([claimed(50), claimed(7)], rows, stored(x), "thumbnails")
    # Claimed ones first, then by rank, each once.
    assert [one.record for one in found] == [50, 7, *(n for n in range(20) if n != 7)][:MOST_THUMBNAILS]
    assert len(found) == 20
    assert decoded(found[0].image).size == (32, 64)


@pytest.mark.parametrize("shape", [(13,), (5, 4, 4), (100, 6)])
def test_records_that_are_no_images_have_no_thumbnails(shape: tuple[int, ...]) -> None:
    population = stored(np.zeros((2, *shape), np.float32))
    with pytest.raises(SpecError, match=r"report.records: thumbnails are of images with 1 or 3 channels"):
        require_images(population, "thumbnails")
    require_images(population, "names")
