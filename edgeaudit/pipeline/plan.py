"""The plan: a graph of content-addressed jobs, made from the spec before anything runs."""

from __future__ import annotations

import math
import secrets
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from edgeaudit.attacks.hop_skip_jump import least_queries
from edgeaudit.attacks.registry import find_attack
from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.exposures import require_levels_fit
from edgeaudit.config.formats import FormatUse
from edgeaudit.config.model import ModelSpec
from edgeaudit.config.views import require_views_fit
from edgeaudit.devices.transport import LOCAL
from edgeaudit.errors import SpecError, SplitError
from edgeaudit.exporters import Pass, find_pass
from edgeaudit.filetypes.artifact import file_sha256
from edgeaudit.formats.presets import FORMATS, REFERENCES, Format, PassUse
from edgeaudit.formats.resolve import find_format
from edgeaudit.graph.job import Job, JobRef
from edgeaudit.graph.store import content_key
from edgeaudit.host.fingerprint import local_fingerprint
from edgeaudit.host.packages import package_versions
from edgeaudit.pipeline.device_plan import DevicePlan, require_devices
from edgeaudit.population import HALF, NULL, SHADOW, TARGET, Population, Role, numbered
from edgeaudit.recipes.base import Recipe, Training, source_digest
from edgeaudit.recipes.frameworks import framework_of
from edgeaudit.recipes.keras_checkpoint import checkpoint_digest, checkpoint_options, require_checkpoint_fits
from edgeaudit.runtimes.base import Runtime
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.trajectory import records_to_distil

__all__ = ["TRACED", "FormatPlan", "Plan", "make_plan", "nonce", "population_job", "preflight"]

TRACED = {"boundary": "label-only", "trajectory": "loss-trajectory"}
"""A kind of job that asks or trains once more, and the attack that it is made for, where `attacks` names that."""

FLOOR = 1 / 512
"""Probability floor of every format that is compared: half the step of an int8 softmax output, 1/256."""

_BOUNDARY_CODE = (
    "edgeaudit.stages.boundary", "edgeaudit.attacks.hop_skip_jump", "edgeaudit.population.views",
    "edgeaudit.stages.serving", "edgeaudit.attacks.trace_files",
)  # fmt: skip
_TRAJECTORY_CODE = (
    "edgeaudit.stages.trajectory", "edgeaudit.attacks.trace_files", "edgeaudit.stages.train",
    "edgeaudit.attacks.signals", "edgeaudit.recipes",
)  # fmt: skip
_LEAST_DISTILLED = 20
_ADOPTION_CODE = (
    "edgeaudit.stages.adopt", "edgeaudit.runtimes.base", "edgeaudit.filetypes.artifact",
    "edgeaudit.population.preprocessing",
)  # fmt: skip
_Made = TypeVar("_Made")

_BATCHES = (1, 32)
_EQUIVALENCE_CODE = ("edgeaudit.stages.equivalence", "edgeaudit.leakage.differing")
_INSPECT_CODE = ("edgeaudit.stages.inspect", "edgeaudit.quality.size", "edgeaudit.quality.weights")
_LATENCY_CODE = ("edgeaudit.stages.latency", "edgeaudit.quality.latency")
_VIEW_CODE = (
    "edgeaudit.stages.view",
    "edgeaudit.population.views",
    "edgeaudit.stages.serving",
    "edgeaudit.config.views",
)
_EXPOSURE_CODE = ("edgeaudit.stages.weaken", "edgeaudit.config.exposures")


@dataclass(frozen=True)
class FormatPlan:
    """One format's jobs on one device: the first target's artifact and query, the shadows' queries, measurements.

    device: its name in audit.yaml. measures: by shadow match.
    inspect, latency: what the first target's artifact costs; latency is None where nothing is timed.
    exposures: what the first measurement's answers tell at each weaker level, by its name.
    equivalence: the comparison with this machine that decides where shadows are asked.
    """

    use: FormatUse
    format: Format
    device: str
    artifact: JobRef
    target_query: JobRef
    shadow_queries: tuple[JobRef, ...]
    measures: Mapping[str, JobRef]
    inspect: JobRef
    latency: JobRef | None
    exposures: Mapping[str, JobRef] = field(default_factory=dict)
    equivalence: JobRef | None = None


@dataclass
class Plan:
    """All jobs, in an order in which they can run: the target's first, so that a bad format shows early.

    control: the job that compares members with nonmembers as records, where audit.yaml asks for it.
    """

    jobs: dict[JobRef, Job] = field(default_factory=dict)
    formats: list[FormatPlan] = field(default_factory=list)
    control: JobRef | None = None

    def comparison(self, done: Callable[[JobRef], bool]) -> Job | None:
        """The job that compares the measurements that could be made; None where there is none.

        It is planned last, when it is known which formats failed: the others are compared all the same.
        """
        made = [ref for planned in self.formats for ref in planned.measures.values() if done(ref)]
        if not made:
            return None
        first = self.jobs[made[0]].inputs
        heads = ("format", "device", "shadow_match")
        inputs = {
            "measures": [[{head: self.jobs[ref].inputs[head] for head in heads}, list(ref)] for ref in made],
            "exposures": [
                [{**{head: self.jobs[ref].inputs[head] for head in heads}, "level": level}, list(ref)]
                for planned in self.formats
                if next(iter(planned.measures.values())) in made
                for level, ref in planned.exposures.items()
                if done(ref)
            ],
            "exposure": first["exposure"],
            "targets": [role for role, _ in first["targets"]],
            "answers": [
                [
                    {"format": planned.use.id, "device": planned.device, "artifact": list(planned.artifact)},
                    list(planned.target_query),
                ]
                for planned in self.formats
                if done(planned.target_query)
            ],
            "headlines": [f"{name}/{v}" for name in first["attacks"] for v in find_attack(name).spec.headlines],
            **{key: first[key] for key in ("seed", "code", "versions")},
            "own_code": source_digest("edgeaudit.stages.compare", "edgeaudit.leakage.differing"),
        }
        exposed = (tuple(ref) for _, ref in (*inputs["exposures"], *inputs["answers"]))
        return Job("compare", inputs, (*made, *exposed), "compare formats, devices and attacks")

    def add(self, job: Job) -> JobRef:
        """Add a job once; jobs with equal inputs are the same job."""
        self.jobs.setdefault(job.ref, job)
        return job.ref


def preflight(spec: AuditSpec) -> None:
    """Refuse what cannot work before anything runs: formats that are none, missing toolchains (with their pip line)."""
    framework = framework_of(spec.model.recipe)
    if spec.recipe_known:
        require_checkpoint_fits(spec.model.recipe, spec.model.checkpoint)
        if framework.kind == "keras" and spec.model.precision != "float32":
            raise SpecError(
                f"model.precision: {spec.model.precision} is for torch recipes; Keras ones train in float32"
            )
        framework.versions()
    for use, found in [(use, find_format(use, framework.kind, spec.artifact_of(use))) for use in spec.formats]:
        if spec.threat.exposure == "logits" and any(p.params.get("softmax") == "inside" for p in found.passes):
            raise SpecError(
                f"formats: '{use.id}' answers with probabilities, from which threat.exposure: logits cannot be had"
            )
        for step in found.passes:
            find_pass(step.name).spec.versions()
        find_runtime(found.runtime).spec.versions()
    require_devices(spec, {use.id: find_format(use, framework.kind, spec.artifact_of(use)) for use in spec.formats})


def population_job(spec: AuditSpec, inputs: Mapping[str, Any] | None, nonce: str) -> Job:
    """The job that draws the population. A source whose content cannot be known beforehand is read in every run."""
    data = spec.data.model_dump(mode="json")
    key = dict(inputs) if inputs is not None else {"read": nonce}
    # A user's function may read its records with the framework of his recipe; torchvision needs torch.
    house = "torch" if spec.data.source.startswith("torchvision:") else framework_of(spec.model.recipe).house
    inputs = {"data": data, "seed": spec.seed, "depends": key}
    return Job("population", inputs, label="population", hints={"house": house})


def recipe_of(model: ModelSpec, population: Population) -> Recipe:
    """The recipe that audit.yaml describes, for this population's records."""
    settings = {name: getattr(model, name) for name in Training.__dataclass_fields__}
    options = {**model.options, **checkpoint_options(model.recipe, model.checkpoint)}
    return Recipe(
        model.recipe, population.input_shape, population.n_classes, options, Training(**settings), model.train
    )


def make_plan(spec: AuditSpec, population: Population, population_ref: JobRef, measure: Mapping[str, Any]) -> Plan:
    """Every job of the audit.

    measure: what the measurement jobs are told beside their responses (attacks and their settings); only they
    depend on it.
    Raises `SplitError` where the reference pool cannot feed the shadows, `SpecError` for an unknown format.
    """
    return _Planner(spec, population, population_ref).plan(measure)


class _Planner:
    def __init__(self, spec: AuditSpec, population: Population, population_ref: JobRef) -> None:
        self.spec = spec
        self.population = population
        self.population_ref = population_ref
        self.recipe = recipe_of(spec.model, population)
        self.framework = framework_of(self.recipe.name)
        kind = HALF if spec.threat.mode == "auditor" else SHADOW
        self.shadows = [f"{kind}-{k}" for k in range(spec.threat.shadows)]
        self.targets = numbered(TARGET, spec.targets)
        self.nulls = numbered(NULL, spec.null_targets)
        self.result = Plan()
        # Shared by every job that says the same, so that the graph stays small at many shadows.
        self._shared: dict[str, Any] = {}
        self.devices = {
            name: DevicePlan(
                name,
                device,
                content_key("ledger", {"population": population_ref[1], "device": name, "via": device.via}),
            )
            for name, device in spec.devices.items()
            if not device.is_local
        }
        calibration = spec.data.calibration
        policies = {"disjoint", *(use.calibration or calibration.policy for use in spec.formats)}
        # Every trained model's answers on its calibration records, against which its artifacts are checked.
        self.check = dict.fromkeys(sorted(policies), calibration.records)
        self._require_pool()
        require_views_fit(spec.threat.views, population.input_shape)
        require_levels_fit(spec.threat.weaker, population.n_classes)

    def _require_pool(self) -> None:
        # Drawing the ids of one shadow and of the targets raises the error that names what is missing.
        if not self.spec.recipe_known:
            return
        for role in (*self.targets, *self.nulls, self.shadows[0]):
            for policy, count in self.check.items():
                self.population.calibration_ids(role, self.spec.seed, policy, count)

    def _once(self, name: str, make: Callable[[], _Made]) -> _Made:
        """The value under `name`, made at first use."""
        if name not in self._shared:
            self._shared[name] = make()
        made: _Made = self._shared[name]
        return made

    def plan(self, measure: Mapping[str, Any]) -> Plan:
        if self.spec.controls.shift and self.spec.target is None:
            self.result.control = self._control()
        found = {u.id: find_format(u, self.framework.kind, self.spec.artifact_of(u)) for u in self.spec.formats}
        served: dict[tuple[str, str, str], tuple[JobRef, JobRef]] = {}
        for role in (*self.targets, *self.nulls, *self.shadows):
            for use, device in self.spec.places:
                served[role, use.id, device] = self._serve(role, use, found[use.id], device)
        for use, device in self.spec.places:
            here = {role: served[role, use.id, device] for role in (*self.targets, *self.nulls, *self.shadows)}
            self.result.formats.append(self._place(use, found[use.id], device, here, measure))
        if self.spec.controls.shift and self.spec.target is not None:
            self.result.control = self._control()  # a file that cannot be read shows before records are compared
        self._require_budgets()
        return self.result

    def _place(
        self,
        use: FormatUse,
        found: Format,
        device: str,
        served: Mapping[Role, tuple[JobRef, JobRef]],
        measure: Mapping[str, Any],
    ) -> FormatPlan:
        """A format's jobs on one device, from the artifact and the query of every model."""
        queries = {role: query for role, (_, query) in served.items()}
        matched = tuple(queries[role] for role in self.shadows)
        asked = {role: queries[role] for role in (*self.targets, *self.nulls)}
        measures: dict[str, JobRef] = {}
        for match in self.spec.threat.shadow_match:
            shadows = matched if match == "matched" else self._reference_shadows()
            measures[match] = self._measure(use, device, asked, shadows, match, measure)
        # Other shadow matches are an ablation: what less of an answer is worth is said of the audit's own.
        first = next(iter(measures.values()))
        exposures = {level: self._exposure(first, level) for level in self.spec.threat.weaker}
        own = served[TARGET]
        cost = self._quality(use, found, device, *own)
        equivalence = self._shared.get(f"equivalence {use.id} {device}")
        return FormatPlan(use, found, device, *own, matched, measures, *cost, exposures, equivalence)

    def _reference_shadows(self) -> tuple[JobRef, ...]:
        """What the shadows' trained models answer, on this machine."""
        reference = FormatUse(format=REFERENCES[self.framework.kind])
        return tuple(self._serve(role, reference, FORMATS[reference.id], LOCAL)[1] for role in self.shadows)

    def _require_budgets(self) -> None:
        """Refuse a budget that the targets alone exceed: better before anything is trained."""
        check = max(self.check.values(), default=0)
        for name, planned in self.devices.items():
            asked = [use for use, device in self.spec.places if device == name]
            least = len(asked) * len(self.targets) * (len(self.population.queried) + check)
            most = planned.spec.max_queries
            if most is not None and least > most:
                raise SpecError(
                    f"devices.{name}.max_queries: the targets alone are asked about {least:,} records there, and "
                    f"{most:,} are allowed; audit fewer records or formats there"
                )

    def _control(self) -> JobRef:
        inputs = {
            "population": self.population_ref[1],
            "seed": self.spec.seed,
            "code": source_digest("edgeaudit.controls", "edgeaudit.leakage", "edgeaudit.stages.control"),
            "versions": {package: metadata.version(package) for package in ("numpy", "scipy", "scikit-learn")},
        }
        return self.result.add(Job("control", inputs, (self.population_ref,), "compare members with nonmembers"))

    def _serve(self, role: str, use: FormatUse, found: Format, device: str) -> tuple[JobRef, JobRef]:
        """Train, compress, query: (artifact, query). A file that was made elsewhere is adopted and queried.

        On another device than this machine a target is asked there; any other model only where this machine was not
        shown to answer the same.
        """
        made_elsewhere = self.spec.artifact_of(use) if role == TARGET else None
        if made_elsewhere is not None:
            source = self._adopt(made_elsewhere, use, found)
        else:
            source = self._train(role)
            for step in found.passes:
                source = self._compress(role, source, step, use)
        if device == LOCAL:
            return source, self._query(role, source, use, found)
        place = self.devices[device]
        if role in self.targets or place.spec.shadows == "device":
            return source, self._device_query(role, source, use, found, place)
        native = self._query(role, source, use, found)
        equivalence = self._equivalence(role, source, native, use, found, place)
        stand_in = {
            "native": list(native),
            "equivalence": list(equivalence),
            "whatever": place.spec.shadows == "native",
        }
        return source, self._device_query(role, source, use, found, place, stand_in)

    def _adopt(self, path: Path, use: FormatUse, found: Format) -> JobRef:
        target, runtime = self.spec.target, find_runtime(found.runtime)
        if target is None:  # `artifact_of` found the file in it
            raise SpecError("target.artifact is missing")
        companions = {name: _target_digest(path.parent / name) for name in runtime.spec.companions(path)}
        inputs = {
            "population": self.population_ref[1],
            "file": {
                "path": str(path),
                "sha256": _target_digest(path),
                "companions": companions,
            },
            "runtime": found.runtime,
            "options": runtime.spec.options(found.runtime_options),
            "batch_given": "batch" in found.runtime_options,
            "softmax": target.softmax,
            "outputs": None if target.outputs is None else list(target.outputs),
            "accuracy": target.accuracy,
            "versions": runtime.spec.versions(),
            "device": self._once("device", local_fingerprint),
            "code": source_digest(*_modules_of(runtime), *_ADOPTION_CODE),
        }
        hints = {"runtime": found.runtime, "format": use.id, "house": runtime.spec.house}
        return self.result.add(Job("adopt", inputs, (self.population_ref,), f"read {path.name}", hints))

    def _train(self, role: str) -> JobRef:
        checkpoint = self.spec.model.checkpoint if role == TARGET else None
        inputs = {
            "population": self.population_ref[1],
            "role": role,
            "seed": self.spec.seed,
            "recipe": self._once("recipe", self.recipe.to_dict),
            "checkpoint": None
            if checkpoint is None
            else {"path": str(checkpoint), "sha256": checkpoint_digest(checkpoint)},
            "check": self.check,
            "code": self._once("train code", self._train_code),
            "versions": self._once("train versions", self._train_versions),
        }
        hints = {"role": role, "house": self.framework.house}
        return self.result.add(Job("train", inputs, (self.population_ref,), f"train {role}", hints))

    def _train_code(self) -> str:
        own = _own_modules(self.recipe.train_function, self.recipe.name)
        return source_digest("edgeaudit.recipes", *self.framework.code, "edgeaudit.population", *own)

    def _train_versions(self) -> dict[str, str]:
        return {
            **self.framework.versions(),
            **_torchvision_version(self.recipe.name),
        }

    def _compress(self, role: str, source: JobRef, use: PassUse, format_use: FormatUse) -> JobRef:
        step = self._once(f"pass {use.name}", lambda: find_pass(use.name))
        params = step.parameters(use.params)
        made = params.get("student")  # a recipe that the source knows nothing of: its code and toolchain decide, too
        code = ("edgeaudit.exporters.base", "edgeaudit.stages.compress", "edgeaudit.recipes", *_own_modules(made))
        passes = [*self.result.jobs[source].hints.get("passes", ()), [use.name, params]]
        inputs = {
            "population": self.population_ref[1],
            "role": role,
            "seed": self.spec.seed,
            "source": list(source),
            "pass": use.name,
            "params": params,
            "calibration": self._calibration(step, params, format_use),
            "check": self.check,
            "code": self._once(
                f"code {use.name} {made}", lambda: source_digest(type(step).__module__, *step.spec.code, *code)
            ),
            "versions": self._once(
                f"versions {use.name} {made}", lambda: {**step.spec.versions(), **_torchvision_version(made)}
            ),
        }
        hints = {"pass": use.name, "passes": passes, "house": step.spec.house}
        return self.result.add(Job("compress", inputs, (source,), f"{use.name} {role}", hints))

    def _calibration(self, step: Pass, params: Mapping[str, Any], use: FormatUse) -> dict[str, Any] | None:
        if not step.calibrates(params):
            return None
        default = self.spec.data.calibration
        return {"policy": use.calibration or default.policy, "records": default.records}

    def _query(self, role: str, source: JobRef, use: FormatUse, found: Format) -> JobRef:
        runtime = find_runtime(found.runtime)
        name, code = found.runtime, ("edgeaudit.runtimes.base", "edgeaudit.stages.query")
        inputs = {
            "population": self.population_ref[1],
            "source": list(source),
            "role": role,
            "runtime": name,
            "options": self._once(f"options {use.id}", lambda: runtime.spec.options(found.runtime_options)),
            # None: nobody knows the torch model of a file that was made elsewhere.
            "tolerance": None if source[0] == "adopt" else found.tolerance,
            "range_tolerance": found.range_tolerance,
            "versions": self._once(f"versions {name}", runtime.spec.versions),
            "device": self._once("device", local_fingerprint),
            "code": self._once(f"code {name}", lambda: source_digest(*_modules_of(runtime), *runtime.spec.code, *code)),
        }
        hints = {"runtime": name, "format": use.id, "role": role, "house": runtime.spec.house}
        return self.result.add(Job("query", inputs, (source,), f"query {use.id} {role}", hints))

    def _device_query(
        self,
        role: str,
        source: JobRef,
        use: FormatUse,
        found: Format,
        place: DevicePlan,
        stand_in: Mapping[str, Any] | None = None,
    ) -> JobRef:
        """Ask on a device. stand_in: what may be taken in its place, and the comparison that decides it."""
        inputs = {
            "population": self.population_ref[1],
            "source": list(source),
            "role": role,
            **self._once(f"device {place.name} {use.id}", lambda: place.query_inputs(use, found)),
            # That the file is right, this machine's query saw; what the device makes of it is what is audited.
            "tolerance": None,
            "range_tolerance": None,
        }
        needs = [source]
        if stand_in is not None:
            inputs["stand_in"] = dict(stand_in)
            needs += [tuple(stand_in["native"]), tuple(stand_in["equivalence"])]
        elif role in self.targets and source[0] != "adopt":
            needs.append(self._query(role, source, use, found))  # so that a wrong file is refused as everywhere
        hints = {"runtime": found.runtime, "format": use.id, "role": role, **place.hints}
        return self.result.add(Job("query", inputs, tuple(needs), f"query {use.id} on {place.name} {role}", hints))

    def _equivalence(
        self, role: str, source: JobRef, native: JobRef, use: FormatUse, found: Format, place: DevicePlan
    ) -> JobRef:
        """Compare this machine with a device: the first target's answers, and those of the first other model."""
        return self._once(
            f"equivalence {use.id} {place.name}",
            lambda: self._compare_places(role, source, native, use, found, place),
        )

    def _compare_places(
        self, role: str, source: JobRef, native: JobRef, use: FormatUse, found: Format, place: DevicePlan
    ) -> JobRef:
        # The target was planned before; both queries are jobs that there are.
        target, device_query = self._serve(TARGET, use, found, place.name)
        native_query = self._query(TARGET, target, use, found)
        asked = {key: self.result.jobs[ref].inputs for key, ref in (("native", native), ("device", device_query))}
        told = {key: {n: inputs[n] for n in ("runtime", "options", "device")} for key, inputs in asked.items()}
        forced = place.spec.shadows == "native"
        shadow = {"role": role, "source": list(source), "records": place.spec.probe_records, **told}
        inputs = {
            "population": self.population_ref[1],
            "native": list(native_query),
            "device_query": list(device_query),
            "shadow": None if place.spec.is_server or forced else shadow,
            "needs_identity": place.spec.is_server and not forced,
            "code": self._once("equivalence code", lambda: source_digest(*_EQUIVALENCE_CODE)),
        }
        needs = (native_query, device_query, source)
        label = f"compare {place.name} with this machine: {use.id}"
        return self.result.add(Job("equivalence", inputs, needs, label, {"format": use.id, **place.hints}))

    def _quality(
        self, use: FormatUse, found: Format, device: str, artifact: JobRef, query: JobRef
    ) -> tuple[JobRef, JobRef | None]:
        """Look into the first target's artifact; time it where audit.yaml asks for that."""
        hints = {"format": use.id}
        looked = {
            "source": list(artifact),
            "code": self._once("inspect code", lambda: source_digest(*_INSPECT_CODE)),
            "versions": {"zlib": zlib.ZLIB_RUNTIME_VERSION},
        }
        inspect = self.result.add(Job("inspect", looked, (artifact,), f"look into {use.id}", hints))
        runtime = find_runtime(found.runtime).spec
        place = None if device == LOCAL else self.devices[device]
        if not self.spec.quality.latency or not (runtime.timed_here if place is None else place.timed):
            return inspect, None
        timed = {
            "population": self.population_ref[1],
            "query": list(query),  # with it artifact, runtime, options and versions
            "device": self._once("device", local_fingerprint) if place is None else device,
            "batches": list(_BATCHES),
            "fixed_batch": found.runtime_options.get("batch"),
            "repetitions": self.spec.quality.repetitions,
            "code": self._once("latency code", lambda: source_digest(*_LATENCY_CODE)),
        }
        # A device of its own is not disturbed by what runs here.
        more = {"exclusive": True, "house": runtime.house} if place is None else place.hints
        label = f"time {use.id}" + ("" if place is None else f" on {device}")
        return inspect, self.result.add(Job("latency", timed, (query,), label, {**hints, **more}))

    def _view(self, query: JobRef, view: str) -> JobRef:
        """Ask what `query` asked about the records as a view shows them."""
        asked = self.result.jobs[query]
        inputs = {
            "population": self.population_ref[1],
            "query": list(query),  # with it artifact, runtime, options, versions and device
            "view": view,
            "seed": self.spec.seed,
            "role": asked.inputs["role"],
            "code": self._once("view code", lambda: source_digest(*_VIEW_CODE)),
        }
        return self.result.add(Job("view", inputs, (query,), f"{view} {asked.label}", asked.hints))

    def _traces(self, asked: Mapping[Role, JobRef], shadows: tuple[JobRef, ...]) -> dict[str, dict[JobRef, JobRef]]:
        """Name -> the query that asked the same artifact -> the job; of the attacks that audit.yaml chose by name."""
        if self.spec.threat.mode == "auditor" or not self.shadows:
            return {}
        makers: dict[str, tuple[int, Callable[[Role, JobRef], JobRef]]] = {
            "boundary": (self.spec.label_only.shadows, self._boundary),
            "trajectory": (self.spec.loss_trajectory.shadows, self._trajectory),
        }
        known = list(zip(self.shadows, shadows, strict=True))
        return {
            name: {query: make(role, query) for role, query in (*asked.items(), *known[:count])}
            for name, (count, make) in makers.items()
            if TRACED[name] in self.spec.attacks
        }

    def _boundary(self, role: str, query: JobRef) -> JobRef:
        """Search the decision boundary of what `query` asked."""
        settings, values = self.spec.label_only, math.prod(self.population.input_shape)
        if settings.queries < least_queries(values):
            raise SpecError(
                f"label-only.queries: {settings.queries} are too few for records of {values} values; the search needs "
                f"{least_queries(values)} or more"
            )
        inputs = {
            "population": self.population_ref[1],
            "query": list(query),
            "role": role,
            "records": settings.records,
            "budget": settings.queries,
            "seed": self.spec.seed,
            "code": self._once("boundary code", lambda: source_digest(*_BOUNDARY_CODE)),
        }
        asked = self.result.jobs[query]
        return self.result.add(Job("boundary", inputs, (query,), f"boundary of {asked.label}", asked.hints))

    def _trajectory(self, role: Role, query: JobRef) -> JobRef:
        """Distil a student from what `query` answered."""
        settings, split = self.spec.loss_trajectory, self.population.split
        n, pool = len(split.members), len(split.reference)
        records = records_to_distil(pool, n, settings.records)
        if records < _LEAST_DISTILLED:
            raise SplitError(
                f"data.reference: the attack 'loss-trajectory' distils students on reference records that shadows did "
                f"not train on; shadows train on {n} of {pool}, which leaves {records} for a student, and "
                f"{_LEAST_DISTILLED} are needed. Add reference records or leave the attack out"
            )
        inputs = {
            "population": self.population_ref[1],
            "query": list(query),
            "role": role,
            "recipe": self._once("recipe", self.recipe.to_dict),
            "epochs": settings.epochs,
            "records": records,
            "seed": self.spec.seed,
            "code": self._once("trajectory code", lambda: source_digest(*_TRAJECTORY_CODE)),
            "versions": self._once("train versions", self._train_versions),
        }
        asked = self.result.jobs[query]
        # A forward pass, one of each scored record an epoch, takes about a third of a training step.
        passes = records + min(len(split.members) + len(split.nonmembers), pool) / 3
        hints = {
            **asked.hints,
            "house": self.framework.house,
            "trainings": settings.epochs * passes / (self.recipe.training.epochs * n),
        }
        return self.result.add(Job("trajectory", inputs, (query,), f"student of {asked.label}", hints))

    def _measure(
        self,
        use: FormatUse,
        device: str,
        asked: Mapping[Role, JobRef],
        shadows: tuple[JobRef, ...],
        match: str,
        measure: Mapping[str, Any],
    ) -> JobRef:
        queries = tuple(dict.fromkeys((*asked.values(), *shadows)))
        # By view and by the query that asked the same artifact about the records as they are.
        views = {view: {query: self._view(query, view) for query in queries} for view in self.spec.threat.views}
        traces = self._traces(asked, shadows)
        inputs = {
            "population": self.population_ref[1],
            "targets": [[role, list(asked[role])] for role in self.targets],
            "nulls": [[role, list(asked[role])] for role in self.nulls],
            "shadows": [list(s) for s in shadows],
            "shadow_roles": self.shadows,
            "seed": self.spec.seed,
            "exposure": self.spec.threat.exposure,
            "mode": self.spec.threat.mode,
            "members_drawn": isinstance(self.spec.data.members, int),
            "floor": FLOOR,
            "format": use.id,
            "device": device,
            "shadow_match": match,
            "views": [[view, [[q[1], list(ref)] for q, ref in refs.items()]] for view, refs in views.items()],
            "traces": [[trace, [[q[1], list(ref)] for q, ref in refs.items()]] for trace, refs in traces.items()],
            **measure,
        }
        more = (ref for refs in (*views.values(), *traces.values()) for ref in refs.values())
        needs = (*queries, *more)
        where = "" if device == LOCAL else f" on {device}"
        label = f"attack {use.id}{where} ({match} shadows)"
        return self.result.add(Job("measure", inputs, needs, label, {"format": use.id}))

    def _exposure(self, measure: JobRef, level: str) -> JobRef:
        """Measure what a measurement's answers tell at a weaker level."""
        own = self.result.jobs[measure]
        code = self._once("exposure code", lambda: source_digest(*_EXPOSURE_CODE))
        inputs = {**own.inputs, "level": level, "code": [own.inputs["code"], code]}
        label = f"{level} of {own.inputs['format']}"
        return self.result.add(Job("exposure", inputs, own.needs, label, own.hints))


def _own_modules(*functions: str | None) -> list[str]:
    """The user's modules among names of recipes and of training functions."""
    named = (f.removeprefix("keras:") for f in functions if f)
    own = (f.partition(":")[0] for f in named if ":" in f)
    return [name for name in own if name != "torchvision"]


def _modules_of(runtime: type[Runtime]) -> list[str]:
    """The modules of a runtime and of those that it is derived from."""
    return [c.__module__ for c in runtime.__mro__ if issubclass(c, Runtime) and c is not Runtime]


def _torchvision_version(recipe: str | None) -> dict[str, str]:
    """The version of torchvision where `recipe` is one of its models."""
    packages = ("torchvision",) if recipe and recipe.startswith("torchvision:") else ()
    return package_versions("training a model", packages, "torch")


def _target_digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as exc:
        raise SpecError(f"target.artifact: {path} cannot be read: {exc.strerror}") from exc


def nonce() -> str:
    """A key part for what must be read anew in every run."""
    return content_key("nonce", {"random": secrets.token_hex(16)})
