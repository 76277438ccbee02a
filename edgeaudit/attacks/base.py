"""The base class of attacks. An attack fits on shadows' answers and scores every record of a target; higher = member.

An attack that learns nothing from shadows implements `_score`:

    class MaxConfidence(Attack):
        spec = AttackSpec(name="max-confidence", variants=("plain",), summary="largest answer", paper="-")

        def _score(self, evidence, variant, reference):
            return Scores(evidence.target.max(axis=1))

An attack that learns from shadows implements `_fit` and returns an object with a method `score` (see `Learned`), which
then scores every target of the same shadows. The arguments of `_fit` hold nothing of a target. Attacks are pure
functions of arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, final

import numpy as np

from edgeaudit.attacks.evidence import Evidence, ShadowAnswers, TargetAnswers
from edgeaudit.attacks.needs import (
    Needs,
    examples_of,
    missing,
    missing_of_shadows,
    require_same_models,
    require_same_shadows,
)
from edgeaudit.attacks.spec import AttackSpec, Scores
from edgeaudit.errors import AttackError

__all__ = [
    "Attack", "AttackSpec", "Evidence", "Learned", "Needs", "Scorer", "Scores", "ShadowAnswers", "TargetAnswers",
]  # fmt: skip


class Learned(Protocol):
    """A variant of an attack, fitted to shadows."""

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:
        """Score every record of one target.

        evidence, reference: on the records passed to `_fit`, with this target's answers.
        """
        ...


@final
@dataclass(frozen=True, eq=False)
class Scorer:
    """A variant of an attack fitted to shadows, as `Attack.fit` returns it. It scores any number of targets.

    shadows, reference: the arguments of `Attack.fit`. learned: the result of `_fit`.
    """

    spec: AttackSpec
    variant: str
    shadows: ShadowAnswers
    reference: ShadowAnswers
    learned: Learned

    def score(self, target: TargetAnswers, reference: TargetAnswers | None = None) -> Scores:
        """Score every record of one target.

        Args:
            target: the target's answers on the audited records.
            reference: the target's answers on the reference records, which it did not train on; required where the
                attack was fitted with reference records.

        Raises:
            AttackError: the answers do not match these shadows, or lack something the variant needs, or the attack
                does not return one finite score (and one p-value in [0, 1]) a record.
        """
        if reference is None and len(self.reference.labels):
            raise AttackError(
                f"'{self.spec.name}' was fitted with reference records; pass the target's answers on them, too "
                "(argument 'reference')"
            )
        evidence = Evidence.of(target, self.shadows)
        known = Evidence.of(target.take(_NO_RECORDS) if reference is None else reference, self.reference)
        require_same_models(evidence, known)
        needs = self.spec.needs_of(self.variant)
        reason = next(missing(needs, evidence, known), None)
        if reason is not None:
            raise AttackError(f"'{self.spec.name}' {reason}")
        on_audited = examples_of(needs, self.shadows, self.reference)
        scores = self.learned.score(evidence, evidence if on_audited else known)
        _require_valid(scores, self.spec.name, evidence.labels.shape)
        return scores


class Attack:
    """Base class of attacks. A subclass sets `spec` and implements `_score` or `_fit`; its arguments have defaults."""

    spec: ClassVar[AttackSpec]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls._score is Attack._score and cls._fit is Attack._fit:
            raise TypeError(f"the attack {cls.__name__} must define _score or _fit")

    @final
    def fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers | None = None) -> Scorer:
        """Fit a variant to shadows.

        Args:
            shadows: the shadows' answers on the records to score.
            variant: one of `spec.variants`.
            reference: the same shadows' answers on reference records, which no target to be scored trained on; the out
                mask says which shadow trained on which record.

        Raises:
            AttackError: unknown variant, answers that lack something the variant needs, or answers of two different
                sets of shadows.
        """
        known = shadows.take(_NO_RECORDS) if reference is None else reference
        needs = self.spec.needs_of(variant)
        require_same_shadows(shadows, known)
        reason = next(missing_of_shadows(needs, shadows, known), None)
        if reason is not None:
            raise AttackError(f"'{self.spec.name}' {reason}")
        learned = self._fit(shadows, variant, shadows if examples_of(needs, shadows, known) else known)
        return Scorer(self.spec, variant, shadows, known, learned)

    @final
    def score(self, evidence: Evidence, variant: str, reference: Evidence | None = None) -> Scores:
        """Fit a variant to the shadows and score one target.

        Args:
            evidence: the answers of target and shadows on the records to score.
            variant: one of `spec.variants`.
            reference: answers of the same target and shadows on reference records, which the target did not train on;
                the out mask says which shadow trained on which record. Attacks that do not need it ignore it.

        Raises:
            AttackError: for the reason that `inapplicable` returns, and as in `Scorer.score`.
        """
        reason = self.inapplicable(evidence, reference, variant)
        if reason is not None:
            raise AttackError(reason)
        if reference is None:
            return self.fit(evidence.shadow_answers, variant).score(evidence.target_answers)
        scorer = self.fit(evidence.shadow_answers, variant, reference.shadow_answers)
        return scorer.score(evidence.target_answers, reference.target_answers)

    @final
    def inapplicable(self, evidence: Evidence, reference: Evidence | None, variant: str) -> str | None:
        """Return a sentence on why `variant` cannot be run on this evidence, or None where it can.

        Raises `AttackError` for an unknown variant, and where reference and evidence are of different models.
        """
        needs = self.spec.needs_of(variant)
        known = evidence.take(_NO_RECORDS) if reference is None else reference
        require_same_models(evidence, known)
        reason = next(missing(needs, evidence, known), None)
        return None if reason is None else f"'{self.spec.name}' {reason}"

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> Learned:  # noqa: ARG002
        """Fit to answers that are already validated.

        reference: has no records where the caller passed none. It is `shadows` itself where the shadows trained on
            audited records and the variant needs no target's answers to learn (see `Needs.examples`).
        """
        return _Unfitted(self._score, variant)

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:
        """Score every record of evidence that is already validated; for attacks without `_fit`.

        reference: as in `_fit`, with the target's answers.
        """
        raise NotImplementedError


_NO_RECORDS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class _Unfitted:
    """A variant of an attack that learns nothing from shadows."""

    attack: Callable[[Evidence, str, Evidence], Scores]
    variant: str

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:
        return self.attack(evidence, self.variant, reference)


def _require_valid(scores: Scores, name: str, shape: tuple[int, ...]) -> None:
    """Raise `AttackError` unless there is one finite score, and one p in [0, 1], a record."""
    if scores.score.shape != shape or not np.isfinite(scores.score).all():
        raise AttackError(f"'{name}' did not return one finite score per record")
    for p in (scores.p_value, scores.nominal):
        # The comparison is written so that NaN fails it.
        if p is not None and (p.shape != shape or not ((p >= 0) & (p <= 1)).all()):
            raise AttackError(f"'{name}' did not return one p-value in [0, 1] per record")
    if scores.p_value is not None and scores.known < 1:
        raise AttackError(f"'{name}' returned p-values without 'known', the number of known nonmembers they rank among")
