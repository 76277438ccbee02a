from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from edgeaudit.attacks import calibrated as calibrated_module
from edgeaudit.attacks.base import Scores
from edgeaudit.attacks.calibrated import Calibrated, set_aside
from edgeaudit.attacks.calibrated_features import COLUMNS, Alignment, Context, Signals, SpreadModel, context, features
from edgeaudit.attacks.cm_mia import CmMia, check_known
from edgeaudit.attacks.conformal import conformal_p
from edgeaudit.attacks.evidence import BoolArray, Evidence
from edgeaudit.attacks.lira import Lira
from edgeaudit.attacks.plays import subsets
from edgeaudit.attacks.threshold import learn_threshold
from edgeaudit.errors import AttackError
from edgeaudit.leakage.roc import auc

from .conftest import MakeWorld, logits_with_margins, uneven_evidence


def calibrated(evidence: Evidence, reference: Evidence) -> Scores:
    return Calibrated.fit(evidence.shadow_answers, reference.shadow_answers).score(evidence, reference)


def uneven() -> tuple[Evidence, Evidence, BoolArray]:
    """Audited and reference records, and the members of the first; see `uneven_evidence`."""
    rng = np.random.default_rng(0)
    members = rng.random(3000) < 0.5
    audited = uneven_evidence(1, members, np.zeros((12, 3000), dtype=np.bool_))
    reference = uneven_evidence(2, np.zeros(1500, dtype=np.bool_), rng.random((12, 1500)) < 0.5)
    return audited, reference, members


def test_close_to_the_optimum_of_gaussian_margins(world_of: MakeWorld) -> None:
    # Given n OUT margins, phi of a nonmember is N(., 1 + 1/(n+1)) (difficulty has variance 1 and is shrunk), and that
    # of a member lies 1.5 higher: the best AUC is Phi(1.5 / sqrt(2 (1 + 1/(n+1)))). LiRA reads all n = 16 shadows,
    # .849; here a record is read through the 8 or so that did not train on a reference record, .843. Standard error
    # of the AUC, n = 4000: .006. Trees of a thousand records pay a little for what they must learn.
    best = stats.norm.cdf(1.5 / math.sqrt(2 * (1 + 1 / 9)))
    world = world_of(0, n=4000, k=16, reference=1500)
    area = auc(calibrated(world.evidence, world.reference).score, world.members)
    lira = auc(Lira().score(world.evidence, "offline-global").score, world.members)
    assert area > lira - 0.006 - 0.012
    assert best - 0.024 < area < best + 4 * 0.006


def test_it_beats_lira_where_leakage_depends_on_the_record() -> None:
    # Margins of easy records scatter and rise three times as much as those of hard ones: one variance misjudges both.
    audited, reference, members = uneven()
    area = auc(calibrated(audited, reference).score, members)
    assert area > auc(Lira().score(audited, "offline-global").score, members) + 0.02


def test_four_shadows_of_a_third_each_lose_little_of_a_weak_signal() -> None:
    # Records have one or two shadows that trained on them. Equal variances: LiRA is the best test, but for shrinkage.
    # Without equal shares of labels, and settings chosen by halves, the mean is .004 behind.
    behind = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        members = rng.random(6000) < 0.5
        trained = rng.permuted(np.tile(np.arange(4)[:, None], 3000), axis=0) < 1 + (np.arange(3000) % 3 == 0)
        audited, reference = (
            _weak(rng, inside, by_shadows)
            for inside, by_shadows in (
                (members, np.zeros((4, 6000), np.bool_)),
                (np.zeros(3000, np.bool_), trained),
            )
        )
        score = calibrated(audited, reference).score
        behind.append(auc(Lira().score(audited, "offline-global").score, members) - auc(score, members))
    assert np.mean(behind) < 0.0025


def _weak(rng: np.random.Generator, members: BoolArray, trained: BoolArray) -> Evidence:
    """Margins of members rise by .3 deviations of difficulty, and scatter by half of one."""
    k, n = trained.shape
    difficulty = rng.normal(size=n)
    target = np.asarray(difficulty + 0.5 * rng.normal(size=n) + 0.3 * members, dtype=np.float64)
    shadows = np.asarray(difficulty + 0.5 * rng.normal(size=(k, n)) + 0.3 * trained, dtype=np.float64)
    answers = logits_with_margins(target, rng.normal(size=(n, 3)))
    others = logits_with_margins(shadows, rng.normal(size=(k, n, 3)))
    return Evidence(answers, others, ~trained, np.zeros(n, dtype=np.int64), "logits")


@pytest.mark.parametrize("factor", [0.4, 4.0])
def test_a_target_that_is_surer_or_less_sure_than_its_shadows_is_found_as_well(factor: float) -> None:
    # All of its logits times a factor, as of a model that trained longer or less: the order of records is the same.
    audited, reference, members = uneven()
    changed = [replace(one, target=factor * one.target) for one in (audited, reference)]
    alike, area = (auc(calibrated(*pair).score, members) for pair in ((audited, reference), changed))
    assert area > alike - 0.02
    assert area > auc(Lira().score(changed[0], "offline-global").score, members) + 0.03


@pytest.mark.parametrize("exposure", ["logits", "probabilities"])
def test_p_values_of_nonmembers_are_uniform(world_of: MakeWorld, exposure: str) -> None:
    # As in an audit: no shadow trained on audited records, each on half of the reference records. Six shadows, so
    # that the difference would show. A rate is a share of n = 4000 below a quantile of m = 440: variance
    # a (1 - a) (1/n + 1/m), over four worlds.
    levels = np.array([0.01, 0.05, 0.1, 0.5])
    rates = []
    for seed in range(4):
        world = world_of(seed, n=4000, k=6, reference=1500, shift=2.0, member_share=0.0, exposure=exposure)
        p = calibrated(world.evidence, world.reference).p_value
        assert p is not None
        rates.append([(p <= level).mean() for level in levels])
    error = np.sqrt(levels * (1 - levels) * (1 / 4000 + 1 / 440) / 4)
    assert (np.abs(np.mean(rates, axis=0) - levels) < 3 * error).all()


def test_far_margins_are_ranked_beyond_what_plays_have_shown(world_of: MakeWorld) -> None:
    # Trees are constant beyond their last split, where the TPR at a low FPR is decided; the smooth learners rank on.
    world = world_of(5, n=400, k=8, reference=900)
    far = np.arange(20)
    target = world.evidence.target.copy()
    target[far, world.evidence.labels[far]] += 4 + 0.2 * far
    scores = calibrated(replace(world.evidence, target=target), world.reference).score[far]
    assert len(np.unique(scores)) == len(far)


def test_a_record_is_asked_against_as_many_shadows_as_plays_have(world_of: MakeWorld) -> None:
    # Reference records have 6 of 12 shadows outside or so, audited records all 12.
    world = world_of(3, n=300, k=12, reference=900)
    fitted = Calibrated.fit(world.evidence.shadow_answers, world.reference.shadow_answers)
    asked = list(subsets(fitted.audited.shadow_phi, fitted.audited.out, fitted.size))
    assert 4 <= fitted.size <= 6
    assert all((mask.sum(axis=0) == fitted.size).all() for mask in asked)
    # All of them are used, and none much more than another.
    used = np.sum(asked, axis=0)
    assert used.min() >= 2
    assert used.max() <= 5


def test_few_shadows_do_not_change_what_columns_mean(world_of: MakeWorld) -> None:
    # With 4 shadows a play has one OUT shadow, and a record four. Gaussian margins of the same variance: LiRA's z is
    # the best test with four OUT shadows, Phi(1.5 / sqrt(2 * 1.25)) = .829; asked one by one, nearly nothing is lost.
    world = world_of(12, n=4000, k=4, reference=2400)
    area = auc(calibrated(world.evidence, world.reference).score, world.members)
    assert area > auc(Lira().score(world.evidence, "offline-global").score, world.members) - 0.012


def test_scores_use_all_shadows_and_p_values_as_many_as_a_reference_record_has(world_of: MakeWorld) -> None:
    world = world_of(3, n=2000, k=12, reference=900)
    whole = calibrated(world.evidence, world.reference)
    lent = calibrated_module._with_lent_masks(Signals.of(world.evidence), Signals.of(world.reference)).out
    fewer = calibrated(replace(world.evidence, out=lent), world.reference)
    assert whole.p_value is not None
    assert fewer.p_value is not None
    np.testing.assert_array_equal(whole.p_value, fewer.p_value)
    assert auc(whole.score, world.members) > auc(fewer.score, world.members) + 0.005


def test_conformal_p_by_hand() -> None:
    # Four nonmembers: 0, 1, 1, 2. At or above 3: none; 2: one; 1: three (ties count); -1: all.
    np.testing.assert_allclose(
        conformal_p(np.array([3.0, 2.0, 1.0, -1.0]), np.array([1.0, 0.0, 2.0, 1.0])), [1 / 5, 2 / 5, 4 / 5, 1.0]
    )


def test_p_is_bounded_by_the_records_set_aside(world_of: MakeWorld) -> None:
    world = world_of(3, n=200, shift=6.0)
    m = set_aside(world.reference.out)
    p = CmMia().score(world.evidence, "calibrated", world.reference).p_value
    assert p is not None
    assert p.min() == 1 / (m + 1)
    check_known(1 / (m + 1), m)
    with pytest.raises(AttackError) as caught:
        check_known(0.01, 98)
    assert str(caught.value) == (
        "cutoff 0.01 needs at least 99 known nonmembers for a conformal p-value (the smallest is 1/(m+1)); "
        "this audit has 98. Add reference records ('calibrated' sets a third of them aside)"
    )


def test_records_with_one_out_shadow_are_not_learned_from(world_of: MakeWorld) -> None:
    world = world_of(4, n=50)
    out = world.reference.out.copy()
    out[1:, :30] = False
    closed = replace(world.reference, out=out)
    assert set_aside(closed.out) <= 270 // 3
    plain = calibrated(world.evidence, closed).score
    garbled = closed.shadows.copy()
    garbled[:, :30] = 5.0
    np.testing.assert_array_equal(plain, calibrated(world.evidence, replace(closed, shadows=garbled)).score)


def test_a_natural_threshold_is_not_learned(world_of: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    attack, world = CmMia(), world_of(5, n=40)
    monkeypatch.setattr(CmMia, "_score", refuse)
    assert learn_threshold(attack, "calibrated", world.reference).value == 0.0
    assert attack.spec.threshold_of("t") is None


def test_even_odds_are_a_sensible_threshold(world_of: MakeWorld) -> None:
    # Equal Gaussians 2 apart, standard deviation sqrt(1 + 1/13): balanced accuracy at best Phi(1 / 1.038) = .832.
    world = world_of(6, n=2000, shift=2.0, reference=900, member_share=0.2)
    called = calibrated(world.evidence, world.reference).score >= 0
    assert (called[world.members].mean() + (~called[~world.members]).mean()) / 2 > 0.8


def test_four_shadows_are_necessary_and_sufficient(world_of: MakeWorld) -> None:
    world = world_of(7, n=100, k=4)
    assert CmMia().inapplicable(world.evidence, world.reference, "calibrated") is None
    assert np.isfinite(CmMia().score(world.evidence, "calibrated", world.reference).score).all()
    world = world_of(7, n=100, k=3)
    reason = CmMia().inapplicable(world.evidence, world.reference, "calibrated")
    assert reason == "'cm-mia' needs at least 4 shadows and has 3"


def test_playing_signals_are_those_of_playing_evidence(world_of: MakeWorld) -> None:
    reference = world_of(8, exposure="probabilities").reference
    ours, theirs = Signals.of(reference).play(3), Signals.of(reference.play(3)[0])
    for name in Signals.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_features_by_hand() -> None:
    # One record, p_y = 3/4 by the target; OUT shadows 1/2 and 3/4, and an IN shadow that must not be read.
    answers = np.array([[0.75, 0.25]])
    shadows = np.array([[[0.5, 0.5]], [[0.75, 0.25]], [[0.99, 0.01]]])
    out = np.array([[True], [True], [False]])
    signals = Signals.of(Evidence(answers, shadows, out, np.array([0]), "probabilities"))
    about = context(signals)
    alignment = Alignment.fit(signals, about, np.array([2.0]), 2)
    row = dict(zip(COLUMNS, features(signals, about, np.array([2.0]), alignment)[0], strict=True))
    phi, entropy = math.log(3), -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    expected = {
        "phi": phi,
        "mean phi": phi / 2,
        "log sd": math.log(2),
        "t": phi / 4,
        "l": math.log(0.75),
        "mean l": (math.log(0.75) + math.log(0.5)) / 2,
        "mean H": (entropy + math.log(2)) / 2,
        "l - log mean p": math.log(0.75 / 0.625),
        "rank": 0.75,
        "phi - max": 0.0,
        "H": entropy,
        # The only known nonmember is the record itself, so its offset is all of phi - mean phi.
        "aligned phi": phi / 2,
        "aligned t": 0.0,
    }
    assert row == pytest.approx(expected, abs=1e-12)


def test_the_spread_follows_the_record() -> None:
    # log s0^2 = 1 + .5 mean phi, d0 = 10: s^2 = s0^2 F(8, 10). Intercept and slope have standard errors of about
    # sqrt(trigamma(4) + trigamma(5)) / sqrt(n) = .01; d0 is back to a few percent.
    rng = np.random.default_rng(9)
    n = 6000
    mean = rng.normal(size=n)
    scale = np.exp(1 + 0.5 * mean)
    variance = scale * rng.f(8, 10, size=n)
    known = Context(np.full(n, 9), mean, variance, rng.normal(size=n), rng.normal(size=n), np.full(n, 0.5))
    spread = SpreadModel.fit(known)
    assert spread.prior.d0 == pytest.approx(10, rel=0.15)
    np.testing.assert_allclose(spread.trend(known) * spread.prior.scale, scale, rtol=0.15)
    expected = np.sqrt((10 * scale + 8 * variance) / 18 * (1 + 1 / 9))
    np.testing.assert_allclose(spread.sd(known), expected, rtol=0.1)


def test_alignment_undoes_an_offset_by_class_and_a_spread(world_of: MakeWorld) -> None:
    reference = world_of(10, reference=3000, k=16).reference
    rng = np.random.default_rng(11)
    labels = rng.integers(0, 4, size=3000)
    signals = replace(Signals.of(reference), labels=labels)
    about = context(signals)
    moved = replace(signals, phi=about.mean_phi + 1.5 * (signals.phi - about.mean_phi) + labels - 0.3 * about.mean_phi)
    halves = np.arange(3000) < 1500
    sd = np.full(1500, 1.0)
    alignment = Alignment.fit(moved.take(halves), context(moved.take(halves)), sd, 4)
    rest = moved.take(~halves)
    residual = alignment.residual(rest, context(rest))
    # Standard error of a class's mean: 1 / sqrt(375) = .05, twice over (fit and rest).
    assert all(abs(residual[rest.labels == c].mean()) < 4 * 0.075 for c in range(4))
    assert np.sqrt((residual**2).mean()) == pytest.approx(1, abs=0.1)
    assert abs(np.corrcoef(residual, context(rest).mean_phi)[0, 1]) < 0.1
