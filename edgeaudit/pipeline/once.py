"""Jobs that several formats need are created once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar, cast

from edgeaudit.graph.executor import AnyJob
from edgeaudit.graph.job import Ref

__all__ = ["Once"]

J = TypeVar("J", bound=AnyJob)


class Once:
    """Creates jobs on first use and adds them to a plan, so that each key is computed once.

    jobs: of the plan, in the order of their creation.
    """

    def __init__(self, jobs: dict[Ref, AnyJob]) -> None:
        self._jobs = jobs
        self._created: dict[tuple[type[AnyJob], Hashable], AnyJob] = {}

    def __call__(self, stage: type[J], about: Hashable, create: Callable[[], J]) -> J:
        """The job of `stage` about `about`; if there is none yet, that of `create`.

        Jobs about different things may have the same key, for example of two formats with the same passes. The first
        of them stands for all.
        """
        if (stage, about) not in self._created:
            job = create()
            self._created[stage, about] = self._jobs.setdefault(job.ref, job)
        return cast("J", self._created[stage, about])  # jobs of different stages have different keys
