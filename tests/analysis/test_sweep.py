"""Sweeps: every row against a direct computation, what is skipped, and the table with its intervals."""

from itertools import islice

import numpy as np
import pandas as pd
import pytest

import surgery.models
from analysis.metrics import best_threshold_iou, contrast, flip_auc, score_contrast
from analysis.regions import Region
from analysis.sweep import METRICS, Skipped, SweepGrid, alpha_axis, iterate_sweep, summarise, sweep_table
from data.datasets import Sample, SegmentationFolder, ToyScenes
from data.images import LoadedImage
from surgery import Method, dense_features, load_model, similarity
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def toy():
    return load_model("toy", device="cpu")


def sample_of(mask: np.ndarray, image_shape: tuple[int, int] | None = None, name: str = "noise") -> Sample:
    pixels = np.random.default_rng(0).integers(0, 256, (*(image_shape or mask.shape), 3), dtype=np.uint8)
    names = {0: "background", 1: "a red circle", 2: "a blue ring"}
    return Sample(name, names, lambda: LoadedImage.from_rgb(pixels, name), lambda: mask.astype(np.uint8))


def two_objects() -> np.ndarray:
    mask = np.zeros((112, 112), np.uint8)
    mask[8:40, 8:40], mask[60:100, 50:90] = 1, 2
    return mask


def test_rows_are_what_a_direct_computation_gives(toy):
    grid = SweepGrid(kinds=("vv", "qk"), blocks=(1, 3), residual=(1.0, 0.3), alpha=(2.0,), mlp=(False, True))
    sample = ToyScenes(1, seed=3)[0]
    rows = list(iterate_sweep(toy, [sample], grid, templates="photo"))
    regions = {r.text: Region.from_mask(r.mask, toy.tower.native_grid) for r in sample.regions()}
    assert len(rows) == 2 * 2 * 2 * 3 * len(regions)
    trace = toy.trace(toy.preprocess([sample.image.to_pil()]))
    for row in rows[:: len(regions) + 1]:
        region = regions[row.text]
        text = toy.encode_text([row.text], "photo")
        values = similarity(dense_features(trace, row.method), text).patches[0, :, :, 0]
        best = best_threshold_iou([values], [region.foreground], [region.foreground | region.background])
        expected = [contrast(values, region), score_contrast(values, region), flip_auc(values, region), best.iou]
        assert [getattr(row, name) for name in METRICS] == pytest.approx(expected, abs=1e-5)
        predicted = values.numpy() >= row.threshold
        predicted = predicted[region.foreground | region.background]
        truth = region.foreground[region.foreground | region.background]
        assert (predicted & truth).sum() / (predicted | truth).sum() == pytest.approx(row.iou, abs=0.05)
        assert (row.image, row.model, row.templates, row.grid) == ("toy-0", "toy", "photo", (14, 14))


def test_points_are_all_combinations_once_with_no_residual_last():
    points = SweepGrid(kinds=("vv", "qq"), alpha=(1.0, 2.0, 1.0), residual=(1.0, 0.5)).methods()
    line = [(1.0, 1.0), (1.0, 2.0), (0.5, 1.0), (0.5, 2.0), (0.0, 1.0)]
    assert [(p.attention, p.residual, p.alpha) for p in points] == [(kind, *at) for kind in ("vv", "qq") for at in line]
    without = SweepGrid(kinds=("vv",), alpha=(1.0, 2.0), no_residual=False).methods()
    assert without == (Method("vv", mlp=False), Method("vv", alpha=2.0, mlp=False))


def test_a_resnet_has_no_residual_and_no_mlp_to_sweep():
    tower = tiny_model("tiny-rn").tower
    points = SweepGrid(kinds=("vv",), alpha=(1.0,), residual=(1.0, 0.5), mlp=(True, False)).methods(tower)
    assert points == (Method("vv", residual=0.0, mlp=False),)


@pytest.mark.parametrize("name", ["kinds", "blocks", "residual", "alpha", "mlp"])
def test_empty_lists_are_refused(name):
    with pytest.raises(ValueError, match=rf"Expected {name} to be a list of at least 1 value, but got \(\)"):
        SweepGrid(**{name: ()})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kinds": "vv"}, "Expected kinds to be a list"),
        ({"kinds": ("vv", "values")}, "Expected attention to be one of"),
        ({"blocks": (0,)}, "Expected blocks to be a whole number of at least 1"),
        ({"alpha": (1.0, float("nan"))}, "Expected alpha to be a finite number"),
        ({"mlp": (1,)}, "Expected mlp to be True or False"),
        ({"position_interpolation": "nearest"}, "Expected position_interpolation to be one of"),
    ],
)
def test_values_that_no_method_takes_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SweepGrid(**values)


def test_points_without_meaning_for_the_tower_are_refused_before_the_first_image(toy):
    def no_image():
        raise AssertionError("an image was opened")
        yield

    with pytest.raises(ValueError, match="Expected blocks to be from 1 to 6"):
        iterate_sweep(toy, no_image(), SweepGrid(blocks=(1, 7)))
    with pytest.raises(ValueError, match="attention pool of a ResNet"):
        iterate_sweep(tiny_model("tiny-rn"), no_image(), SweepGrid(kinds=("vv", "qq")))


def test_what_cannot_be_used_is_skipped_and_counted(toy):
    small = two_objects()
    small[small == 2] = 0
    small[50:52, 50:52] = 2

    def damaged():
        raise ValueError("Expected damaged.png to be an image")

    broken = Sample("broken", {1: "a red circle"}, damaged, two_objects)
    nothing = sample_of(np.zeros((112, 112), np.uint8), name="nothing")
    everything = sample_of(np.ones((112, 112), np.uint8), name="everything")
    samples = [
        sample_of(small, name="small"),
        broken,
        nothing,
        everything,
        sample_of(two_objects(), (112, 100), name="wrong"),
        sample_of(two_objects(), name="good"),
    ]
    skipped: list[Skipped] = []
    rows = list(iterate_sweep(toy, samples, SweepGrid(kinds=("vv",), alpha=(1.0,)), on_skip=skipped.append))
    assert {(r.image, r.text) for r in rows} == {
        ("small", "a red circle"),
        ("good", "a red circle"),
        ("good", "a blue ring"),
    }
    assert [(s.image, s.text) for s in skipped] == [
        ("small", "a blue ring"),
        ("broken", None),
        ("everything", "a red circle"),
        ("wrong", None),
    ]
    assert "damaged.png" in skipped[1].reason and "(112, 100)" in skipped[3].reason


def test_one_pass_an_image_and_none_after_stopping(toy, monkeypatch):
    recorded = []
    record = surgery.models.record
    monkeypatch.setattr(surgery.models, "record", lambda *args, **kwargs: recorded.append(1) or record(*args, **kwargs))
    opened = []

    def samples():
        for sample in ToyScenes(3, seed=5):
            opened.append(sample.name)
            yield sample

    grid = SweepGrid(kinds=("vv", "qq"), blocks=(1, 2), alpha=(1.0, 2.0))
    first = next(iter(iterate_sweep(toy, samples(), grid)))
    assert (first.image, opened, len(recorded)) == ("toy-0", ["toy-0"], 1)
    rows = list(iterate_sweep(toy, ToyScenes(3, seed=5), grid))
    assert len({row.image for row in rows}) == 3
    assert len(recorded) == 1 + 3


def test_the_table_holds_every_field(toy):
    rows = list(iterate_sweep(toy, [ToyScenes(1)[0]], SweepGrid(kinds=("vv",), alpha=(1.5,), blocks=(2,))))
    table = sweep_table(rows)
    assert len(table) == len(rows) and not table.isna().any().any()
    first = table.iloc[0]
    point = ("vv", 2, 1.0, 1.5, False, "bicubic")
    assert tuple(first[["kind", "blocks", "residual", "alpha", "mlp", "position_interpolation"]]) == point
    assert tuple(first[["contrast", "threshold", "patch_rows"]]) == (rows[0].contrast, rows[0].threshold, 14)
    assert list(sweep_table([]).columns) == list(table.columns)


def made_up(
    values: dict[str, list[float]], alpha: float = 1.0, kind: str = "vv", residual: float = 1.0
) -> pd.DataFrame:
    """A table of one point: per image, the contrast of each of its classes."""
    fixed = {"kind": kind, "blocks": 1, "residual": residual, "alpha": alpha, "mlp": False, "model": "toy"}
    fixed |= {"score_contrast": 0.5, "flip_auc": 0.5, "iou": 0.5}
    return pd.DataFrame([{"image": i, "contrast": c, **fixed} for i, cs in values.items() for c in cs])


def test_means_are_over_maps_and_intervals_over_images():
    values = {f"image-{i}": list(np.random.default_rng(i).normal(0.2, 1, 1 + i % 3)) for i in range(12)}
    table = pd.concat([made_up(values), made_up({k: [v + 1 for v in vs] for k, vs in values.items()}, alpha=2.0)])
    summary = summarise(table, resamples=4000, seed=1)
    assert list(summary["alpha"]) == [1.0, 2.0]
    assert list(summary["images"]) == [12, 12] and list(summary["maps"]) == [len(made_up(values))] * 2
    everything = np.concatenate(list(values.values()))
    assert summary["contrast"][0] == pytest.approx(everything.mean())

    rng, means = np.random.default_rng(7), []
    for _ in range(4000):
        drawn = rng.choice(list(values), len(values))
        means.append(np.concatenate([values[image] for image in drawn]).mean())
    low, high = np.quantile(means, [0.025, 0.975])
    assert (summary["contrast_low"][0], summary["contrast_high"][0]) == pytest.approx((low, high), abs=0.03)
    # The same images are drawn for every point, so a constant shift shifts the interval by exactly that.
    assert summary["contrast_low"][1] - summary["contrast_low"][0] == pytest.approx(1.0)
    assert summary["iou_low"][0] == summary["iou_high"][0] == 0.5
    pd.testing.assert_frame_equal(summary, summarise(table, resamples=4000, seed=1))


def test_a_narrower_confidence_gives_a_narrower_interval():
    table = made_up({f"image-{i}": [float(i)] for i in range(20)})
    wide, narrow = summarise(table, confidence=0.99), summarise(table, confidence=0.5)
    assert wide["contrast_low"][0] < narrow["contrast_low"][0] < narrow["contrast_high"][0] < wide["contrast_high"][0]


def test_summaries_refuse_what_they_cannot_summarise():
    with pytest.raises(ValueError, match="Expected table to hold at least 1 row, but got none"):
        summarise(sweep_table([]))
    with pytest.raises(ValueError, match="Expected confidence to be between 0 and 1, but got 95"):
        summarise(made_up({"a": [1.0]}), confidence=95)


def test_the_alpha_axis_ends_with_no_residual():
    points = [(2.0, 1.0), (0.5, 1.0), (1.0, 0.0), (1.0, 1.0), (1.0, 0.5), (2.0, 0.0)]
    lines = [made_up({"a": [0.1]}, alpha, kind, residual) for kind in ("vv", "qq") for alpha, residual in points]
    axis = alpha_axis(summarise(pd.concat(lines)))
    for kind in ("vv", "qq"):
        line = axis[axis["kind"] == kind]
        assert list(line["label"]) == ["0.5", "1", "2", "no residual"]
        assert list(line["position"]) == [0, 1, 2, 3]
        assert list(line["residual"]) == [1.0, 1.0, 1.0, 0.0]


def test_real_images_with_masks(toy, shared):
    folder = SegmentationFolder(shared / "data" / "davis60")
    samples = [folder[i] for i in range(0, 60, 20)]
    grid = SweepGrid(kinds=("qk", "vv"), blocks=(1, 6), alpha=(1.0, 3.0))
    skipped: list[Skipped] = []
    table = sweep_table(iterate_sweep(toy, samples, grid, on_skip=skipped.append))
    assert len(table) == 2 * 2 * 3 * (3 - len(skipped))
    assert set(table["image"]) == {s.name for s in samples} - {s.image for s in skipped}
    assert np.isfinite(table[list(METRICS)].to_numpy()).all()
    assert table["iou"].between(0, 1).all() and table["flip_auc"].between(0, 1).all()
    assert len(summarise(table)) == 12


def test_another_input_size_gives_another_grid(toy):
    rows = islice(iterate_sweep(toy, ToyScenes(1), SweepGrid(kinds=("vv",)), size=(64, 96)), 2)
    assert {row.grid for row in rows} == {(8, 12)}
