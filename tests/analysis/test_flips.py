"""The report: its figures are those of the parts, its sentences carry its figures, its errors name the value."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from analysis import Region, diagnose, flip_auc
from analysis.decomposition import Component, decompose
from analysis.flips import Culprit, FlipReport, read_method
from analysis.uncertainty import Interval
from data.toy import make_scenes
from surgery import CLASSIC, METHODS, Method, dense_features, load_model, similarity
from tests.tiny import picture, tiny_model


@pytest.fixture(scope="module")
def toy():
    return load_model("toy", device="cpu")


@pytest.fixture(scope="module")
def scene():
    return make_scenes(1, seed=4242)[0]


@pytest.fixture(scope="module")
def report(toy, scene):
    thing = scene.objects[0]
    return diagnose(toy, scene.image, thing.phrase, thing.mask, ablate=True)


def test_figures_are_those_of_the_parts(toy, scene, report):
    thing = scene.objects[0]
    trace = toy.trace(toy.preprocess([scene.image]))
    text = toy.encode_text([thing.phrase])
    region = Region.from_mask(thing.mask, trace.grid)
    assert set(report.readings) == set(CLASSIC)
    for name in CLASSIC:
        method = METHODS[name]
        values = similarity(dense_features(trace, method), text).patches[0, :, :, 0].numpy()
        assert report.flip_auc[name] == pytest.approx(flip_auc(values, region), abs=1e-6)
        expected = values[region.foreground].mean() - values[region.background].mean()
        assert report.contrast[name] == pytest.approx(expected, abs=1e-5)
    terms = decompose(trace, text, METHODS["clip"]).contrast(region)[0, :, 0]
    assert [c.blame for c in report.culprits] == pytest.approx(sorted(terms)[:5], abs=1e-6)
    assert report.contrast["clip"] == pytest.approx(terms.sum(), abs=1e-4)
    assert report.lens_contrast[-1] == pytest.approx(report.contrast["clip"], abs=1e-5)
    assert len(report.interventions) == 12


def typeset(number, form):
    return format(number, form).replace("-", "−")


def test_the_summary_carries_its_figures(report):
    sentences = [s for s in re.split(r"(?<=\.)\s(?=[A-Z])", report.summary) if s]
    assert 4 <= len(sentences) <= 6
    assert f"contrast is {typeset(report.contrast['clip'], '+#.3g')}" in report.summary
    assert f"in {100 * report.flip_auc['clip']:.0f} % of the pairs" in report.summary
    assert f"(AUC {report.flip_auc['clip']:.2f})" in report.summary
    assert all(f"{culprit.label} ({typeset(culprit.blame, '+#.3g')})" in report.summary for culprit in report.culprits)
    assert report.summary == f"{report.verdict}. {report.explanation}"
    assert not re.search(r"-\d|\d%", report.summary)  # one minus sign, one way to write a percentage


def with_figures(report, figures):
    """The report with other figures: method -> (flip AUC, contrast)."""
    readings = {
        name: replace(report.readings["clip"], flip_auc=auc, contrast=value, interval=Interval(auc, auc, 0.0))
        for name, (auc, value) in figures.items()
    }
    return replace(report, readings=readings)


@pytest.mark.parametrize(
    ("auc", "value", "verdict"),
    [
        (0.51, -0.0014, "Not flipped, but AUC and contrast disagree"),
        (0.49, 0.0014, "Flipped, but AUC and contrast disagree"),
        (0.51, 0.0014, "Not flipped"),
        (0.49, -0.0014, "Flipped"),
        (0.5, -0.0014, "Cannot tell"),
    ],
)
def test_auc_and_contrast_of_opposite_sign_are_told(report, auc, value, verdict):
    found = with_figures(report, {"clip": (auc, value)})
    assert found.verdict == verdict
    assert f"(AUC {auc:.2f})" in found.explanation and typeset(value, "+.2g") in found.explanation
    assert ("yet the mean foreground lies" in found.explanation) == ("disagree" in verdict)


def test_two_decimals_never_hide_the_side_of_one_half(report):
    assert "(AUC 0.4973)" in with_figures(report, {"clip": (0.4973, -0.1)}).summary


@pytest.mark.parametrize(
    ("aucs", "sentence"),
    [
        ((0.28, 0.94, 0.3), "Of the other methods SCLIP does best (AUC 0.94) and GEM worst (AUC 0.30)."),
        (
            (0.51, 0.42, 0.3),
            "No other method does better than CLIP itself (AUC 0.51): SCLIP comes closest (AUC 0.42), GEM does worst "
            "(AUC 0.30).",
        ),
        ((0.51, 0.42), "SCLIP (AUC 0.42) does no better than CLIP itself (AUC 0.51)."),
        ((0.51, 0.62), "SCLIP (AUC 0.62) does better than CLIP itself (AUC 0.51)."),
    ],
)
def test_the_best_method_is_measured_against_clip(report, aucs, sentence):
    figures = {name: (auc, auc - 0.5) for name, auc in zip(("clip", "sclip", "gem"), aucs, strict=False)}
    assert with_figures(report, figures).summary.endswith(f" {sentence}")


def with_lens(report: FlipReport, values: list[float], turn: int | None) -> str:
    return replace(report, lens_contrast=np.array(values, np.float32), turning_layer=turn).summary


def test_first_and_last_of_the_lens_are_named(report):
    never = with_lens(report, [-0.05, -0.4, -0.367], None)
    assert "is negative throughout: −0.0500 after the embedding, −0.367 after the last block." in never
    early = with_lens(report, [0.026, -0.01, -0.367], 1)
    assert "turns negative in block 0, from +0.0260 to −0.0100; it is −0.367 after the last block." in early
    last = with_lens(report, [-0.026, -0.01, 0.0004], 2)
    assert "turns positive in block 1, from −0.0100 to +0.000400. The" in last


def test_small_terms_keep_their_digits(report):
    tiny = Culprit(report.culprits[0].component, -0.00014)
    assert f"{tiny.label} (−0.000140):" in replace(report, culprits=(tiny,)).summary


def test_the_critical_alpha_is_where_the_walked_contrast_turns(report, toy, scene):
    trace, thing = toy.trace(toy.preprocess([scene.image])), scene.objects[0]
    text = toy.encode_text([thing.phrase])
    found = {kind: alpha for kind, alpha in report.critical_alpha.items() if not np.isnan(alpha)}
    assert set(report.critical_alpha) == {"qk", "vv", "qq", "kk"} and found
    for kind, alpha in found.items():
        methods = [Method(kind, alpha=factor * alpha, mlp=False) for factor in (0.99, 1.01)]
        below, above = (read_method(trace, text, report.region, method).contrast for method in methods)
        assert below * above < 0
    kind, alpha = next(iter(found.items()))
    assert f"that attention changes its sign: {kind[0]}-{kind[1]} at alpha {alpha:.3g}" in report.summary
    none = replace(report, critical_alpha=dict.fromkeys(report.critical_alpha, float("nan")))
    assert "and no weight of that attention, of any kind, changes its sign." in none.summary


def test_one_interpolation_for_all_methods_takes_one_pass(toy, scene):
    thing = scene.objects[0]
    report = diagnose(toy, scene.image, thing.phrase, thing.mask, size=160, position_interpolation="bicubic")
    assert {reading.method.position_interpolation for reading in report.readings.values()} == {"bicubic"}
    trace = toy.trace(toy.preprocess([scene.image], 160), "bicubic")
    surgery = replace(METHODS["clip_surgery"], position_interpolation="bicubic")
    values = read_method(trace, toy.encode_text([thing.phrase]), report.region, surgery).values
    np.testing.assert_allclose(report.readings["clip_surgery"].values, values, atol=1e-6)
    with pytest.raises(ValueError, match=r"position_interpolation to be None, bicubic, .* but got 'cubic'"):
        diagnose(toy, scene.image, thing.phrase, thing.mask, position_interpolation="cubic")


def test_a_region_and_a_mask_say_the_same(toy, scene):
    thing = scene.objects[0]
    method = {"clearclip": METHODS["clearclip"]}
    by_mask = diagnose(toy, scene.image, thing.phrase, thing.mask, method)
    by_region = diagnose(toy, scene.image, thing.phrase, Region.from_mask(thing.mask, (14, 14)), method)
    assert by_mask.flip_auc == by_region.flip_auc and set(by_mask.readings) == {"clip", "clearclip"}


def test_another_size_uses_the_methods_own_interpolation(toy, scene):
    thing = scene.objects[0]
    report = diagnose(toy, scene.image, thing.phrase, thing.mask, size=160)
    pixels = toy.preprocess([scene.image], 160)
    text = toy.encode_text([thing.phrase])
    bilinear = toy.trace(pixels, "bilinear")
    expected = similarity(dense_features(bilinear, METHODS["clip_surgery"]), text).patches[0, :, :, 0].numpy()
    np.testing.assert_allclose(report.readings["clip_surgery"].values, expected, atol=1e-6)


def test_a_resnet_is_diagnosed_without_a_lens():
    model = tiny_model("tiny-rn")
    mask = np.zeros((60, 90), bool)
    mask[:30, :45] = True
    report = diagnose(model, picture(), "a thing", mask)
    assert set(report.readings) == {"clip", "maskclip", "clip_surgery"}
    assert report.turning_layer is None and len(report.lens_contrast) == 0
    assert "attention pool is the only block" in report.summary


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": " "}, "text to be a non-empty prompt, but got ' '"),
        ({"region": np.zeros((224, 224), bool)}, "at least 1 foreground pixel"),
        ({"region": np.ones((224, 224), bool)}, "covers the whole image"),
        ({"region": np.eye(50, dtype=bool)}, r"mask to be of the image's size \(224, 224\), but got \(50, 50\)"),
        ({"region": Region.from_patches([(0, 0)], (3, 3))}, r"region to be on the grid \(14, 14\)"),
        ({"methods": {"deep": Method("vv", blocks=7)}}, "blocks to be from 1 to 6"),
    ],
)
def test_errors(toy, options, message):
    case = {"image": Image.new("RGB", (224, 224)), "text": "a red circle", "region": np.tri(224, dtype=bool), **options}
    with pytest.raises(ValueError, match=message):
        diagnose(toy, **case)


def test_ties_are_named_as_ties(report):
    tied = with_figures(report, {"clip": (0.2, -0.1), "gem": (0.9, 0.1), "sclip": (0.0, -0.3), "maskclip": (0.0, -0.4)})
    assert "GEM does best (AUC 0.90) and SCLIP and MaskCLIP worst (AUC 0.00 each)." in tied.summary
    tied = with_figures(report, {"clip": (0.2, -0.1), "gem": (0.9, 0.1), "sclip": (0.904, 0.3), "naclip": (0.1, -0.4)})
    assert "Of the other methods GEM and SCLIP do best (AUC 0.90 each) and NACLIP worst (AUC 0.10)." in tied.summary
    assert tied.headline().endswith(" · GEM and SCLIP 0.90")
    first = report.culprits[0]
    culprits = (first, Culprit(report.culprits[1].component, first.blame), report.culprits[2])
    assert f" {first.label} and {culprits[1].label} tie." in replace(report, culprits=culprits).explanation
    assert f" · {first.label} and {culprits[1].label} write " in replace(report, culprits=culprits).headline()
    flat = replace(report, lens_contrast=np.array([-0.2, 0.0, 0.1]), turning_layer=1)
    assert "turns zero in block 0, from −0.200 to 0" in flat.explanation


def test_a_verdict_needs_evidence(report):
    assert report.verdict == "Flipped" and report.readings["clip"].interval.high < 0.5
    clip = replace(report.readings["clip"], interval=Interval(0.31, 0.66, 0.7))
    near = replace(report, readings={**report.readings, "clip": clip})
    assert near.verdict == "Cannot tell" and near.summary.startswith("Cannot tell. The AUC is too near 0.5")
    assert "the 95 % interval of the AUC is 0.31 to 0.66." in near.explanation
    assert near.headline().startswith(f"Cannot tell · AUC {clip.flip_auc:.2f} (0.31 to 0.66) · ")
    untrained = replace(report, random_weights=True)
    assert untrained.summary.startswith("Cannot tell. The weights are random")
    small = Region.from_patches([(0, 0), (0, 1)], report.region.grid)
    few = replace(report, region=small)
    assert few.summary.startswith("Cannot tell. The region has only 2 patches; 5 is the least")


def test_random_weights_are_told_by_the_model():
    mask = np.zeros((60, 90), bool)
    mask[:30, :45] = True
    assert diagnose(tiny_model("tiny-vit"), picture(), "a thing", mask).verdict == "Cannot tell"


def test_the_headline_names_a_component(report):
    worst = report.culprits[0]
    assert (
        f" · {worst.label} writes {typeset(worst.blame, '+#.3g')} of {typeset(report.contrast['clip'], '+#.3g')} · "
        in (report.headline())
    )
    whole = Component("attention", worst.component.block)
    terms = report.blame.merged().contrast(report.region)[0, :, 0]
    term = terms[report.blame.merged().components.index(whole)]
    assert f"{whole.label} writes {typeset(term, '+#.3g')} of" in report.headline(whole)


def test_every_crossing_of_the_lens_is_named(report):
    many = with_lens(report, [0.1, -0.2, 0.3, 0.2, -0.4], 4)
    assert (
        "the contrast turns 3 times: negative in block 0, from +0.100 to −0.200; positive in block 1, from −0.200 to "
        "+0.300; negative in block 3, from +0.200 to −0.400. The"
    ) in many
