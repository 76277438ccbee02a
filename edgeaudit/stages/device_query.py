"""artifact + device + records -> responses: like `Query`, on a device other than this machine."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgeaudit.agent import RUNTIMES
from edgeaudit.devices.device_runtime import MODEL, DeviceRuntime, on_device
from edgeaudit.devices.querying import QueryBudget, QueryPolicy, one_at_a_time
from edgeaudit.devices.registry import find_transport
from edgeaudit.endpoint import Endpoint
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.graph.job import Context, Cost, content_key, unkeyed
from edgeaudit.population.base import Population
from edgeaudit.runtimes.base import Runtime
from edgeaudit.stages.query import BlockQuery, DeviceFacts, FloatArray, Query, QueryResult

if TYPE_CHECKING:
    from edgeaudit.stages.equivalence import Equivalence

__all__ = ["DevicePolicy", "DeviceQuery", "StandIn"]

_BLOCK = 256
"""Records per query; a block whose answers are lost with the device is queried again."""


_DIGEST = 32
"""Bytes of a SHA-256."""


@dataclass(frozen=True)
class DevicePolicy:
    """How a device is queried, on which no answer depends.

    queries: rate, retries, limits. budget: name of the file that counts the queries. exclusive: at most one job may
    query the device at a time.
    """

    queries: QueryPolicy
    budget: str
    exclusive: bool


@dataclass(frozen=True)
class StandIn:
    """Use of this machine's query in place of a device's, if the comparison shows that answers are identical.

    regardless: also if it does not.
    """

    native: Query
    equivalence: Equivalence
    regardless: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class DeviceQuery(Query):
    """Query an artifact on a device. See `Query`.

    machine: the device's facts that affect a runtime's answers. endpoint: how to reach it. policy: how to query it.
    stand_in: for models that need not be queried there. checked: a query on this machine that runs first, so that a
    wrong file is rejected there. device: its name, for display.
    """

    endpoint: Endpoint
    stand_in: StandIn | None = None
    policy: DevicePolicy = unkeyed()
    checked: Query | None = unkeyed(None)
    device: str = unkeyed("")

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"query {self.format} on {self.device} {self.role}"

    @property
    def confined(self) -> bool:
        """See `Job`. The device opens the file, and is reached over the network."""
        return False

    @property
    def isolation(self) -> str:
        """The runtime's package is imported on the device, not here."""
        return "torch"

    def code(self) -> tuple[str, ...]:
        """The runtime, the agent that serves it, and the transport."""
        runtime, _ = RUNTIMES[self.runtime]
        return (runtime, "edgeaudit.agent.main", type(find_transport(self.endpoint)).__module__)

    def packages(self) -> tuple[str, ...]:
        """None: the device's packages are in `versions`."""
        return ()

    def cost(self) -> Cost:
        """Grouped by runtime, options, format and device; jobs with a stand-in take another time."""
        where = [self.endpoint.via, self.endpoint.profile or "", self.stand_in is not None]
        # Starting an agent under emulation, and some hundred records of a small model.
        return Cost((self.population.key, self.runtime, dict(self.options), self.format, where), 12.0)

    def run(self, context: Context) -> QueryResult:
        """See the class. A model with a stand-in is not queried if this machine's answers are identical."""
        native = self._stood_in(context)
        if native is None:
            return super().run(context)
        return replace(context.read(native), queries=0, check_records=0, stood_in=True)

    def _stood_in(self, context: Context) -> Query | None:
        stand_in = self.stand_in
        if stand_in is None or not (stand_in.regardless or context.read(stand_in.equivalence).identical):
            return None
        return stand_in.native

    def answered_by(self, context: Context) -> Query:
        """See `Query`."""
        return self._stood_in(context) or self

    @contextmanager
    def serve(
        self, context: Context, artifact: Artifact, options: Mapping[str, object] | None = None
    ) -> Iterator[Runtime]:
        """See `Query`. The device is queried according to the policy, under a lock if it is exclusive."""
        folder, policy = context.store.devices(), self.policy
        with ExitStack() as stack:
            if policy.exclusive:
                lock = content_key("device", {"via": self.endpoint.via})
                stack.enter_context(one_at_a_time(folder / f"{lock}.lock"))
            budget = QueryBudget(folder / f"{policy.budget}.json", context.key, policy.queries)
            kind = on_device(self.endpoint, self.runtime, policy.queries, budget)
            runtime = kind(artifact, self.options if options is None else options)
            stack.callback(runtime.close)
            yield runtime

    def _query_in_blocks(self, context: Context, runtime: Runtime, population: Population) -> BlockQuery:
        return _StoredBlocks(context.store.partial(*self.ref, [need.ref for need in self.needs]), runtime, population)

    def _device_facts(self, runtime: Runtime, ask: BlockQuery) -> DeviceFacts | None:
        if not isinstance(runtime, DeviceRuntime):
            return None
        session = runtime.session
        return DeviceFacts(
            fingerprint=session.inner.fingerprint(),
            engaged=tuple(runtime.engaged()),
            engines=tuple(session.facts(MODEL).get("engines", ())),
            queried=session.queried,
            restored=session.restored,
            resumed=ask.resumed if isinstance(ask, _StoredBlocks) else 0,
        )


class _StoredBlocks:
    """Queries in blocks that are stored until the job is done, so that a lost device costs one block.

    resumed: records with stored answers of an earlier attempt.
    """

    def __init__(self, folder: Path, runtime: Runtime, population: Population) -> None:
        self._folder, self._runtime, self._population = folder, runtime, population
        self._step = max(1, _BLOCK // runtime.batch) * runtime.batch
        self.resumed = 0

    def __call__(self, name: str, ids: npt.NDArray[np.int64]) -> FloatArray:
        """See `BlockQuery`."""
        return np.concatenate([self._block(name, start, ids) for start in range(0, len(ids), self._step)])

    def _block(self, name: str, start: int, ids: npt.NDArray[np.int64]) -> FloatArray:
        path = self._folder / f"{name}-{self._step}-{start}.block"
        if (stored := _whole(path)) is not None:
            self.resumed += len(stored)
            return stored
        answers = self._runtime.query(self._population.take(ids[start : start + self._step]))
        _save_whole(path, answers)
        return answers


def _save_whole(path: Path, values: FloatArray) -> None:
    """An .npy behind its SHA-256."""
    draft, written = path.with_suffix(f".{os.getpid()}"), io.BytesIO()
    np.save(written, values)
    draft.write_bytes(hashlib.sha256(written.getbuffer()).digest() + written.getbuffer())
    draft.replace(path)


def _whole(path: Path) -> FloatArray | None:
    """The answers that `_save_whole` wrote; None where there are none or they are damaged: ask anew."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, written = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(written).digest() != digest:
        return None
    values: FloatArray = np.load(io.BytesIO(written), allow_pickle=False)
    return values
