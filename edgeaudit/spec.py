"""audit.yaml: typed, unknown keys refused, every message with the key and the remedy."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from edgeaudit.calls import parse_call, rejoined
from edgeaudit.errors import SpecError, did_you_mean
from edgeaudit.exposures import parse_level
from edgeaudit.views import parse_view
from edgeaudit.yaml_text import read_yaml

__all__ = [
    "ALONE",
    "AS_SHIPPED",
    "LISTS",
    "AuditSpec",
    "BudgetSpec",
    "CalibrationSpec",
    "ControlsSpec",
    "DataSpec",
    "FormatUse",
    "LabelOnlySpec",
    "LossTrajectorySpec",
    "ModelSpec",
    "PreprocessingSpec",
    "QualitySpec",
    "SideSpec",
    "TargetSpec",
    "ThreatSpec",
    "load_spec",
    "recorded_spec",
]

CalibrationPolicy = Literal["disjoint", "members", "nonmembers"]

AS_SHIPPED = "as-shipped"
"""The format of a file whose making is not told: no shadow can be made like it."""
ALONE = ("yeom", "gap", "attack-p", "quantile-regression")
"""The attacks that need no shadows."""
LISTS = (".txt", ".npy")
"""Files that list records."""


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSpec(_Spec):
    """The model under audit and how models like it are made (`recipe` and its training settings)."""

    recipe: str = "mlp"
    options: dict[str, Any] = Field(default_factory=dict)
    train: str | None = None
    checkpoint: Path | None = None
    epochs: int = Field(30, ge=1)
    batch: int = Field(64, ge=2)
    lr: float = Field(0.05, gt=0)
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    augment: Literal["none", "flip-shift"] = "none"
    precision: Literal["float32", "bfloat16"] = "float32"


class CalibrationSpec(_Spec):
    """How many records a quantiser sees, and which ones unless a format says otherwise."""

    records: int = Field(128, ge=8)
    policy: CalibrationPolicy = "disjoint"


class PreprocessingSpec(_Spec):
    """What models are given for a value x of the data: (x * scale - mean) / std, a number or one for each channel."""

    scale: float = Field(1.0, gt=0)
    mean: float | tuple[float, ...] = 0.0
    std: Annotated[float, Field(gt=0)] | tuple[Annotated[float, Field(gt=0)], ...] = 1.0


class SideSpec(_Spec):
    """A side of the audit that has a file or folder of its own, as the source reads it.

    records: how many of them are drawn; None: all.
    calibrated: which of them the target's quantiser saw: the name of an array of the .npz (booleans, or places in it),
        or a file with their places (.txt, .npy).
    """

    path: Path
    records: int | None = Field(None, ge=2)
    options: dict[str, Any] = Field(default_factory=dict)
    calibrated: str | None = None


class DataSpec(_Spec):
    """Records and their split.

    members, nonmembers: counts; files with record ids (.txt, .npy); or sides with files of their own.
    reference: a count, the rest, or a side. What is left of the members' own file is never in it.
    preprocessing: of every record for every model; `standardise` (by channel or column) unless a name or figures are
        given. calibrated: a file with the ids of the records that the target's quantiser saw.
    shadow_records: how many records a shadow trains on; None for as many as there are members (or half of the
        reference records, where that is less and sides have files of their own).
    """

    model_config = ConfigDict(populate_by_name=True)

    source: str = "digits"
    path: Path | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    layout: Literal["auto", "HW", "HWC", "CHW", "flat"] = "auto"
    standardise: bool = True
    preprocessing: Literal["standardise", "raw", "unit", "symmetric", "imagenet"] | PreprocessingSpec | None = None
    members: Annotated[int, Field(ge=2)] | Path | SideSpec = 300
    nonmembers: Annotated[int, Field(ge=2)] | Path | SideSpec = 300
    reference: Annotated[int, Field(ge=0)] | Literal["rest"] | SideSpec = "rest"
    calibrated: Path | None = None
    shadow_records: int | None = Field(None, ge=2, alias="shadow-records")
    calibration: CalibrationSpec = CalibrationSpec()

    @property
    def sides(self) -> dict[str, SideSpec]:
        """The sides that have files of their own, by name."""
        named = {key: getattr(self, key) for key in ("members", "nonmembers", "reference")}
        return {key: value for key, value in named.items() if isinstance(value, SideSpec)}

    @model_validator(mode="after")
    def _both_of_one_kind(self) -> DataSpec:
        if type(self.members) is not type(self.nonmembers) and not all(
            isinstance(side, Path) for side in (self.members, self.nonmembers)
        ):
            raise ValueError("members and nonmembers must both be counts, files with record ids, or {path: ...}")
        if self.sides and "members" not in self.sides:
            raise ValueError("a reference with a path of its own needs members and nonmembers that have one, too")
        if self.sides and self.path is not None:
            raise ValueError("leave 'path' out where members and nonmembers have paths of their own")
        return self


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _each_once(names: tuple[str, ...], remedy: str = "") -> tuple[str, ...]:
    """The names, none of which may be there twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"'{twice[0]}' appears twice{remedy}")
    return names


class ThreatSpec(_Spec):
    """What the attacker sees and has.

    mode: `adversary`, whose shadows never saw an audited record; `auditor`, the worst case: shadows train on random
    halves of the audited records, so that the online attacks run.
    views: how else each record is shown to every model (flip, shift-<pixels>, noise-<input steps>); none by default.
    weaker: what the same answers are measured at, too, as if less of them were returned (top-<classes>,
        rounded-<decimals>, label; probabilities where the exposure is logits); none by default.
    """

    mode: Literal["adversary", "auditor"] = "adversary"
    exposure: Literal["logits", "probabilities"] = "probabilities"
    shadows: int = Field(64, ge=0)
    shadow_match: Annotated[tuple[Literal["matched", "fp32"], ...], BeforeValidator(_as_list), Field(min_length=1)] = (
        "matched",
    )
    views: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()
    weaker: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()

    @field_validator("views")
    @classmethod
    def _known_views(cls, views: tuple[str, ...]) -> tuple[str, ...]:
        return _each_once(tuple(parse_view(name).name for name in views))

    @field_validator("weaker")
    @classmethod
    def _known_levels(cls, weaker: tuple[str, ...]) -> tuple[str, ...]:
        return _each_once(tuple(parse_level(name).name for name in weaker))

    @model_validator(mode="after")
    def _weaker_than_the_exposure(self) -> ThreatSpec:
        if self.exposure in self.weaker:
            raise ValueError(
                f"weaker: '{self.exposure}' is what threat.exposure gives; leave it out, or set exposure: logits"
            )
        return self


def _as_pass(value: object) -> str:
    return parse_call(value, "pass").text()


def _as_passes(value: object) -> object:
    return rejoined(value) if isinstance(value, list) else value


def _as_runtime(value: object) -> str | None:
    return None if value is None else parse_call(value, "name").text()


_Passes = Annotated[tuple[Annotated[str, BeforeValidator(_as_pass)], ...], Field(min_length=1)]


class FormatUse(_Spec):
    """A format as an audit uses it: a preset's id, a variant of one, or passes that are put together here.

    passes, runtime: calls, as in `nncf.prune(0.7, epochs=3)`; mappings are kept as the text that says the same.
    tolerance, range_tolerance: how far the answers may be from torch's (`Format`); None for what the precision or
        the preset has.
    """

    model_config = ConfigDict(populate_by_name=True)

    format: str | None = None
    name: str | None = Field(None, pattern=r"^[^/\\]+$")
    passes: Annotated[_Passes | None, BeforeValidator(_as_passes)] = None
    runtime: Annotated[str | None, BeforeValidator(_as_runtime)] = None
    tolerance: float | None = Field(None, gt=0, le=1)
    range_tolerance: float | None = Field(None, gt=0, lt=1, alias="range-tolerance")
    calibration: CalibrationPolicy | None = None
    softmax: Literal["outside", "inside"] = "outside"

    @model_validator(mode="after")
    def _preset_or_passes(self) -> FormatUse:
        if (self.format is None) == (self.passes is None):
            raise ValueError("give 'format' (an id of `edgeaudit formats`) or 'passes' (a composition), one of them")
        if self.name is None and (self.passes or self.runtime or self.tolerance or self.range_tolerance):
            raise ValueError("a format with 'passes', a 'runtime' or a tolerance of its own needs a 'name'")
        return self

    @property
    def id(self) -> str:
        """The name in reports and budgets."""
        if self.name is not None:
            return self.name
        calibrated = f"@{self.calibration}" if self.calibration else ""
        return f"{self.format}{calibrated}" + ("+softmax" if self.softmax == "inside" else "")


def _as_format(value: object) -> object:
    return {"format": value} if isinstance(value, str) else value


class CmMiaSpec(_Spec):
    """CM-MIA's settings; see docs/attacks/cm-mia.md."""

    fraction: float = Field(0.1, gt=0, le=1)
    neighbours: int = Field(5, ge=1)
    beta: float = Field(0.1, gt=0)
    alpha: float | None = Field(None, gt=0)
    d0: Literal["eb"] | Annotated[float, Field(gt=0)] = "eb"
    cutoffs: tuple[Annotated[float, Field(gt=0, lt=1)], ...] | None = None


class LabelOnlySpec(_Spec):
    """The boundary search of the attack `label-only`, which runs where `attacks` names it; see its page.

    records: how many audited records are searched for, evenly spaced. queries: at most, a record. shadows: how many of
    them are searched, too, on as many reference records.
    """

    records: int = Field(200, ge=20)
    queries: int = Field(1000, ge=50)
    shadows: int = Field(1, ge=1)


class LossTrajectorySpec(_Spec):
    """The students of the attack `loss-trajectory`, which are trained where `attacks` names it; see its page.

    epochs: of each student, and so the losses in a trajectory. records: reference records at most that one learns from.
    shadows: how many of them get a student, too.
    """

    epochs: int = Field(30, ge=2)
    records: int = Field(5000, ge=20)
    shadows: int = Field(1, ge=1)


class TargetSpec(_Spec):
    """A file that was made elsewhere, and what is known of it.

    artifact: the file; or format -> file, where several files of one model are audited.
    softmax: whether the file answers with probabilities (`inside`); `detect` finds it out from its answers.
    outputs: the place of each label's score among the file's outputs, in the order of the labels; None: the same order.
    accuracy: on records that it did not train on, as its maker states it; checked where it is given.
    """

    artifact: Path | Annotated[dict[str, Path], Field(min_length=1)]
    softmax: Literal["detect", "inside", "outside"] = "detect"
    outputs: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=2)] | None = None
    accuracy: float | None = Field(None, gt=0, le=1)


def _as_sets(value: object) -> object:
    """One set may stand without the outer list: [a, b] is [[a, b]]."""
    flat = isinstance(value, list) and value and all(isinstance(one, str) for one in value)
    return [value] if flat else value


_Sets = tuple[tuple[str, ...], ...]


class BudgetSpec(_Spec):
    """The leakage a format may have. Exactly one of `max` and `max-increase` (with `against`) is given.

    variant: of the attack; None for the first of its headline variants that could be run.
    """

    level: Literal["warn", "error"]
    max: float | None = None
    max_increase: float | None = Field(None, alias="max-increase")
    against: str | None = None
    formats: tuple[str, ...] | None = None
    attack: str = "cm-mia"
    variant: str | None = None
    subset: str = "all"

    @model_validator(mode="after")
    def _one_limit(self) -> BudgetSpec:
        if (self.max is None) == (self.max_increase is None):
            raise ValueError("a budget needs exactly one of 'max' and 'max-increase'")
        if (self.max_increase is None) != (self.against is None):
            raise ValueError("'max-increase' and 'against: <format>' belong together")
        return self


def _as_budgets(value: object) -> object:
    """{metric: [level, {...}]} or {metric: [[level, {...}], ...]} -> {metric: [{level, ...}, ...]}."""
    if not isinstance(value, dict):
        return value
    result: dict[object, object] = {}
    for metric, entry in value.items():
        entries = [entry] if isinstance(entry, list) and entry and isinstance(entry[0], str) else entry
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"'{metric}' must be [warn | error, {{max: ...}}]")
        result[metric] = [_as_budget(str(metric), e) for e in entries]
    return result


def _as_budget(metric: str, entry: object) -> object:
    if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], dict):
        return {"level": entry[0], **entry[1]}
    if isinstance(entry, dict):
        return entry
    raise ValueError(f"'{metric}' must be [warn | error, {{max: ...}}]")


class ControlsSpec(_Spec):
    """Checks of the audit itself; one that fails makes it invalid.

    null_targets: models that trained on none of the audited records; every attack must find nothing in them.
    shift: whether members and nonmembers differ already as records, before any model is asked.
    """

    null_targets: int = Field(1, ge=0, alias="null-targets")
    shift: bool = True


class QualitySpec(_Spec):
    """What a format costs beside what it leaks.

    latency: whether the first target's file is timed in each format, about a second a format, while nothing else runs.
    repetitions: calls that are timed for a batch, at most.
    """

    latency: bool = True
    repetitions: int = Field(200, ge=20)


class AuditSpec(_Spec):
    """The whole of audit.yaml.

    targets: how many models are audited; each trains on members of its own draw from the audited records.
    together: sets of formats that one attacker holds, by their ids; `all` is one set of all of them.
    """

    name: str = "audit"
    seed: int = Field(0, ge=0)
    targets: int = Field(1, ge=1)
    target: TargetSpec | None = None
    model: ModelSpec = ModelSpec()
    data: DataSpec = DataSpec()
    threat: ThreatSpec = ThreatSpec()
    controls: ControlsSpec = ControlsSpec()
    formats: tuple[Annotated[FormatUse, BeforeValidator(_as_format)], ...] = Field(
        default=(FormatUse(format="torch-fp32"), FormatUse(format="onnx-int8-static")), min_length=1
    )
    attacks: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = Field(
        default=("cm-mia", "lira", "yeom", "gap"), min_length=1
    )
    cm_mia: CmMiaSpec = Field(default=CmMiaSpec(), alias="cm-mia")
    label_only: LabelOnlySpec = Field(default=LabelOnlySpec(), alias="label-only")
    loss_trajectory: LossTrajectorySpec = Field(default=LossTrajectorySpec(), alias="loss-trajectory")
    together: Annotated[Literal["all"] | _Sets, BeforeValidator(_as_sets)] = ()
    quality: QualitySpec = QualitySpec()
    budgets: Annotated[dict[str, tuple[BudgetSpec, ...]], BeforeValidator(_as_budgets)] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _as_shipped(cls, raw: object) -> object:
        """A target made elsewhere: without a recipe there are no shadows, and without a format it is its own."""
        if not isinstance(raw, dict) or not isinstance(raw.get("target"), dict):
            return raw
        raw = dict(raw)
        if not raw.get("model"):
            threat = raw.get("threat") or {}
            if isinstance(threat, dict):
                raw["threat"] = {"shadows": 0, **threat}
            raw.setdefault("attacks", ALONE)
        artifact = raw["target"].get("artifact")
        if not raw.get("formats") and isinstance(artifact, str | Path):
            raw["formats"] = [{"format": AS_SHIPPED, "name": Path(artifact).name}]
        elif not raw.get("formats") and isinstance(artifact, dict):
            raw["formats"] = [{"format": AS_SHIPPED, "name": name} for name in artifact]
        return raw

    @property
    def recipe_known(self) -> bool:
        """Whether models can be trained: always, but for a target made elsewhere for which no recipe is named."""
        return self.target is None or self.threat.shadows > 0

    @property
    def null_targets(self) -> int:
        """How many models that trained on none of the audited records there are."""
        return self.controls.null_targets if self.recipe_known else 0

    def artifact_of(self, use: FormatUse) -> Path | None:
        """The file that is this format's target; None where the audit makes it."""
        if self.target is None:
            return None
        return self.target.artifact if isinstance(self.target.artifact, Path) else self.target.artifact[use.id]

    @field_validator("formats")
    @classmethod
    def _names_differ(cls, formats: tuple[FormatUse, ...]) -> tuple[FormatUse, ...]:
        _each_once(tuple(f.id for f in formats), "; give one of them a 'name'")
        return formats

    @model_validator(mode="after")
    def _sets_of_formats(self) -> AuditSpec:
        ids = [use.id for use in self.formats]
        if self.together == "all" and len(ids) < 2:
            raise ValueError("together: all needs two or more formats, and there is one")
        seen: list[set[str]] = []
        for one in () if self.together == "all" else self.together:
            for name in one:
                if name not in ids:
                    hint = did_you_mean(name, ids)
                    raise ValueError(
                        f"together: '{name}' is no format of this audit.{hint} There are: {', '.join(ids)}"
                    )
            names = ", ".join(one)
            if len(set(one)) < 2 or len(set(one)) < len(one):
                raise ValueError(f"together: a set names two or more different formats; one is [{names}]")
            if set(one) in seen:
                raise ValueError(f"together: the set [{names}] is given twice")
            seen.append(set(one))
        return self

    @model_validator(mode="after")
    def _consistent(self) -> AuditSpec:
        if self.model.checkpoint is not None:
            if isinstance(self.data.members, int):
                raise ValueError(
                    "model.checkpoint is a trained target: data.members and data.nonmembers must be files with the ids "
                    "of the records it was and was not trained on"
                )
            if self.targets > 1:
                raise ValueError("model.checkpoint is one trained target; leave 'targets' out")
        if self.threat.exposure == "logits" and any(f.softmax == "inside" for f in self.formats):
            raise ValueError("threat.exposure: logits cannot be had from a format with softmax: inside")
        if self.threat.shadows == 1 or (self.threat.shadows == 0 and self.target is None):
            raise ValueError(f"threat.shadows: at least 2 are needed (it is {self.threat.shadows})")
        if self.target is not None:
            self._target_fits(self.target)
        return self

    def _target_fits(self, target: TargetSpec) -> None:
        shipped = [f.id for f in self.formats if f.format == AS_SHIPPED]
        if self.model.checkpoint is not None or self.targets > 1:
            raise ValueError("target.artifact is the one target; leave 'model.checkpoint' and 'targets' out")
        if isinstance(self.data.members, int):
            raise ValueError(  # noqa: TRY004  pydantic collects ValueErrors alone
                "target.artifact is a trained target: data.members and data.nonmembers must be files with the ids of "
                "the records it was and was not trained on, or {path: ...}"
            )
        if self.data.preprocessing is None:
            raise ValueError(
                "data.preprocessing: say what target.artifact takes: raw (values as they are in the data), unit (0..1 "
                "of 0..255), symmetric (-1..1 of 0..255), imagenet, standardise, or {scale: ..., mean: ..., std: ...}"
            )
        if isinstance(target.artifact, Path) and len(self.formats) > 1:
            raise ValueError(
                f"target.artifact is one file, and formats has {len(self.formats)} entries; name the one that the file "
                "is, or give a file for each: target.artifact: {<format>: <file>}"
            )
        if isinstance(target.artifact, dict) and set(target.artifact) != {f.id for f in self.formats}:
            raise ValueError(
                f"target.artifact has files for {', '.join(target.artifact)}, and formats has "
                f"{', '.join(f.id for f in self.formats)}; each format needs its file"
            )
        if shipped and self.threat.shadows:
            raise ValueError(
                f"formats: shadows go through the toolchain that the target went through; name the format that "
                f"'{shipped[0]}' is (`edgeaudit formats` lists them), or leave 'model' and threat.shadows out to run "
                "the attacks that need no shadows"
            )
        if "model" not in self.model_fields_set and self.threat.shadows:
            raise ValueError(
                "threat.shadows: shadows are trained by a recipe; name it in model.recipe, or leave threat.shadows out"
            )
        if not self.recipe_known and self.together:
            raise ValueError("together: combined attacks learn from shadows; name the recipe in model.recipe")
        if not self.recipe_known and set(self.threat.shadow_match) != {"matched"}:
            raise ValueError("threat.shadow_match: there are no shadows without model.recipe; leave it out")


_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def _expand(value: object, key: str) -> object:
    """Replace ${NAME} and ${NAME:-default} in strings by environment variables."""
    if isinstance(value, dict):
        return {k: _expand(v, f"{key}.{k}" if key else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, f"{key}[{i}]") for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def found(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        text = os.environ.get(name) or default
        if text is None:
            raise SpecError(f"{key}: the environment variable {name} is not set")
        return text

    return _VARIABLE.sub(found, value)


def load_spec(path: Path) -> AuditSpec:
    """Read audit.yaml. Relative paths in it are taken from its folder.

    Raises `SpecError` that names file, key and remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise SpecError(f"{path}: {exc.strerror}. `edgeaudit init` writes a starter file") from exc
    except UnicodeDecodeError as exc:
        raise SpecError(f"{path} is not UTF-8 text: {exc.reason} at byte {exc.start}") from exc
    try:
        raw = read_yaml(text)
    except yaml.YAMLError as exc:
        raise SpecError(f"{path} is not valid YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(raw, dict):
        raise SpecError(f"{path} must be a mapping of keys (model, data, formats, ...); it is {type(raw).__name__}")
    try:
        spec = AuditSpec.model_validate(_expand(raw, ""))
    except ValidationError as exc:
        raise SpecError(f"{path}: " + "; ".join(_sentences(exc))) from exc
    return _absolute(spec, path.resolve().parent)


def recorded_spec(raw: Mapping[str, Any], path: Path) -> AuditSpec:
    """The spec that an audit.json records, which another version may have written. Raises `SpecError` naming `path`."""
    try:
        return AuditSpec.model_validate(raw)
    except ValidationError as exc:
        raise SpecError(
            f"{path}: its spec is not one that this edgeaudit reads: {'; '.join(_sentences(exc))}. Run the audit again"
        ) from exc


_SECTIONS: dict[str, type[BaseModel]] = {
    "model": ModelSpec, "data": DataSpec, "threat": ThreatSpec, "formats": FormatUse, "cm-mia": CmMiaSpec,
    "label-only": LabelOnlySpec, "loss-trajectory": LossTrajectorySpec,
    "budgets": BudgetSpec, "calibration": CalibrationSpec, "controls": ControlsSpec, "target": TargetSpec,
    "preprocessing": PreprocessingSpec, "members": SideSpec, "nonmembers": SideSpec, "reference": SideSpec,
    "quality": QualitySpec,
}  # fmt: skip


def _sentences(error: ValidationError) -> list[str]:
    """One sentence for each key that is wrong; pydantic reports a key once for every type it could have had."""
    sentences: dict[str, str] = {}
    for entry in error.errors():
        # Keys are lower-case words; the rest of a location names pydantic's own branches ('lax-or-strict[...]').
        parts = [str(p) for p in entry["loc"] if isinstance(p, int) or _is_key(str(p))]
        key = ".".join(parts) or "audit.yaml"
        if entry["type"] == "too_short" and sentences:
            continue  # the entry that was refused is missed by its list, too
        sentences.setdefault(key, _sentence(key, parts, dict(entry)))
    return list(sentences.values())


_PLAIN = {
    "dict_type": "must be a mapping of keys",
    "missing": "is missing",
    "model_type": "must be a mapping of keys; leave it out for its defaults",
    "too_short": "must have at least one entry",
    "tuple_type": "must be a list",
}
"""Words of pydantic that speak of Python, and ours for a file of keys and lists."""


def _is_key(part: str) -> bool:
    return not re.search(r"[\[(]|^(int|float|path|constrained-.*|literal.*|function-.*)$", part)


def _sentence(key: str, parts: list[str], error: dict[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        sections = [_SECTIONS[p] for p in parts[:-1] if p in _SECTIONS]
        fields = (sections[-1] if sections else AuditSpec).model_fields
        known = [field.alias or name for name, field in fields.items()]
        near = difflib.get_close_matches(parts[-1], known, n=1)
        return f"'{key}' is not a known key; " + (
            f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
        )
    message = _PLAIN.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    shown = f" (it is {given!r})" if isinstance(given, (str, int, float, bool)) else ""
    return f"{key}: {message}{shown}"


def _listed(side: SideSpec, folder: Path) -> str | None:
    """`calibrated` with its path made absolute, where it is a file and no array's name."""
    if side.calibrated is None or Path(side.calibrated).suffix not in LISTS:
        return side.calibrated
    return str((folder / Path(side.calibrated).expanduser()).resolve())


def _absolute(spec: AuditSpec, folder: Path) -> AuditSpec:
    def resolved(path: Path | None) -> Path | None:
        return None if path is None else (folder / path.expanduser()).resolve()

    lists: dict[str, Any] = {
        key: resolved(value)
        for key in ("path", "members", "nonmembers", "calibrated")
        if isinstance(value := getattr(spec.data, key), Path)
    }
    for key, side in spec.data.sides.items():
        lists[key] = side.model_copy(update={"path": resolved(side.path), "calibrated": _listed(side, folder)})
    data = spec.data.model_copy(update=lists)
    model = spec.model.model_copy(update={"checkpoint": resolved(spec.model.checkpoint)})
    target = spec.target
    if target is not None:
        named = target.artifact
        files = resolved(named) if isinstance(named, Path) else {key: resolved(file) for key, file in named.items()}
        target = target.model_copy(update={"artifact": files})
    return spec.model_copy(update={"data": data, "model": model, "target": target})
