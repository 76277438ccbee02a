"""What an attack is: it learns from shadows' answers, and gives every record of a target a score; higher = member.

An attack that learns nothing from shadows writes `_score`:

    class MaxConfidence(Attack):
        spec = AttackSpec(name="max-confidence", variants=("plain",), summary="largest answer", paper="-")

        def _score(self, evidence, variant, reference):
            return Scores(evidence.target.max(axis=1))

One that does writes `_fit` and returns an object with a method `score` (see `Learned`), which then serves every target
of the same shadows. What `_fit` is given holds nothing of a target. All are pure functions of arrays.
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
    """What one variant of an attack learned from shadows."""

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:
        """Score every record of one target.

        evidence, reference: the records that were fitted, with this target's answers.
        """
        ...


@final
@dataclass(frozen=True, eq=False)
class Scorer:
    """A variant of an attack that was fitted to shadows; `Attack.fit` makes it. It serves any number of targets.

    shadows, reference: what it was fitted to. learned: what `_fit` returned.
    """

    spec: AttackSpec
    variant: str
    shadows: ShadowAnswers
    reference: ShadowAnswers
    learned: Learned

    def score(self, target: TargetAnswers, reference: TargetAnswers | None = None) -> Scores:
        """Score every record of one target.

        Args:
            target: its answers on the audited records.
            reference: its answers on the reference records, which it did not train on; needed where the attack was
                fitted with reference records.

        Raises:
            AttackError: the answers do not belong to these shadows or lack what the variant needs, or the result is
                not one finite score (and one p in [0, 1]) a record.
        """
        if reference is None and len(self.reference.labels):
            raise AttackError(f"'{self.spec.name}' was fitted with reference records; the target's answers are missing")
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
    """One attack. Subclasses set `spec`, write `_score` or `_fit`, and can be made without arguments."""

    spec: ClassVar[AttackSpec]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls._score is Attack._score and cls._fit is Attack._fit:
            raise TypeError(f"the attack {cls.__name__} must define _score or _fit")

    @final
    def fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers | None = None) -> Scorer:
        """Learn what shadows alone can teach.

        Args:
            shadows: on the records to score.
            variant: one of the spec's.
            reference: on reference records, which no target that is scored later trained on, from the same shadows;
                its out mask says which shadow trained on which.

        Raises:
            AttackError: the variant does not exist, the answers lack what it needs, or the two do not belong together.
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
        """Fit to the shadows and score one target.

        Args:
            evidence: on the records to score.
            variant: one of the spec's.
            reference: on reference records, which the target did not train on, from the same target and shadows;
                its out mask says which shadow trained on which. Attacks that do not need it do not read it.

        Raises:
            AttackError: as `inapplicable` says, or see `Scorer.score`.
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
        """Why `variant` cannot be run on this evidence, in a sentence; None where it can.

        Raises `AttackError` where the variant does not exist or reference and evidence do not belong together.
        """
        needs = self.spec.needs_of(variant)
        known = evidence.take(_NO_RECORDS) if reference is None else reference
        require_same_models(evidence, known)
        reason = next(missing(needs, evidence, known), None)
        return None if reason is None else f"'{self.spec.name}' {reason}"

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> Learned:  # noqa: ARG002
        """Learn from already validated answers of shadows.

        reference has no records where none was given, and is `shadows` itself where shadows trained on audited
        records and the variant learns from shadows alone (see `Needs.examples`).
        """
        return _Unfitted(self._score, variant)

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:
        """Score every record of already validated evidence; for an attack that defines no `_fit`.

        reference: as in `_fit`, with the target's answers.
        """
        raise NotImplementedError


_NO_RECORDS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class _Unfitted:
    """Of an attack that learns nothing from shadows."""

    attack: Callable[[Evidence, str, Evidence], Scores]
    variant: str

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:
        return self.attack(evidence, self.variant, reference)


def _require_valid(scores: Scores, name: str, shape: tuple[int, ...]) -> None:
    """Raise `AttackError` unless there is one finite score, and one p in [0, 1], a record."""
    if scores.score.shape != shape or not np.isfinite(scores.score).all():
        raise AttackError(f"'{name}' did not give one finite score per record")
    for p in (scores.p_value, scores.nominal):
        # The comparison is written so that NaN fails it.
        if p is not None and (p.shape != shape or not ((p >= 0) & (p <= 1)).all()):
            raise AttackError(f"'{name}' did not give one p-value in [0, 1] per record")
    if scores.p_value is not None and scores.known < 1:
        raise AttackError(f"'{name}' gave p-values without saying among how many known nonmembers")
