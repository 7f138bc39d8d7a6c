"""The report: one file with everything in it, true to its numbers, safe for any name."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import halfnorm

from aisle_smc.plots import View
from aisle_smc.report import About, Finding, Picture, headline, judge, report, write_report
from aisle_smc.report.document import prose
from aisle_smc.report.pictures import _three
from aisle_smc.ssm.math import normal_logpdf
from aisle_smc.ssm.model import StateSpaceModel
from aisle_smc.ssm.pmmh import pmmh

pytest.importorskip("matplotlib")
pytest.importorskip("arviz_stats")

NASTY = "<script>alert('x')</script> & \"y\""


class Params(NamedTuple):
    level: float
    noise: float
    known: float


@pytest.fixture(scope="module")
def posterior():
    model = StateSpaceModel(
        params=Params,
        initial=lambda rng: rng.normal(0.0, 1.0),
        transition=lambda rng, x, p: rng.normal(x, p.level),
        log_observation=lambda y, x, p: normal_logpdf(y, x, p.noise),
        observe=lambda rng, x, p: rng.normal(x, p.noise),
        prior={"level": halfnorm(scale=1.0), "noise": halfnorm(scale=1.0), "known": 2.5},
        name=NASTY,
    )
    rng = np.random.default_rng(0)
    y = np.cumsum(0.5 * rng.normal(size=40)) + rng.normal(size=40)
    y[4] = np.nan
    return pmmh(model, y, 60, draws=60, tune=60, chains=2, progress=False).with_evidence(50)


class Page(HTMLParser):
    """What a page is made of, read by a parser that knows nothing of how it was written."""

    VOID = ("meta", "img", "source", "br", "hr", "link", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sources, self.links = [], [], [], []
        self.unbalanced, self.text, self.ids = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset"):
                self.sources.append(value)
            if name == "href":
                self.links.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self):
        return " ".join("".join(self.text).split())


@pytest.fixture(scope="module")
def page(posterior, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    days = np.datetime64("2020-01-01") + np.arange(40)
    about = About(
        title=f"Levels of {NASTY}",
        data=NASTY,
        origin="a drawer",
        command="aisle fit --model 'a b.py:model'",
        settings={"weather": "<b>fine</b>"},
        seconds=12.0,
    )
    assert write_report(path, posterior, about=about, view=View(time=days), horizon=4) == path
    return path.read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_needs_nothing(page):
    read = Page(page)
    assert read.unbalanced == []
    assert read.open == []
    assert "script" not in read.tags
    assert "link" not in read.tags
    assert read.links == []
    assert read.sources
    assert all(source.startswith("data:image/png;base64,") for source in read.sources)
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_every_figure_is_in_it_twice(page):
    read = Page(page)
    assert read.ids == ["states", "pairs", "forecast", "ess", "traces"]
    pictures = [base64.b64decode(s.split(",", 1)[1], validate=True) for s in read.sources]
    assert len(pictures) == 10
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    width = [int.from_bytes(picture[16:20]) for picture in pictures]
    assert all(narrow < wide for narrow, wide in zip(width[::2], width[1::2], strict=True))


def test_names_are_escaped(page):
    assert "<script>" not in page
    assert "<b>fine</b>" not in page
    assert NASTY in Page(page).words


def test_the_numbers_are_those_of_the_posterior(page, posterior):
    words = Page(page).words.replace("\N{MINUS SIGN}", "-")
    for row in posterior.summary().rows:
        assert row.name in words
        assert f"{row.name}{row.values['mean']:.3f}" in words
        assert f"{row.values['r_hat']:.3f}" in words
    assert f"{posterior.log_evidence.value:.2f}" in words
    assert "known2.5fixed" in words
    assert "halfnorm(scale=1)" in words
    assert "2 chains of 60 draws" in words
    assert "aisle fit --model 'a b.py:model'" in words
    assert "One missing observation is bridged" in words
    assert 'xarray.open_datatree("posterior.nc")' in words


def test_phone_dark_and_print_are_thought_of(page):
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert re.search(r"default-src 'none'", page)


def test_a_report_without_extras_still_says_what_was_fitted(posterior):
    plain = replace(posterior, model=replace(posterior.model, name=""))
    text = report(plain, [], About())
    assert Page(text).unbalanced == []
    assert "A state-space model fitted to 40 observations" in text


def test_model_that_cannot_observe_has_no_forecast(posterior, monkeypatch):
    from aisle_smc.report import draw_pictures

    monkeypatch.setattr("aisle_smc.report.pictures.png", lambda figure: b"")
    mute = replace(posterior, model=replace(posterior.model, observe=None))
    names = [p.name for p in draw_pictures(mute)]
    assert names == ["states", "pairs", "ess", "traces"]
    assert "forecast" not in [p.name for p in draw_pictures(posterior, horizon=0)]


# --- judgement -----------------------------------------------------------------------------------


def judged(
    r_hat=1.0, ess=1000.0, acceptance=0.3, degenerate=0, error=0.05, khat=0.3, evidence=True
):
    row = SimpleNamespace(name="mu", values={"r_hat": r_hat, "ess_bulk": ess, "ess_tail": ess})
    return SimpleNamespace(
        summary=lambda: SimpleNamespace(rows=(row,)),
        parameters=np.zeros((4, 500, 1)),
        acceptance=np.full(4, acceptance),
        degenerate=np.array([degenerate, 0, 0, 0]),
        log_evidence=SimpleNamespace(error=error, khat=khat, ess=300.0) if evidence else None,
    )


def test_a_good_run_is_called_good():
    findings = judge(judged())
    assert all(finding.good for finding in findings)
    assert "Nothing" in headline(findings)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"r_hat": 1.05}, "do not agree"),
        ({"r_hat": np.nan}, "cannot be said"),
        ({"ess": 50.0}, "worth only 50"),
        ({"ess": np.nan}, "too few draws"),
        ({"acceptance": 0.01}, "stand still"),
        ({"degenerate": 900}, "900 proposals"),
        ({"khat": 0.9}, "not to be relied on"),
        ({"error": 1.5}, "mean nothing"),
        ({"error": np.nan}, "log-evidence"),
        ({"khat": np.nan}, "log-evidence"),
    ],
)
def test_every_fault_is_found_and_named(fault, said):
    findings = judge(judged(**fault))
    bad = [finding for finding in findings if not finding.good]
    assert len(bad) == 1
    assert said in bad[0].text
    assert headline(findings).startswith("One check")


def test_faults_are_counted():
    findings = judge(judged(r_hat=1.2, ess=10.0))
    assert headline(findings).startswith("Two checks")
    many = tuple(Finding(good=False, text="") for _ in range(5))
    assert headline(many).startswith("5 checks")


def test_no_evidence_is_no_fault():
    assert all(finding.good for finding in judge(judged(evidence=False)))


# --- words ---------------------------------------------------------------------------------------


def test_prose_keeps_dates_and_signs_together():
    said = prose("on 2019-01-03 between -7.5 and 2 % (a=-1, x-y) <")
    assert "2019\N{NON-BREAKING HYPHEN}01\N{NON-BREAKING HYPHEN}03" in said
    assert "\N{MINUS SIGN}7.5" in said
    assert "a=\N{MINUS SIGN}1" in said
    assert "x-y" in said
    assert "2\N{NO-BREAK SPACE}%" in said
    assert said.endswith("&lt;")


@pytest.mark.parametrize(
    ("value", "said"),
    [(2.0, "2.00"), (-0.0123, "-0.0123"), (123456.0, "123456"), (0.0, "0.00"), (1e-9, "1.00e-09")],
)
def test_three_digits(value, said):
    assert _three(value) == said


def test_a_picture_is_its_bytes(posterior):
    picture = Picture(name="a", title="A", caption="B < C", wide=b"wide", narrow=b"narrow")
    text = report(posterior, [picture], About())
    assert "B &lt; C" in text
    assert base64.b64encode(b"narrow").decode() in text
