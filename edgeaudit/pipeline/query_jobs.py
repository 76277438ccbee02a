"""Jobs that query model files, here and on devices, and that examine the first target's: size and latency."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import replace

from edgeaudit.config.formats import FormatUse
from edgeaudit.endpoint import LOCAL
from edgeaudit.formats.presets import Format
from edgeaudit.pipeline.device_plan import DevicePlan
from edgeaudit.pipeline.inputs import PlanInputs
from edgeaudit.pipeline.model_jobs import ModelJobs
from edgeaudit.pipeline.once import Once
from edgeaudit.population.base import TARGET, Role
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.adopt import Adopt
from edgeaudit.stages.artifacts import ArtifactJob
from edgeaudit.stages.device_query import DeviceQuery, StandIn
from edgeaudit.stages.equivalence import Equivalence, ShadowProbe
from edgeaudit.stages.file_traits import ReadTraits
from edgeaudit.stages.inspect import Inspect
from edgeaudit.stages.latency import Latency
from edgeaudit.stages.query import Query

__all__ = ["QueryJobs", "equivalence_of"]

_BATCHES = (1, 32)


class QueryJobs:
    """Plans the answers of any model in any format on any device. devices: those other than this machine, by name."""

    def __init__(self, inputs: PlanInputs, models: ModelJobs, once: Once) -> None:
        self._inputs, self._models, self._once = inputs, models, once
        self.devices = {
            name: DevicePlan.of(name, device, inputs.drawn)
            for name, device in inputs.spec.devices.items()
            if not device.is_local
        }

    def answers(self, role: Role, use: FormatUse, resolved: Format, device: str) -> Query:
        """The query of a model, after the jobs that make its file.

        On a device other than this machine, targets are always queried there; other models only if this machine's
        answers differ.
        """
        source = self._models.artifact(role, use, resolved)
        if device == LOCAL:
            return self._query(role, source, use, resolved)
        place = self.devices[device]
        if role in self._inputs.targets or place.spec.shadows == "device":
            return self._device_query(role, source, use, resolved, place, None)
        native = self._query(role, source, use, resolved)
        equivalence = self._equivalence(role, source, native, use, resolved, place)
        stand_in = StandIn(native, equivalence, place.spec.shadows == "native")
        return self._device_query(role, source, use, resolved, place, stand_in)

    def inspect(self, use: FormatUse, resolved: Format, source: ArtifactJob) -> Inspect:
        """Sizes of an artifact."""
        return self._once(
            Inspect,
            source.ref,
            lambda: Inspect(
                source=source,
                filetype=find_runtime(resolved.runtime).spec.serves,
                compressor=zlib.ZLIB_RUNTIME_VERSION,
                format=use.id,
            ),
        )

    def traits(self, use: FormatUse, resolved: Format, source: ArtifactJob) -> ReadTraits:
        """How an artifact's file was made."""
        filetype = find_runtime(resolved.runtime).spec.serves
        return self._once(ReadTraits, source.ref, lambda: ReadTraits(source=source, filetype=filetype, format=use.id))

    def latency(self, resolved: Format, device: str, query: Query) -> Latency | None:
        """Time calls of the query's artifact, if audit.yaml requests it."""
        place = None if device == LOCAL else self.devices[device]
        timed = find_runtime(resolved.runtime).spec.timed_here if place is None else place.timed
        quality = self._inputs.spec.quality
        if not quality.latency or not timed:
            return None
        return self._once(
            Latency,
            query.ref,
            lambda: Latency(
                population=self._inputs.drawn,
                query=query,
                machine=self._inputs.machine if place is None else {"device": device},
                batches=_BATCHES,
                fixed_batch=resolved.batch,
                repetitions=quality.repetitions,
                alone=place is None,
                device="" if place is None else device,
            ),
        )

    def _query(self, role: Role, source: ArtifactJob, use: FormatUse, resolved: Format) -> Query:
        runtime = find_runtime(resolved.runtime).spec
        foreign = isinstance(source, Adopt)
        return self._once(
            Query,
            (source.ref, use.id),
            lambda: Query(
                population=self._inputs.drawn,
                source=source,
                role=role,
                runtime=resolved.runtime,
                options=runtime.options(resolved.runtime_options),
                # None: the trained model of a foreign file is unknown.
                tolerance=None if foreign else resolved.tolerance,
                range_tolerance=None if foreign else resolved.range_tolerance,
                versions=runtime.versions(),
                machine=self._inputs.machine,
                may_be_at_chance=role == TARGET and self._models.target_is_built_in(use),
                format=use.id,
            ),
        )

    def _device_query(
        self,
        role: Role,
        source: ArtifactJob,
        use: FormatUse,
        resolved: Format,
        place: DevicePlan,
        stand_in: StandIn | None,
    ) -> DeviceQuery:
        """Query on a device. stand_in: a possible substitute, and the comparison that decides."""
        checked = None
        if stand_in is None and role in self._inputs.targets and not isinstance(source, Adopt):
            checked = self._query(role, source, use, resolved)
        return self._once(
            DeviceQuery,
            (source.ref, use.id, place.name),
            lambda: replace(
                place.query(self._inputs.drawn, source, role, use, resolved, stand_in, checked),
                may_be_at_chance=role == TARGET and self._models.target_is_built_in(use),
            ),
        )

    def _equivalence(
        self, role: Role, source: ArtifactJob, native: Query, use: FormatUse, resolved: Format, place: DevicePlan
    ) -> Equivalence:
        """Compare this machine with a device, on the first target and the first other model."""
        forced = place.spec.shadows == "native"

        def create() -> Equivalence:
            device_query = self.answers(TARGET, use, resolved, place.name)
            shadow = None
            if not (place.spec.is_server or forced):
                there = place.query(self._inputs.drawn, source, role, use, resolved, None, None)
                shadow = ShadowProbe(native, there, place.spec.probe_records)
            return Equivalence(
                population=self._inputs.drawn,
                native=self._query(TARGET, device_query.source, use, resolved),
                device_query=device_query,
                shadow=shadow,
                required=place.spec.is_server and not forced,
                format=use.id,
                device=place.name,
            )

        return self._once(Equivalence, (use.id, place.name), create)


def equivalence_of(queries: Iterable[Query]) -> Equivalence | None:
    """The comparison that decides where models are queried, of all models in one format on one device."""
    stand_ins = (query.stand_in for query in queries if isinstance(query, DeviceQuery))
    return next((stand_in.equivalence for stand_in in stand_ins if stand_in is not None), None)
