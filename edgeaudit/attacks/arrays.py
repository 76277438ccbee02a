"""Attacks on arrays that somebody brings: answers of a target and its shadows, from whatever made them.

Needs numpy, scipy and scikit-learn; no toolchain, file or audit.yaml. `attack` is imported from `edgeaudit` itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.base import Attack
from edgeaudit.attacks.evidence import BoolArray, Evidence, Exposure, FloatArray, Grid, InputArray, IntArray
from edgeaudit.attacks.registry import chosen_attacks, find_attack
from edgeaudit.attacks.spec import Mode, Scores
from edgeaudit.attacks.threshold import Threshold, learn_threshold
from edgeaudit.errors import AttackError
from edgeaudit.leakage.metrics import Figure, figures, unresolved
from edgeaudit.rows import Rows, data_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AttackFigure", "AttackResult", "Grid", "Reference", "VariantScores", "attack"]

_DEFAULT = ("cm-mia", "lira", "yeom", "gap")
_ROUNDING = 1e-3
"""By how much a probability may lie outside [0, 1]."""
_ROUNDED = 5e-3
"""By how much a probability may be rounded, as by two decimals; 8 bits round less. The sum of a record's may be off by
as much for each class, but by no more than `_OFF`."""
_OFF = 0.5


@dataclass(frozen=True)
class Reference:
    """Answers on reference records: those that the target did not train on and an attacker knows about.

    target, shadows, out, labels, inputs: as in `attack`, of the same models, on the reference records. Shadows that
    trained on some of them (`out` False) are what `cm-mia`'s `calibrated`, `shokri` and others learn from.
    """

    target: npt.ArrayLike
    shadows: npt.ArrayLike | None
    out: npt.ArrayLike | None
    labels: npt.ArrayLike
    inputs: npt.ArrayLike | None = None


@dataclass(frozen=True)
class _Columns:
    """What a figure is of: the columns before its own."""

    attack: str
    variant: str


@dataclass(frozen=True)
class AttackFigure(Figure, _Columns):
    """One figure of one variant; see `edgeaudit.leakage.metrics.figures` for the metrics.

    value is None where the figure cannot be resolved or the variant cannot be run, and note says why. low, high: 95%
    interval. realised_fpr: at the threshold that was used.
    """


@dataclass(frozen=True, eq=False)
class VariantScores:
    """What one variant of an attack answers. scores is None where it cannot be run, and reason says why."""

    attack: str
    variant: str
    scores: Scores | None
    reason: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class AttackResult:
    """What attacks answer on brought arrays.

    variants: every variant of every attack, in order, those that cannot be run with the reason. leakage: figures of
    each variant where memberships were given, else no rows. mode: `auditor` where shadows trained on some of the
    records, which puts online variants first.
    """

    variants: tuple[VariantScores, ...]
    leakage: Rows[AttackFigure]
    mode: Mode = "adversary"

    def scores(self, attack: str, variant: str | None = None) -> Scores:
        """The scores of a variant.

        Args:
            attack: its name.
            variant: one of its variants; None for the first of its headline variants that could be run, as in reports.

        Raises:
            AttackError: the attack was not run, or cannot be: the message has the reason.
        """
        spec = find_attack(attack).spec
        names = spec.headlines_in(self.mode) if variant is None else (variant,)
        found = [one for name in names for one in self.variants if (one.attack, one.variant) == (attack, name)]
        if not found:
            known = ", ".join(f"{one.attack}/{one.variant}" for one in self.variants)
            raise AttackError(f"there is no '{attack}/{names[0]}' in this result; it has: {known}")
        scored = next((one.scores for one in found if one.scores is not None), None)
        if scored is None:
            raise AttackError(f"{found[0].attack}/{found[0].variant} is not applicable: {found[0].reason}")
        return scored

    def to_frame(self) -> pd.DataFrame:
        """The scores, with a row for each record and a column `attack/variant` for each variant that could be run.

        Raises:
            MissingToolchain: pandas is not installed; carries the pip line.
        """
        scored = ((f"{one.attack}/{one.variant}", one.scores) for one in self.variants)
        return data_frame({name: scores.score for name, scores in scored if scores is not None})

    def __repr__(self) -> str:
        scored = sum(one.scores is not None for one in self.variants)
        unscored = len(self.variants) - scored
        return f"AttackResult({scored} variants, {unscored} not applicable, {len(self.leakage)} figures)"


def attack(  # noqa: PLR0913  an array an argument; all but four have defaults and are keywords
    target: npt.ArrayLike,
    shadows: npt.ArrayLike | None,
    out: npt.ArrayLike | None,
    labels: npt.ArrayLike,
    *,
    members: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    attacks: str | Attack | Iterable[str | Attack] = _DEFAULT,
    exposure: Exposure = "probabilities",
    reference: Reference | None = None,
    inputs: npt.ArrayLike | None = None,
    grid: Grid | None = None,
    floor: float = 1 / 512,
    seed: int = 0,
) -> AttackResult:
    """Run membership inference attacks on a target's answers.

    Args:
        target: numbers [records, classes], the target's answers.
        shadows: numbers [K, records, classes], the answers of K shadow models on the same records; None for none.
        out: bool [K, records]; True where the shadow did not train on the record. None where there are no shadows.
        labels: integers [records], each in [0, classes).
        members: bool [records]; whether the target trained on the record. Attacks do not see it; with it, the result
            has figures. None where that is not known.
        groups: integers [records], equal for related records (copies, one user's), by which intervals are computed.
            None where records are independent.
        attacks: names (`edgeaudit attacks` lists them; `all` for every one) or attacks that were made with settings.
        exposure: what the answers are: `probabilities`, each in [0, 1] and a row's with the sum 1, or `logits`.
        reference: answers on records that the target did not train on; several variants learn from them.
        inputs: numbers [records, ...], the records as the models are given them; read by `quantile-regression`.
        grid: of integer outputs, one for each model; read by `cm-mia`'s `discrete`.
        floor: probabilities are clipped to [floor, 1 - floor].
        seed: of the draws with which thresholds are learned.

    Returns:
        Scores of every variant; what cannot be run is in the result with its reason.

    Raises:
        AttackError: an argument has another shape, type or range (the message names it), or an attack is unknown.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> labels, members = rng.integers(0, 3, 200), np.arange(200) < 100
        >>> def answers(trained):  # models are surer of what they trained on
        ...     logits = rng.normal(size=(200, 3)) + 2 * np.eye(3)[labels] * (1 + trained[:, None])
        ...     return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        >>> out = rng.random((8, 200)) < 0.5
        >>> result = attack(
        ...     answers(members), [answers(~row) for row in out], out, labels, members=members, attacks="yeom"
        ... )
        >>> area = result.leakage[0]
        >>> f"{area.attack} {area.metric} {area.value:.2f} [{area.low:.2f}, {area.high:.2f}]"
        'yeom auc 0.83 [0.77, 0.88]'
    """
    _require_exposure(exposure)
    if not isinstance(reference, Reference | None):
        raise AttackError(f"reference: must be an edgeaudit.Reference or None; it is {_kind(reference)}")
    if not isinstance(grid, Grid | None):
        raise AttackError(f"grid: must be an edgeaudit.attacks.arrays.Grid or None; it is {_kind(grid)}")
    _require_floor(floor, exposure)
    _require_seed(seed)
    made = tuple(_made(attacks))
    brought = Reference(target, shadows, out, labels, inputs)
    evidence = _evidence("", brought, exposure, floor, grid)
    known = None if reference is None else _evidence("reference.", reference, exposure, floor, grid)
    if known is not None:
        _require_same_models(evidence, known)
    sides = None if members is None else _members(members, len(evidence.labels))
    related = None if groups is None else _groups(groups, len(evidence.labels))
    variants: list[VariantScores] = []
    leakage: list[AttackFigure] = []
    for one in made:
        for variant in one.spec.variants:
            found = _scored(one, variant, evidence, known)
            variants.append(found)
            if sides is not None:
                leakage += _figures(one, found, evidence, known, (sides, related), seed)
    mode: Mode = "adversary" if evidence.out.all() else "auditor"
    return AttackResult(tuple(variants), Rows(leakage, of=AttackFigure), mode)


def _made(attacks: str | Attack | Iterable[str | Attack]) -> Iterator[Attack]:
    """The attacks, each once, in order."""
    if isinstance(attacks, Mapping | bytes) or not isinstance(attacks, str | Attack | Iterable):
        raise AttackError(f"attacks: must be names or attacks, as in ['lira', 'yeom']; it is {_kind(attacks)}")
    chosen = (attacks,) if isinstance(attacks, str | Attack) else tuple(attacks)
    if not chosen:
        raise AttackError("attacks: names one or more attacks; it is empty")
    for one in chosen:
        if not isinstance(one, str | Attack):
            raise AttackError(f"attacks: must be names or attacks; one is {_kind(one)}")
    ready = {one.spec.name: one for one in chosen if isinstance(one, Attack)}
    for name in chosen_attacks(one if isinstance(one, str) else one.spec.name for one in chosen):
        yield ready[name] if name in ready else find_attack(name)()


def _require_floor(floor: object, exposure: Exposure) -> None:
    if isinstance(floor, bool) or not isinstance(floor, int | float | np.integer | np.floating):
        raise AttackError(f"floor: must be a number; it is {_kind(floor)}")
    if not (0 if exposure == "logits" else np.finfo(np.float64).tiny) <= floor < 0.5:
        least = "at least 0" if exposure == "logits" else "above 0"
        raise AttackError(f"floor: must be {least} and below 0.5; it is {floor}")


def _require_exposure(exposure: object) -> None:
    if not isinstance(exposure, str) or exposure not in get_args(Exposure):
        raise AttackError(f"exposure: must be one of {', '.join(get_args(Exposure))}; it is {exposure!r}")


def _require_seed(seed: object) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise AttackError(f"seed: must be an integer of at least 0; it is {seed!r}")


def _kind(value: object) -> str:
    """What a value is, for messages."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _scored(one: Attack, variant: str, evidence: Evidence, known: Evidence | None) -> VariantScores:
    reason = one.inapplicable(evidence, known, variant)
    if reason is not None:
        return VariantScores(one.spec.name, variant, None, reason)
    return VariantScores(one.spec.name, variant, one.score(evidence, variant, known))


def _figures(
    one: Attack,
    found: VariantScores,
    evidence: Evidence,
    known: Evidence | None,
    sides: tuple[BoolArray, IntArray | None],
    seed: int,
) -> Iterator[AttackFigure]:
    members, groups = sides
    if found.scores is None:
        rows: list[Figure] = [unresolved("auc", members, f"not applicable: {found.reason}")]
    else:
        threshold = _threshold(one, found.variant, evidence, known, seed)
        rows = figures(found.scores.score, members, threshold.value, threshold.note, groups)
    for row in rows:
        yield AttackFigure(found.attack, found.variant, **asdict(row))


def _threshold(one: Attack, variant: str, evidence: Evidence, known: Evidence | None, seed: int) -> Threshold:
    """One that is learned from shadows, never from the memberships of the scored records."""
    natural = one.spec.threshold_of(variant)
    if natural is not None:
        return Threshold(natural)
    if not evidence.out.all():
        learned = learn_threshold(one, variant, evidence, seed=seed)
        if learned.note is None:
            return learned  # else it rests on the target's scores here, and these are no known nonmembers
    if known is not None:
        return learn_threshold(one, variant, known, seed=seed)
    note = "no a-priori threshold: it is learned from shadows that trained on some of the records, or of reference"
    return Threshold(None, note)


def _evidence(prefix: str, brought: Reference, exposure: Exposure, floor: float, grid: Grid | None) -> Evidence:
    """The arrays, checked and converted; errors name the argument, after `prefix`."""
    target = _answers(f"{prefix}target", brought.target, 2, exposure)
    n, classes = target.shape
    shadows, out = _shadows(prefix, brought, (n, classes), exposure)
    labels = _labels(f"{prefix}labels", brought.labels, n, classes)
    inputs = None if brought.inputs is None else _inputs(f"{prefix}inputs", brought.inputs, n)
    return Evidence(target, shadows, out, labels, exposure, floor, inputs, grid)


def _shadows(
    prefix: str, brought: Reference, shape: tuple[int, int], exposure: Exposure
) -> tuple[FloatArray, BoolArray]:
    if (brought.shadows is None) != (brought.out is None):
        raise AttackError(f"{prefix}shadows and {prefix}out: give both, or neither where there are no shadows")
    if brought.shadows is None or brought.out is None:
        return np.empty((0, *shape)), np.empty((0, shape[0]), dtype=np.bool_)
    shadows = _answers(f"{prefix}shadows", brought.shadows, 3, exposure)
    if shadows.shape[1:] != shape:
        raise AttackError(
            f"{prefix}shadows: must be [K, records, classes] with the target's {shape[0]} records and {shape[1]} "
            f"classes; it is {shadows.shape}"
        )
    return shadows, _mask(f"{prefix}out", brought.out, shadows.shape[:2])


def _array(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    if np.ma.isMaskedArray(value):
        raise AttackError(f"{name}: is a masked array, whose masked values would be read; give a plain array")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as exc:  # ragged lists; tensors on a GPU or with gradients
        first = str(exc).partition(". ")[0].rstrip(".")
        raise AttackError(f"{name}: cannot be read as an array: {first}; give a numpy array") from exc
    if array.dtype == object:
        if isinstance(value, np.ndarray):
            what = "it is of dtype object; give, for instance, its .astype(float)"
        else:
            what = f"it has {_kind(value) if array.ndim == 0 else 'values that are no numbers, as None'}"
        raise AttackError(f"{name}: must be an array of numbers or truth values; {what}")
    return array


def _answers(name: str, value: npt.ArrayLike, axes: int, exposure: Exposure) -> FloatArray:
    array = _numbers(name, value)
    if array.ndim != axes:
        expected = "[records, classes]" if axes == 2 else "[K, records, classes]"
        raise AttackError(f"{name}: must be {expected}; it is {array.shape}")
    if array.shape[-1] < 2 or not array.size:
        expected = "[1 or more records, 2 or more classes]" if axes == 2 else "[1 or more models, records, classes]"
        raise AttackError(f"{name}: must be {expected}; it is {array.shape}")
    answers = np.asarray(array, dtype=np.float64)
    if exposure == "probabilities":
        _require_probabilities(name, answers)
    return answers


def _require_probabilities(name: str, answers: FloatArray) -> None:
    least, most = answers.min(), answers.max()
    remedy = "write exposure='logits' if these are logits"
    if not -_ROUNDING <= least <= most <= 1 + _ROUNDING:
        raise AttackError(
            f"{name}: probabilities lie in [0, 1], and these run from {least:.3g} to {most:.3g}; {remedy}"
        )
    sums = answers.sum(axis=-1)
    off = np.abs(sums - 1)
    if off.max() > min(_OFF, _ROUNDED * answers.shape[-1]):
        at = tuple(int(i) for i in np.unravel_index(off.argmax(), off.shape))
        raise AttackError(
            f"{name}: the probabilities of a record have the sum 1, and those of {name}[{', '.join(map(str, at))}] "
            f"have {sums[at]:.3g}; give all classes of a softmax, or {remedy}"
        )


def _numbers(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """An array of finite numbers."""
    array = _array(name, value)
    if array.dtype.kind not in "fiu":
        raise AttackError(f"{name}: must be numbers; it is {array.dtype}")
    if not np.isfinite(array).all():
        raise AttackError(f"{name}: {int((~np.isfinite(array)).sum())} of {array.size} values are not finite")
    return array


def _mask(name: str, value: npt.ArrayLike, shape: tuple[int, ...]) -> BoolArray:
    array = _array(name, value)
    if array.dtype != np.bool_:
        raise AttackError(f"{name}: must be bool; it is {array.dtype}, which would select by position")
    if array.shape != shape:
        raise AttackError(f"{name}: must be {shape}; it is {array.shape}")
    return array


def _members(value: npt.ArrayLike, n: int) -> BoolArray:
    members = _mask("members", value, (n,))
    if members.all() or not members.any():
        inside = int(members.sum())
        raise AttackError(f"members: must have members and nonmembers; it has {inside} and {n - inside}")
    return members


def _groups(value: npt.ArrayLike, n: int) -> IntArray:
    array = _array("groups", value)
    if array.dtype.kind not in "iu" or array.shape != (n,):
        raise AttackError(f"groups: must be ({n},) integers, one a record; it is {array.shape} {array.dtype}")
    return array.astype(np.int64)


def _labels(name: str, value: npt.ArrayLike, n: int, classes: int) -> IntArray:
    array = _array(name, value)
    if array.dtype.kind not in "iu":
        raise AttackError(f"{name}: must be integers; it is {array.dtype}")
    if array.shape != (n,):
        raise AttackError(f"{name}: must be ({n},), one a record; it is {array.shape}")
    if n and not 0 <= int(array.min()) <= int(array.max()) < classes:
        raise AttackError(f"{name}: must be in [0, {classes}); they run from {array.min()} to {array.max()}")
    return array.astype(np.int64)


def _inputs(name: str, value: npt.ArrayLike, n: int) -> InputArray:
    array = _numbers(name, value)
    if array.ndim < 2 or len(array) != n or not array[:1].size:
        raise AttackError(f"{name}: must be [{n} records, ...]; it is {array.shape}")
    flat = array.reshape(n, -1)
    return flat if array.dtype.kind == "f" else flat.astype(np.float32)


def _require_same_models(evidence: Evidence, known: Evidence) -> None:
    if len(evidence.shadows) != len(known.shadows):
        raise AttackError(
            f"reference.shadows: must be of the same {len(evidence.shadows)} models as shadows; it is of "
            f"{len(known.shadows)}"
        )
    if evidence.target.shape[1] != known.target.shape[1]:
        raise AttackError(
            f"reference.target: must have the target's {evidence.target.shape[1]} classes; it has "
            f"{known.target.shape[1]}"
        )
    if evidence.inputs is not None and known.inputs is not None:
        values, other = evidence.inputs.shape[1], known.inputs.shape[1]
        if values != other:
            raise AttackError(f"reference.inputs: must have {values} values a record, as inputs; it has {other}")
