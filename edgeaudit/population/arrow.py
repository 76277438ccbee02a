"""Hugging Face data sets on disk, as `Dataset.save_to_disk` writes them."""

from __future__ import annotations

from typing import Any, ClassVar

from edgeaudit.errors import DataError, MissingToolchain
from edgeaudit.population.functions import raw_of_columns
from edgeaudit.population.raw import Raw
from edgeaudit.population.sources import Source, SourceSpec, content_sha256

__all__ = ["Arrow"]


class Arrow(Source):
    """A folder of `save_to_disk`. data.options: `x`, `y`, the columns of records and labels; `split` of several."""

    spec: ClassVar[SourceSpec] = SourceSpec(
        "arrow", "a Hugging Face data set on disk (save_to_disk)", needs_path=True, options=("x", "y", "split")
    )

    @property
    def name(self) -> str:
        """See `Source.name`."""
        return f"arrow:{self.path.name}"

    def fingerprint(self) -> str:
        """See `Source.fingerprint`."""
        return content_sha256(self.path)

    def read(self) -> Raw:
        """See `Source.read`."""
        try:
            import datasets
        except ImportError:
            raise MissingToolchain("data.source 'arrow'", "datasets", "huggingface") from None
        where, options = self.use.where, self.use.options
        try:
            found: Any = datasets.load_from_disk(str(self.path))
        except (OSError, ValueError, KeyError) as exc:
            raise DataError(
                f"{where}: {self.path} cannot be read as a data set on disk: {exc}. Write it with "
                "dataset.save_to_disk(folder)"
            ) from exc
        split = options.get("split")
        if isinstance(found, datasets.DatasetDict):
            names = ", ".join(found)
            if str(split) not in found:
                which = f"has no split '{split}'" if split is not None else "has several splits"
                raise DataError(f"{where}: {self.path} {which}; set data.options: {{split: ...}} to one of {names}")
            found = found[str(split)]
        elif split is not None:
            raise DataError(f"{where}: {self.path} has no splits; remove data.options.split")
        x, y = (None if options.get(key) is None else str(options[key]) for key in ("x", "y"))
        return raw_of_columns(found, f"{where}: {self.path}", x, y)
