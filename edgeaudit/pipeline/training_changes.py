"""Changes of the training that `edgeaudit advise` tries: which keys of audit.yaml they replace, and where they fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from edgeaudit.config.audit import AuditSpec
from edgeaudit.errors import EdgeAuditError, SpecError, did_you_mean
from edgeaudit.host.packages import package_versions
from edgeaudit.recipes.frameworks import framework_of

__all__ = ["CHANGES", "PlannedChange", "planned_changes", "require_trainable"]

_EPSILON, _DELTA, _CLIP = 8, 1e-5, 1.0
_PATIENCE, _SHARE = 5, 0.1
_SMOOTHING, _MORE_DECAY, _DEFAULT_DECAY = 0.1, 10, 5e-4


class _DoesNotFit(Exception):
    """Why a change does not fit an audit."""


@dataclass(frozen=True)
class PlannedChange:
    """A change for one audit. keys: `key=value` of audit.yaml. why: the change does not fit, and has no keys."""

    name: str
    about: str
    keys: tuple[str, ...] = ()
    why: str | None = None


@dataclass(frozen=True)
class _Change:
    """about: spec -> the change in a few words. keys: spec -> `key=value`; raises `_DoesNotFit`."""

    about: Callable[[AuditSpec], str]
    keys: Callable[[AuditSpec], tuple[str, ...]]


def require_trainable(spec: AuditSpec) -> None:
    """Raise `SpecError` where the audited model, or something that stands beside it, cannot be trained again."""
    for key, what, given in (
        ("model.checkpoint", "the checkpoint", spec.model.checkpoint is not None),
        ("target.artifact", "the file", spec.target is not None),
        ("shadows.models", "reference models that were given", spec.shadows is not None),
    ):
        if given:
            raise SpecError(
                f"{key}: {what} cannot be trained again with a change. Advice needs the training itself: remove {key}, "
                "and name architecture and training as model.recipe and its settings, or your own loop as model.train, "
                "with data.members and data.nonmembers as numbers or the same lists"
            )
    served = next((name for name, device in spec.devices.items() if device.is_server), None)
    if served is not None:
        raise SpecError(
            f"devices.{served}: a server serves the files that it was given, not those of another training; leave it "
            f"out with --set, or audit on this machine"
        )


def planned_changes(spec: AuditSpec, names: Iterable[str] = ()) -> list[PlannedChange]:
    """Each change as it applies to this audit, in the order of `CHANGES`, or of `names`.

    Raises:
        SpecError: there is no such change.
    """
    wanted = list(dict.fromkeys(name.strip() for name in names)) or list(CHANGES)
    unknown = next((name for name in wanted if name not in CHANGES), None)
    if unknown is not None:
        raise SpecError(
            f"--changes: '{unknown}' is no change.{did_you_mean(unknown, CHANGES)} There are: {', '.join(CHANGES)}. To "
            "try another one, run the audit with --set and compare both runs"
        )
    found = []
    for name in wanted:
        change = CHANGES[name]
        try:
            found.append(PlannedChange(name, change.about(spec), change.keys(spec)))
        except _DoesNotFit as exc:
            found.append(PlannedChange(name, change.about(spec), why=str(exc)))
    return found


# ---- where they fit


def _fewer_epochs(spec: AuditSpec) -> tuple[str, ...]:
    if framework_of(spec.model.recipe).kind == "sklearn":
        raise _DoesNotFit(f"'{spec.model.recipe}' is fitted without epochs")
    if spec.model.epochs < 2:
        raise _DoesNotFit("model.epochs is 1 already")
    return (f"model.epochs={spec.model.epochs // 2}",)


def _early_stopping(spec: AuditSpec) -> tuple[str, ...]:
    _require_built_in(spec, "early stopping", ("torch",))
    if spec.model.early_stopping is not None:
        raise _DoesNotFit("model.early_stopping is set already")
    if spec.model.privacy is not None:
        raise _DoesNotFit("model.privacy is set, whose privacy loss does not count the choice of an epoch")
    return (f"model.early_stopping={{patience: {_PATIENCE}, share: {_SHARE:g}}}",)


def _weight_decay(spec: AuditSpec) -> tuple[str, ...]:
    _require_built_in(spec, "model.weight_decay", ("torch", "keras"))
    return (f"model.weight_decay={_decay(spec):g}",)


def _decay(spec: AuditSpec) -> float:
    return _MORE_DECAY * (spec.model.weight_decay or _DEFAULT_DECAY)


def _label_smoothing(spec: AuditSpec) -> tuple[str, ...]:
    _require_built_in(spec, "model.label_smoothing", ("torch", "keras"))
    if spec.task in ("regression", "reconstruction"):
        raise _DoesNotFit(f"task: {spec.task} has no labels to smooth")
    if spec.model.label_smoothing >= _SMOOTHING:
        raise _DoesNotFit(f"model.label_smoothing is {spec.model.label_smoothing:g} already")
    return (f"model.label_smoothing={_SMOOTHING:g}",)


def _dp_sgd(spec: AuditSpec) -> tuple[str, ...]:
    _require_built_in(spec, "DP-SGD", ("torch",))
    if spec.model.privacy is not None:
        raise _DoesNotFit("model.privacy is set already")
    if spec.model.early_stopping is not None:
        raise _DoesNotFit("model.early_stopping is set, and the privacy loss does not count the choice of an epoch")
    if spec.model.precision != "float32":
        raise _DoesNotFit(f"model.precision is {spec.model.precision}, and gradients of single records need float32")
    if spec.task == "regression":
        raise _DoesNotFit("the loss of task: regression is in deviations of the training records' values")
    try:
        package_versions("DP-SGD", ("opacus",), "dp")
    except EdgeAuditError as exc:
        raise _DoesNotFit(str(exc)) from exc
    return (f"model.privacy={{epsilon: {_EPSILON}, delta: {_DELTA:g}, clip: {_CLIP:g}}}",)


def _require_built_in(spec: AuditSpec, what: str, kinds: tuple[str, ...]) -> None:
    """Raise `_DoesNotFit` where the training is not by the built-in loop of one of these frameworks."""
    kind = framework_of(spec.model.recipe).kind
    if spec.model.train is not None:
        raise _DoesNotFit(
            f"model.train '{spec.model.train}' is given seed and epochs alone, and {what} is of the built-in loop: "
            "change your own loop, run the audit again, and compare both runs"
        )
    if kind not in kinds:
        raise _DoesNotFit(f"{what} is of the built-in loop of {' and '.join(kinds)} recipes, and this one is {kind}")


CHANGES: Mapping[str, _Change] = {
    "fewer-epochs": _Change(
        lambda spec: f"{spec.model.epochs // 2} epochs in place of {spec.model.epochs}", _fewer_epochs
    ),
    "early-stopping": _Change(
        lambda _: f"stops after {_PATIENCE} epochs without a lower loss on {_SHARE:.0%} held-out members",
        _early_stopping,
    ),
    "weight-decay": _Change(
        lambda spec: f"weight decay {_decay(spec):g} in place of {spec.model.weight_decay:g}", _weight_decay
    ),
    "label-smoothing": _Change(
        lambda spec: f"label smoothing {_SMOOTHING:g} in place of {spec.model.label_smoothing:g}", _label_smoothing
    ),
    "dp-sgd": _Change(
        lambda _: f"differential privacy, epsilon {_EPSILON} at delta {_DELTA:g}, gradients clipped to {_CLIP:g}",
        _dp_sgd,
    ),
}
"""Name -> change, in the order in which they are tried."""
