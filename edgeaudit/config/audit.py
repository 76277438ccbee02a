"""audit.yaml, typed; unknown keys are rejected, and every message names the key and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from edgeaudit.config.attacks import (
    DEFAULT,
    NEED_CLASSES,
    WITH_SECTIONS,
    WITH_TRACES,
    CmMiaSpec,
    LabelOnlySpec,
    LossTrajectorySpec,
)
from edgeaudit.config.base import Section, each_once, names_of
from edgeaudit.config.budgets import CLASSES, BudgetsInput, BudgetSpec, as_budgets, unset_defaults
from edgeaudit.config.canaries import CanariesSpec
from edgeaudit.config.changes import with_changes
from edgeaudit.config.controls import ControlsSpec, QualitySpec
from edgeaudit.config.data import LISTS, DataSpec, SideSpec
from edgeaudit.config.devices import Devices, DevicesInput, DeviceSpec, as_devices
from edgeaudit.config.entries import AttackEntry, AttackItem, Params
from edgeaudit.config.formats import FormatItem, FormatUse
from edgeaudit.config.limits import LimitsSpec
from edgeaudit.config.mistakes import sentences
from edgeaudit.config.model import ModelSpec
from edgeaudit.config.plain_values import require_finite, require_plain
from edgeaudit.config.report import ReportSpec
from edgeaudit.config.shadows import ShadowsSpec
from edgeaudit.config.target import ALONE, AS_SHIPPED, TargetSpec
from edgeaudit.config.threat import ThreatSpec
from edgeaudit.config.variables import expanded
from edgeaudit.config.yaml_file import bytes_of, mapping_of
from edgeaudit.config.yaml_text import flow_yaml
from edgeaudit.endpoint import LOCAL
from edgeaudit.errors import SpecError, did_you_mean
from edgeaudit.formats.presets import REFERENCES

__all__ = ["AuditSpec", "absolute", "load_spec", "recorded_spec", "spec_of"]


def _as_sets(value: object) -> object:
    """Accept one set without the outer list: [a, b] means [[a, b]]."""
    flat = isinstance(value, list) and value and all(isinstance(one, str) for one in value)
    return [value] if flat else value


def _as_entries(value: object) -> object:
    """Accept one attack without a list."""
    return [value] if isinstance(value, str | dict) else value


_Attacks = Annotated[tuple[AttackItem, ...], Field(min_length=1)]
_Sets = tuple[tuple[str, ...], ...]
_SetsInput = Literal["all"] | tuple[str, ...] | _Sets


def _is_reference(use: FormatUse) -> bool:
    return use.format in REFERENCES.values()


def _fill_target(raw: dict[str, Any]) -> bool:
    """Set what an audit of a foreign target has by default; return whether it is audited without shadows."""
    alone = not raw.get("model") and not raw.get("shadows")
    if alone:
        threat = raw.get("threat") or {}
        if isinstance(threat, dict):
            raw["threat"] = {"shadows": 0, **threat}
    artifact = raw["target"].get("artifact")
    if not raw.get("formats") and isinstance(artifact, str | Path):
        raw["formats"] = [{"format": AS_SHIPPED, "name": Path(artifact).name}]
    elif not raw.get("formats") and isinstance(artifact, dict):
        raw["formats"] = [{"format": AS_SHIPPED, "name": name} for name in artifact]
    return alone


class AuditSpec(Section):
    """The whole of audit.yaml."""

    name: str = Field("audit", max_length=200)
    """Title of the report."""
    seed: int = Field(0, ge=0)
    """Every draw and every model follows from it."""
    targets: int = Field(1, ge=1, le=1024)
    """Models that are audited; each trains on members of its own draw from the audited records."""
    task: Literal["classification", "multi-label", "regression", "reconstruction"] = "classification"
    """What the model is for: one class a record, several labels, values, or the record itself (autoencoders)."""
    target: TargetSpec | None = None
    """A foreign model file, instead of a model that the audit trains."""
    model: ModelSpec = ModelSpec()
    """The model under audit and how such models are trained."""
    data: DataSpec = DataSpec()
    """Records and their split."""
    canaries: CanariesSpec | None = None
    """Records with known truth that are planted into the target's training; by default none."""
    threat: ThreatSpec = ThreatSpec()
    """What the attacker observes and possesses."""
    shadows: ShadowsSpec | None = None
    """Reference models that exist already, beside those that the audit trains (`threat.shadows`, then 0 by default)."""
    controls: ControlsSpec = ControlsSpec()
    """Checks of the audit itself."""
    formats: tuple[FormatItem, ...] = Field(
        default=(FormatUse(format="torch-fp32"), FormatUse(format="onnx-int8-static")), min_length=1
    )
    """The formats to compare: presets, variants of presets, and compositions of passes."""
    devices: Annotated[Devices, BeforeValidator(as_devices, json_schema_input_type=DevicesInput)] = Field(
        default_factory=lambda: {LOCAL: DeviceSpec()}, min_length=1
    )
    """Where formats are queried: profiles, or device -> how to reach it; by default only this machine."""
    attack_entries: Annotated[_Attacks, BeforeValidator(_as_entries, json_schema_input_type=AttackItem | _Attacks)] = (
        Field(default=tuple(map(AttackEntry, DEFAULT)), alias="attacks")
    )
    """Names of attacks (`edgeaudit attacks` lists them), or `{name: {setting: value}}`; `all` is every attack."""
    cm_mia: CmMiaSpec = Field(default=CmMiaSpec(), alias="cm-mia")
    """Settings of the attack `cm-mia`."""
    label_only: LabelOnlySpec = Field(default=LabelOnlySpec(), alias="label-only")
    """Settings of the attack `label-only`."""
    loss_trajectory: LossTrajectorySpec = Field(default=LossTrajectorySpec(), alias="loss-trajectory")
    """Settings of the attack `loss-trajectory`."""
    together: Annotated[Literal["all"] | _Sets, BeforeValidator(_as_sets, json_schema_input_type=_SetsInput)] = ()
    """Sets of formats that one attacker holds, by their ids, or `all` of them."""
    quality: QualitySpec = QualitySpec()
    """Measurements of a format's cost."""
    limits: LimitsSpec = LimitsSpec()
    """Limits of one job."""
    report: ReportSpec = ReportSpec()
    """The reports to write, and what they show of single records."""
    budgets: Annotated[
        dict[Annotated[str, names_of("metric")], tuple[BudgetSpec, ...]],
        BeforeValidator(as_budgets, json_schema_input_type=BudgetsInput),
    ] = Field(default_factory=dict)
    """A preset (strict, recommended, exploratory), or metric -> `[warn | error, {max: ...}]`, or a list of them."""

    @model_validator(mode="before")
    @classmethod
    def _as_shipped(cls, raw: object) -> object:
        """A foreign target: without a recipe there are no shadows; without a format it has its own.

        Where reference models are given, no others are trained unless audit.yaml says how many. By default no attack
        runs that a task cannot have: one that is asked for and cannot run keeps every budget from a pass.
        """
        if not isinstance(raw, dict):
            return raw
        classes = raw.get("task", "classification") == "classification"
        if raw.get("shadows"):
            threat = raw.get("threat") or {}
            if isinstance(threat, dict):
                raw = {**raw, "threat": {"shadows": 0, **threat}}
        raw = dict(raw)
        alone = isinstance(raw.get("target"), dict) and _fill_target(raw)
        default = ALONE if alone else DEFAULT
        if alone or not classes:
            raw.setdefault("attacks", [name for name in default if classes or name not in NEED_CLASSES])
        return raw

    def with_writers(self, names: Iterable[str]) -> AuditSpec:
        """The same audit with additional report writers."""
        writers = tuple(dict.fromkeys((*self.report.writers, *names)))
        return self.model_copy(update={"report": self.report.model_copy(update={"writers": writers})})

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of the attacks, in the order of audit.yaml; `all` means every attack."""
        return tuple(entry.name for entry in self.attack_entries)

    @property
    def attack_settings(self) -> Mapping[str, Params]:
        """Attack -> its settings in audit.yaml, for attacks that have any."""
        return {entry.name: entry.settings for entry in self.attack_entries if entry.settings}

    def with_attacks(self, names: Iterable[str]) -> AuditSpec:
        """The same audit with these attacks; existing ones keep their settings."""
        entries = tuple(AttackEntry(name, self.attack_settings.get(name, {})) for name in names)
        return self.model_copy(update={"attack_entries": entries})

    @property
    def places(self) -> list[tuple[FormatUse, str]]:
        """Every (format, name of a device on which it is queried), in the order of the report.

        The trained model itself is not deployed: references are only queried on this machine.
        """
        return [
            (use, name)
            for use in self.formats
            for name, device in self.devices.items()
            if (use.id in device.formats if device.formats is not None else device.is_local or not _is_reference(use))
        ]

    @property
    def recipe_known(self) -> bool:
        """Whether models can be trained: always, except for a foreign target without a recipe."""
        return self.target is None or self.threat.shadows > 0 or self._checkpoints > 0

    @property
    def shadow_count(self) -> int:
        """Number of models that attacks learn from: trained by the audit, and given."""
        return self.threat.shadows + (0 if self.shadows is None else len(self.shadows.models))

    @property
    def null_targets(self) -> int:
        """Number of models that trained on none of the audited records.

        Where all shadows are given, none is trained unless audit.yaml asks for it.
        """
        asked = self.controls.null_targets
        if asked is None:
            asked = 1 if self.threat.shadows > 0 or self.shadows is None else 0
        return asked if self.recipe_known else 0

    def given_checkpoint(self, number: int) -> Path | None:
        """The checkpoint of a given shadow, which goes through the passes; None where it is a model file."""
        named = None if self.shadows is None else self.shadows.models[number]
        return named if isinstance(named, Path) and not self._is_file(named) else None

    def given_file(self, number: int, use: FormatUse) -> Path | None:
        """The model file of a given shadow in this format; None where it is a checkpoint."""
        named = None if self.shadows is None else self.shadows.models[number]
        if isinstance(named, Path):
            return named if self._is_file(named) else None
        return None if named is None else named[use.id]

    def _is_file(self, named: Path) -> bool:
        """Whether a given shadow is a file of the target's kind."""
        artifact = None if self.target is None else self.target.artifact
        return isinstance(artifact, Path) and artifact.suffix == named.suffix

    @property
    def _checkpoints(self) -> int:
        """Number of given shadows that are checkpoints."""
        count = 0 if self.shadows is None else len(self.shadows.models)
        return sum(self.given_checkpoint(number) is not None for number in range(count))

    def artifact_of(self, use: FormatUse) -> Path | None:
        """The file that is this format's target; None if the audit creates it."""
        if self.target is None:
            return None
        return self.target.artifact if isinstance(self.target.artifact, Path) else self.target.artifact[use.id]

    @field_validator("formats")
    @classmethod
    def _names_differ(cls, formats: tuple[FormatUse, ...]) -> tuple[FormatUse, ...]:
        each_once(tuple(f.id for f in formats), "; give one of them a 'name'")
        return formats

    @field_validator("attack_entries")
    @classmethod
    def _attacks_differ(cls, entries: tuple[AttackEntry, ...]) -> tuple[AttackEntry, ...]:
        each_once(tuple(entry.name for entry in entries))
        for entry in entries:
            if entry.settings and entry.name == "all":
                raise ValueError("'all' means every attack and has no settings; name the attack that they belong to")
            if entry.settings and entry.name in WITH_SECTIONS:
                section = flow_yaml({entry.name: entry.settings})[1:-1]
                raise ValueError(
                    f"the settings of '{entry.name}' have their own section of audit.yaml: write {section} there"
                )
        return entries

    @model_validator(mode="after")
    def _devices_fit(self) -> AuditSpec:
        ids = [use.id for use in self.formats]
        for name, device in self.devices.items():
            if device.is_local != (name == LOCAL):
                raise ValueError(f"devices.{name}: '{LOCAL}' is reserved for this machine")
            for format_id in device.formats or ():
                if format_id not in ids:
                    hint = did_you_mean(format_id, ids)
                    raise ValueError(f"devices.{name}.formats: '{format_id}' is not a format of this audit.{hint}")
            for use in self.formats if not device.is_local else ():
                if _is_reference(use) and use.id in (device.formats or ()):
                    raise ValueError(
                        f"devices.{name}.formats: '{use.id}' is the trained model itself, which is not deployed; it is "
                        f"queried on '{LOCAL}' only"
                    )
            if device.is_server and self.targets > 1:
                raise ValueError(f"devices.{name}: a server serves one target, and 'targets' is {self.targets}")
        queried = {use.id for use, _ in self.places}
        for use in self.formats:
            if use.id not in queried:
                alone = f"add '{LOCAL}' to devices" if _is_reference(use) else "name it in a device's 'formats'"
                raise ValueError(f"formats: '{use.id}' is not queried on any device; {alone}, or remove it")
        return self

    @model_validator(mode="after")
    def _sets_of_formats(self) -> AuditSpec:
        ids = [use.id for use in self.formats]
        if self.together == "all" and len(ids) < 2:
            raise ValueError("together: all needs two or more formats, but there is one")
        seen: list[set[str]] = []
        for format_set in () if self.together == "all" else self.together:
            for name in format_set:
                if name not in ids:
                    hint = did_you_mean(name, ids)
                    raise ValueError(
                        f"together: '{name}' is not a format of this audit.{hint} There are: {', '.join(ids)}"
                    )
            names = ", ".join(format_set)
            if len(set(format_set)) < 2 or len(set(format_set)) < len(format_set):
                raise ValueError(f"together: a set needs two or more different formats; got [{names}]")
            if set(format_set) in seen:
                raise ValueError(f"together: the set [{names}] is listed twice")
            seen.append(set(format_set))
        return self

    @model_validator(mode="after")
    def _canaries_can_be_planted(self) -> AuditSpec:
        trained = "model.checkpoint" if self.model.checkpoint is not None else "target.artifact"
        if self.canaries is not None and (self.model.checkpoint is not None or self.target is not None):
            raise ValueError(
                f"canaries are planted into the training of the target, and {trained} is trained already: remove "
                "'canaries', or audit a model that the audit trains"
            )
        return self

    @model_validator(mode="after")
    def _task_fits(self) -> AuditSpec:
        """Refuse what tasks without classes have not, in one sentence each."""
        if self.task == "classification":
            return self
        stated = self.model.accuracy is not None or (self.target is not None and self.target.accuracy is not None)
        named = [name for name in self.attacks if name in WITH_TRACES]
        values = self.task in ("regression", "reconstruction")
        for wrong, sentence in (
            (stated, "an accuracy is a share of right classes; remove 'accuracy'"),
            (self.canaries is not None, "canaries are made with labels of classes; remove 'canaries'"),
            (
                any(one.subset.startswith(CLASSES) for limits in self.budgets.values() for one in limits),
                "there are no figures by class; remove the budget's 'subset'",
            ),
            (self.together, "attacks on several formats together read an answer for each class; remove 'together'"),
            (self.threat.weaker, "weaker exposures are of an answer for each class; remove 'threat.weaker'"),
            (
                self.threat.views and self.task == "reconstruction",
                "what is to be reconstructed of a transformed record is another record; remove 'threat.views'",
            ),
            (named, f"'{', '.join(named)}' needs predicted classes; remove it from 'attacks'"),
            (
                values and self.model.label_smoothing > 0,
                "no labels to smooth; remove 'model.label_smoothing'",
            ),
            (
                values and any(use.softmax == "inside" for use in self.formats),
                "values are no probabilities; remove 'softmax: inside'",
            ),
            (
                self.target is not None and self.target.outputs is not None,
                "outputs are in the order of the data's labels or values; remove 'target.outputs'",
            ),
        ):
            if wrong:
                raise ValueError(f"task: {self.task}: {sentence}")
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
                raise ValueError("model.checkpoint is one trained target; remove 'targets'")
        if self.threat.exposure == "logits" and any(f.softmax == "inside" for f in self.formats):
            raise ValueError(
                "a format with softmax: inside outputs probabilities; threat.exposure: logits needs logits"
            )
        count = self.shadow_count
        if count == 1 or (count == 0 and self.target is None):
            key = "threat.shadows" if self.shadows is None else "threat.shadows and shadows.models"
            raise ValueError(f"{key}: at least 2 are needed (it is {count})")
        if self.shadows is not None:
            self._shadows_fit(self.shadows)
        if self.target is not None:
            self._target_fits(self.target)
        return self

    def _shadows_fit(self, shadows: ShadowsSpec) -> None:
        if isinstance(self.data.members, int):
            raise ValueError(  # noqa: TRY004  pydantic collects ValueErrors alone
                "shadows.members are ids of records, which are drawn where data.members is a number: list the target's "
                "members and nonmembers as files of ids as well"
            )
        if self.canaries is not None:
            raise ValueError("shadows.models are trained already, without canaries; remove 'canaries'")
        ids = {use.id for use in self.formats}
        for number, named in enumerate(shadows.models):
            if self.given_checkpoint(number) is not None and "model" not in self.model_fields_set:
                raise ValueError(
                    f"shadows.models[{number}]: a checkpoint needs its architecture; name it in model.recipe, or give "
                    "files of the target's kind"
                )
            if isinstance(named, dict) and set(named) != ids:
                raise ValueError(
                    f"shadows.models[{number}] has files for {', '.join(named)}, but formats has "
                    f"{', '.join(use.id for use in self.formats)}; each format needs its file"
                )
            if isinstance(named, dict) and self.target is None:
                raise ValueError(
                    f"shadows.models[{number}]: model files are shadows of a target that is a file itself "
                    "(target.artifact); give checkpoints of model.recipe, which go through the target's passes"
                )

    def _target_fits(self, target: TargetSpec) -> None:
        shipped = [f.id for f in self.formats if f.format == AS_SHIPPED]
        if self.model.checkpoint is not None or self.model.accuracy is not None or self.targets > 1:
            raise ValueError(
                "target.artifact is the one target; remove 'model.checkpoint' and 'targets', and write "
                "'model.accuracy' as target.accuracy"
            )
        if isinstance(self.data.members, int):
            raise ValueError(  # noqa: TRY004  pydantic collects ValueErrors alone
                "target.artifact is a trained target: data.members and data.nonmembers must be files with the ids of "
                "the records it was and was not trained on, or {path: ...}"
            )
        if self.data.preprocessing is None:
            raise ValueError(
                "data.preprocessing is required with target.artifact: raw (values as they are in the data), unit (0..1 "
                "of 0..255), symmetric (-1..1 of 0..255), imagenet, standardise, or {scale: ..., mean: ..., std: ...}"
            )
        if isinstance(target.artifact, Path) and len(self.formats) > 1:
            raise ValueError(
                f"target.artifact is one file, but formats has {len(self.formats)} entries; name the format of the "
                "file, or give a file for each format: target.artifact: {<format>: <file>}"
            )
        if isinstance(target.artifact, dict) and set(target.artifact) != {f.id for f in self.formats}:
            raise ValueError(
                f"target.artifact has files for {', '.join(target.artifact)}, but formats has "
                f"{', '.join(f.id for f in self.formats)}; each format needs its file"
            )
        if shipped and (self.threat.shadows or self._checkpoints):
            raise ValueError(
                f"formats: shadows need the toolchain of the target; name the actual format of "
                f"'{shipped[0]}' (`edgeaudit formats` lists them), or remove 'model' and threat.shadows to run "
                "the attacks that need no shadows"
            )
        if "model" not in self.model_fields_set and self.threat.shadows:
            raise ValueError("threat.shadows: shadows need a recipe; name it in model.recipe, or remove threat.shadows")
        if not self.shadow_count and self.together:
            raise ValueError("together: combined attacks learn from shadows; name the recipe in model.recipe")
        files = self.shadows is not None and self._checkpoints < len(self.shadows.models)
        if (files or not self.recipe_known) and set(self.threat.shadow_match) != {"matched"}:
            raise ValueError("threat.shadow_match: there are no uncompressed shadows without model.recipe; remove it")


def load_spec(path: Path, changes: Iterable[str] = ()) -> AuditSpec:
    """Read audit.yaml. Relative paths in it are taken from its folder. changes: see `with_changes`.

    Raises `SpecError` that names file, key and remedy.
    """
    content = bytes_of(path, "audit.yaml", "`edgeaudit init` writes a starter file")
    raw = mapping_of(content, path, "model, data, formats, ...")
    return spec_of(with_changes(raw, changes), path.resolve().parent, where=f"{path}: ")


def spec_of(raw: Mapping[str, object], folder: Path, where: str = "") -> AuditSpec:
    """The audit that a mapping with the keys of audit.yaml describes. Relative paths in it are taken from `folder`.

    Raises `SpecError` that names key and remedy, after `where`.
    """
    try:
        require_plain(raw)
        read = expanded(dict(raw))
        spec = AuditSpec.model_validate(read)
        require_finite(read)
    except ValidationError as exc:
        raise SpecError(where + "; ".join(sentences(exc, AuditSpec))) from exc
    except SpecError as exc:
        raise SpecError(f"{where}{exc}") from exc
    return absolute(spec, folder)


def recorded_spec(raw: Mapping[str, object], path: Path) -> AuditSpec:
    """The spec that an audit.json records, which another version may have written. Raises `SpecError` naming `path`."""
    try:
        require_plain(raw)
        return AuditSpec.model_validate({**raw, "budgets": unset_defaults(raw.get("budgets"))})
    except SpecError as exc:
        raise SpecError(f"{path}: {exc}") from exc
    except ValidationError as exc:
        mistakes = "; ".join(sentences(exc, AuditSpec))
        raise SpecError(
            f"{path}: this version of edgeaudit cannot read its spec: {mistakes}. Run the audit again"
        ) from exc


def _listed(side: SideSpec, folder: Path) -> str | None:
    """`calibrated` with its path made absolute, where it is a file and no array's name."""
    if side.calibrated is None or Path(side.calibrated).suffix not in LISTS:
        return side.calibrated
    return str((folder / Path(side.calibrated).expanduser()).resolve())


def absolute(spec: AuditSpec, folder: Path) -> AuditSpec:
    """The same audit with absolute paths; relative ones are taken from `folder`."""

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
    shadows = spec.shadows
    if shadows is not None:
        models = tuple(
            resolved(one) if isinstance(one, Path) else {key: resolved(file) for key, file in one.items()}
            for one in shadows.models
        )
        shadows = shadows.model_copy(update={"models": models, "members": tuple(map(resolved, shadows.members))})
    return spec.model_copy(update={"data": data, "model": model, "target": target, "shadows": shadows})
