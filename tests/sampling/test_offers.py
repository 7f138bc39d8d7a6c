"""A proposal of the user's: good ones take the place of exploring, and bad ones do no harm."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta, expon, gamma, multivariate_normal, norm, uniform

from aisle_smc import Prior, sample
from aisle_smc.distributions import Gaussian, Mixture
from aisle_smc.normal_scores import Rotation
from aisle_smc.sampling.bridges import Posterior
from aisle_smc.sampling.meter import Meter
from aisle_smc.sampling.offers import SHARE, FromOffer
from aisle_smc.sampling.request import read_request
from aisle_smc.sampling.spaces import BareSpace, DistributionSpace, PriorSpace, WhiteSpace
from aisle_smc.streams import stream
from aisle_smc.targets import evaluator
from tests.sampling import toys
from tests.sampling.toys import QUIET, Box, same_bits, score

TOY = toys.conjugate()
SD = np.sqrt(1.0 / (1.0 / toys.NOISE**2 + 1.0 / toys.SPREAD**2))
PERFECT = {"a": norm(TOY.mean[0], SD[0]), "b": norm(TOY.mean[1], SD[1])}


def phases(result):
    return {step.phase for step in result.trace}


# --- whole runs ----------------------------------------------------------------------------------


def test_a_perfect_proposal_takes_the_place_of_exploring():
    """Its weights are one in nine draws of ten, at most 1 / 0.9 elsewhere."""
    found = TOY.run(proposal=PERFECT)
    assert phases(found) == {"proposal", "final"}
    assert found.method == "draws"
    assert found.trusted
    assert abs(score(found, TOY.log_evidence)) < 4
    assert found.log_evidence_error < 0.006
    assert (np.abs(found.mean - TOY.mean) < 4 * found.standard_error(lambda x: x)).all()
    assert found.evaluations == 300 + 4000
    assert found.ess > 0.85 * found.posterior.n
    assert "from independent draws of a frozen proposal" in repr(found)
    figure = pytest.importorskip("matplotlib.figure")
    assert isinstance(found.plot_run(), figure.Figure)


def test_a_fair_proposal_is_unbiased():
    """Twice too wide and off by half a width; z-scores of 30 runs, on Z and not on its log."""
    wide = [norm(TOY.mean[0] + 0.2, 2 * SD[0]), norm(TOY.mean[1] - 0.1, 2 * SD[1])]
    runs = [TOY.run(proposal=wide, seed=seed) for seed in range(30)]
    assert all(phases(r) == {"proposal", "final"} for r in runs)
    z = np.exp([r.log_evidence - TOY.log_evidence for r in runs])
    assert abs(z.mean() - 1.0) < 4 * z.std(ddof=1) / math.sqrt(30)
    scores = [score(r, TOY.log_evidence) for r in runs]
    assert 0.6 < np.sqrt(np.mean(np.square(scores))) < 1.5


@pytest.mark.parametrize(
    "proposal",
    [
        [norm(TOY.mean[0] + 20 * SD[0], SD[0]), norm(TOY.mean[1], SD[1])],
        [norm(TOY.mean[0], SD[0] / 30), norm(TOY.mean[1], SD[1] / 30)],
        [norm(0, 300), norm(0, 300)],
    ],
)
def test_a_poor_proposal_is_left_for_the_run_without_it(proposal):
    found = TOY.run(proposal=proposal)
    assert phases(found) >= {"proposal", "prior", "tempering", "final"}
    assert abs(score(found, TOY.log_evidence)) < 4
    assert found.trusted
    without = TOY.run()
    assert found.x.tobytes() == without.x.tobytes()
    assert found.log_evidence == without.log_evidence


@pytest.mark.parametrize("seed", range(4))
def test_a_mode_that_the_proposal_misses_is_found_by_the_prior_in_it(seed):
    """The mode of 0.7 of the mass in the toy of two; the proposal is exact for the other one."""
    toy = toys.two_modes()
    shrink = 9.0 / (9.0 + toys.SIZE[1] ** 2)
    one = norm(toys.MODES[1] * shrink, toys.SIZE[1] * math.sqrt(shrink))
    proposal = [norm(m, s) for m, s in zip(one.args[0], [one.args[1]] * 2, strict=True)]
    found = toy.run(proposal=proposal, seed=seed, n=1000)
    assert phases(found) > {"proposal", "final"}
    assert abs(score(found, toy.log_evidence)) < 4
    # Without the share of the prior nobody would know.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aisle_smc.sampling.offers.SHARE", 1e-12)
        blind = toy.run(proposal=proposal, seed=seed, n=1000)
    assert blind.trusted
    assert blind.log_evidence < toy.log_evidence - 0.5


def test_draws_outside_of_the_support_weigh_nothing():
    """A normal proposal over the edge of the prior: its lost share must not be lost from Z."""
    toy = toys.cut_off_by_name()
    proposal = [norm(c, w) for c, w in zip(toys.CENTRE, toys.WIDTH, strict=True)]
    runs = [toy.run(proposal=proposal, seed=seed) for seed in range(10)]
    for r in runs:
        assert phases(r) == {"proposal", "final"}
        assert abs(score(r, toy.log_evidence)) < 4
        assert ((r.x > 0.0) & (r.x < 1.0)).all()
        assert (r.weights == 0.0).mean() > 0.05
    # Another estimate of a tenth of the mass: rejecting those draws would be off by 0.1 nats.
    z = np.exp([r.log_evidence - toy.log_evidence for r in runs])
    assert abs(z.mean() - 1.0) < 4 * z.std(ddof=1) / math.sqrt(10)
    assert z.std(ddof=1) / math.sqrt(10) < 0.02


def test_proposals_of_all_kinds():
    class Plain:
        """No more than is asked for."""

        def sample(self, n, rng):
            return TOY.mean + SD * rng.standard_normal((n, 2))

        def log_density(self, x):
            return norm.logpdf(x, TOY.mean, SD).sum(axis=1)

    gaussian = Gaussian(mean=TOY.mean, root=np.diag(SD))
    for proposal in (
        Plain(),
        gaussian,
        Mixture(weights=np.array([0.5, 0.5]), parts=(gaussian, gaussian)),
        multivariate_normal(TOY.mean, np.diag(SD**2)),
        list(PERFECT.values()),
    ):
        found = TOY.run(proposal=proposal)
        assert phases(found) == {"proposal", "final"}
        assert abs(score(found, TOY.log_evidence)) < 4


def test_a_torch_distribution_is_a_proposal():
    torch = pytest.importorskip("torch")
    normal = torch.distributions.Normal(torch.tensor(TOY.mean), torch.tensor(SD))
    proposal = torch.distributions.Independent(normal, 1)
    found = TOY.run(proposal=proposal)
    assert phases(found) == {"proposal", "final"}
    assert abs(score(found, TOY.log_evidence)) < 4
    same_bits(found, TOY.run(proposal=proposal))


def test_a_proposal_for_a_density_alone():
    init = np.random.default_rng(1).normal(size=(30, 2))
    found = sample(
        lambda x: -0.5 * np.square(x / [1.0, 2.0]).sum(axis=1),
        init=init,
        proposal=[norm(0, 1), norm(0, 2)],
        **QUIET,
    )
    assert phases(found) == {"proposal", "final"}
    assert abs(score(found, math.log(4.0 * math.pi))) < 4


def test_going_on_and_files(tmp_path):
    whole = TOY.run(proposal=PERFECT, ess=9000.0)
    first = TOY.run(proposal=PERFECT)
    same_bits(first.refine(ess=9000.0), whole)
    file = tmp_path / "journal"
    cut = TOY.run(proposal=PERFECT, file=file, max_evaluations=2500)
    assert cut.stopped == "max_evaluations"
    same_bits(TOY.run(proposal=PERFECT, file=file, ess=9000.0), whole)
    other = PERFECT | {"a": norm(0, 1)}
    with pytest.raises(ValueError, match="proposal: the file has"):
        TOY.run(proposal=other, file=file)


@pytest.mark.parametrize(
    ("proposal", "error", "words"),
    [
        ({"a": norm(0, 1)}, ValueError, "needs a distribution for each of a, b; got a"),
        ([norm(0, 1)], ValueError, r"shape \(2, 2\) for two points; got \(2, 1\)"),
        (norm, TypeError, "freeze the distribution"),
        ("normal", TypeError, "cannot use 'normal' as a distribution"),
    ],
)
def test_what_is_no_proposal(proposal, error, words):
    with pytest.raises(error, match=words):
        TOY.run(proposal=proposal)


def test_a_proposal_needs_a_density_at_its_draws():
    class Bad:
        def sample(self, n, rng):
            return rng.normal(size=(n, 2))

        def log_density(self, x):
            return np.full(x.shape[0], np.nan)

    with pytest.raises(ValueError, match="must have a finite log-density at its own draws"):
        TOY.run(proposal=Bad())


# --- densities in coordinates --------------------------------------------------------------------

SPACES = {
    "names": PriorSpace(prior=Prior({"a": gamma(2.0), "b": beta(2.0, 3.0)})),
    "circle": PriorSpace(
        prior=Prior({"a": uniform(0, 2), "b": uniform(0, 1)}),
        rotation=Rotation(shifts=np.array([0.3, 0.0])),
    ),
    "normal": WhiteSpace(prior=Gaussian(mean=np.array([1.0, 0.4]), root=np.diag([0.5, 0.2]))),
    "joint": DistributionSpace(prior=Box((0.0, 0.0), (3.0, 1.0))),
    "alone": BareSpace(
        coordinates=read_request(
            None, np.full((12, 2), 0.5) + np.arange(24.0).reshape(12, 2) / 100,
            [(0.0, None), (0.0, 1.0)], None, 0,
        ).space.coordinates
    ),
}  # fmt: skip


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_the_density_in_coordinates_is_that_of_the_draws(space):
    """The mean of s(z) / q(z) over draws from q is one for a density s, here a narrow normal."""

    class Inside:
        """Independent Beta(2, 2) on (0, 1)^2, which all of the spaces hold."""

        def sample(self, n, rng):
            return rng.beta(2.0, 2.0, size=(n, 2))

        def log_density(self, x):
            return beta.logpdf(x, 2.0, 2.0).sum(axis=1)

    ev = evaluator(
        lambda x: -np.square(x).sum(axis=1), ("a", "b"), np.array([[0.2, 0.3], [0.4, 0.1]])
    )
    safety = Gaussian(mean=np.zeros(2), root=2.0 * np.eye(2))
    source = FromOffer(
        posterior=Posterior(space=space, evaluator=ev, meter=Meter()),
        offer=Inside(),
        safety=safety,
    )
    points = source.start(40_000, stream(3))
    alive = np.isfinite(points.log_ratio)
    z = points.z[alive]
    centre = np.median(z, axis=0)
    narrow = norm.logpdf(z, centre, 0.3).sum(axis=1)
    w = np.zeros(points.n)
    w[alive] = np.exp(narrow - points.log_base[alive])
    if isinstance(space, DistributionSpace):
        # The box cuts the normal off.
        low, high = (
            norm.cdf((np.zeros(2) - centre) / 0.3),
            norm.cdf((np.array([3.0, 1.0]) - centre) / 0.3),
        )
        w /= float(np.prod(high - low))
    assert abs(w.mean() - 1.0) < 4 * w.std() / math.sqrt(points.n)
    assert w.std() / math.sqrt(points.n) < 0.02
    np.testing.assert_array_equal(points.log_base[alive], source.log_density(z))
    # And the weights are those of the target: value, prior and Jacobian.
    expected = -np.square(space.draws(z)).sum(axis=1) + space.log_reference(z)
    np.testing.assert_allclose(
        points.log_ratio[alive], expected - points.log_base[alive], rtol=1e-12, atol=1e-12
    )
    share = np.mean(np.abs(space.draws(points.z) - 0.5).max(axis=1) > 0.5)
    assert share < SHARE


def test_a_jacobian_left_out_would_show():
    """The same check fails by a factor for the density without its Jacobian."""
    prior = Prior({"a": expon(), "b": expon()})
    space = PriorSpace(prior=prior)
    ev = evaluator(lambda x: -x.sum(axis=1), ("a", "b"), np.array([[0.2, 0.3], [0.4, 0.1]]))

    class Own:
        def sample(self, n, rng):
            return rng.exponential(size=(n, 2))

        def log_density(self, x):
            return expon.logpdf(x).sum(axis=1)

    source = FromOffer(posterior=Posterior(space=space, evaluator=ev, meter=Meter()), offer=Own())
    points = source.start(2000, stream(1))
    # The proposal is the prior, so that both parts are the reference in coordinates.
    np.testing.assert_allclose(points.log_base, space.log_reference(points.z), rtol=1e-10)
    theta = space.draws(points.z)
    assert np.abs(points.log_base - expon.logpdf(theta).sum(axis=1)).max() > 1.0
