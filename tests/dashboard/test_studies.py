"""Ids of studies and pictures: what may be opened, and nothing else."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.studies import Study, run_study
from analysis.studies.curves import SweepLine
from analysis.sweep import SweepGrid
from dashboard import state, studies
from dashboard.figure_png import draw_page
from dashboard.pages.study import results
from dashboard.pages.study.compare import OTHER
from dashboard.pages.study.exports import pieces_of, python_of, report, study_exports
from dashboard.pages.study.grid import paint
from dashboard.pages.study.settings import StudySettings
from surgery import CLASSIC, load_model

METHODS = ("clip", "clip_surgery")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished study of the toy."""
    root = tmp_path_factory.mktemp("studies")
    measures = (*studies.MEASURES, "alpha", "segmentation")
    grid = SweepGrid(kinds=("qk", "vv"), alpha=(0.5, 1.0, 2.0))
    run_study(Study(data="toy:12", methods=METHODS, measures=measures, grid=grid), root / "first")
    run_study(Study(data="toy:12", methods=("clip",), measures=("maps", "blame"), batch=4), root / "again")
    return root


@pytest.fixture
def key(lab: Path, monkeypatch: pytest.MonkeyPatch) -> results.Key:
    monkeypatch.setenv(studies.STUDIES_VARIABLE, str(lab))
    return results.key_of("lab-first")


def test_only_studies_that_are_kept_here_are_opened(key: results.Key, lab: Path) -> None:
    assert studies.lab_studies() == ["lab-again", "lab-first"]
    assert studies.opened("lab-first").study.data == "toy:12"
    for id in ("", "lab-", "lab-..", "lab-../first", "own-", "own-" + "g" * 32, f"lab-{lab}", "../first"):
        with pytest.raises(ValueError, match="Expected study to be one that is kept here"):
            studies.folder_of(id)


def test_pictures_have_names_that_lead_back(key: results.Key) -> None:
    name = studies.picture_name("lab-first", 3)
    assert studies.parse_picture(name) == ("lab-first", 3)
    sample = studies.load_picture(name)
    assert sample.masks.keys() == set(sample.prompts)
    assert sample.image.size_px == next(iter(sample.masks.values())).shape
    for wrong in (
        "study:lab-first:",
        "study:lab-first:-1",
        "study:lab-first:³",
        "toy-1",
        "study:lab-first:" + "9" * 10,
    ):
        with pytest.raises(ValueError, match="Expected image to be study:ID:NUMBER"):
            studies.load_picture(wrong)
    with pytest.raises(ValueError, match="one of the 12 of this study, but got number 12"):
        studies.load_picture("study:lab-first:12")


def test_equal_requests_have_one_id_and_others_another() -> None:
    toy, tower = studies.collections()[0], load_model("toy").tower
    first = studies.request_of(toy, "toy", None, tower)
    assert first.methods == CLASSIC
    assert studies.id_of(first) == studies.id_of(studies.request_of(toy, "toy", None, tower))
    assert studies.id_of(first) != studies.id_of(studies.request_of(toy, "ViT-B-16", "random", tower))


def test_overview_agrees_with_the_rows_of_the_study(key: results.Key) -> None:
    seen, rows = results.overview(key), studies.opened("lab-first").table("maps")
    assert len(seen.index) == len(rows) / len(METHODS)
    for _, row in rows.iterrows():
        place = np.flatnonzero((seen.index == row["index"]) & (seen.text == row["text"]))
        assert seen.figure("flip_auc", row["method"])[place] == pytest.approx(row["flip_auc"])
    assert np.isnan(seen.figure("flip_auc", "gem")).all()
    assert ((seen.places["area"] > 0) & (seen.places["area"] < 1)).all()


def test_filters_and_order(key: results.Key) -> None:
    seen = results.overview(key)
    auc = seen.figure("flip_auc", "clip")
    every = np.ones(len(seen), bool)
    order = results.order_of(seen, every, StudySettings(), None)
    assert len(order) == len(seen.index)
    assert (np.diff(auc[order]) >= 0).all()
    assert (np.diff(auc[results.order_of(seen, every, StudySettings(sort="lit"), None)]) <= 0).all()
    kept = results.chosen_rows(seen, StudySettings(high=0.4, chosen=(0, 1, 2)))
    assert kept.tolist() == [bool(a <= 0.4 and n in (0, 1, 2)) for a, n in zip(auc, seen.index, strict=True)]
    one = str(seen.text[0])
    assert set(seen.text[results.chosen_rows(seen, StudySettings(text=one))]) == {one}


def test_blame_of_every_pair_adds_up_to_its_contrast(key: results.Key) -> None:
    seen, blame = results.overview(key), results.columns(key, "blame", "", StudySettings())
    assert blame.read.all()
    assert blame.values.sum(axis=1) == pytest.approx(seen.figure("contrast", "clip"), abs=1e-4)
    found = results.split(key, "blame", "", StudySettings())
    flipped = seen.flipped("clip")
    assert found.flipped.rows == flipped.sum()
    assert found.flipped.mean == pytest.approx(blame.values[flipped].mean(axis=0), abs=1e-6)
    assert found.worst.mean.sum() == pytest.approx(1)


def test_maps_are_those_of_the_picture(key: results.Key) -> None:
    seen = results.overview(key)
    maps = results.maps_of(key, (0, 1), "clip")
    assert {index for index, _ in maps} == {0, 1}
    for (index, text), values in maps.items():
        place = (seen.index == index) & (seen.text == text)
        assert values.shape == (14, 14)
        sample = studies.load_picture(studies.picture_name("lab-first", index))
        assert text in sample.masks
        assert place.sum() == 1
    assert paint(None, values, 0.3).startswith("data:image/jpeg;base64,")


@pytest.fixture
def shown(key: results.Key) -> results.Shown:
    """A selection of a study, with another one beside it."""
    return results.shown(key, StudySettings(id="lab-first", against="lab-again", low=0.1, figure="maps.contrast"))


def test_everything_on_the_page_is_handed_out_as_numbers_and_in_the_report(
    shown: results.Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "recall", lambda name, default: default)
    found = list(pieces_of(shown))
    names = "maps histogram against blame lens turning layers classes sizes methods sweep segmentation class-iou"
    assert [piece.name for piece in found] == [*names.split(), "picture-iou", "differences", "changed", "blame-pairs"]
    exports = study_exports(shown)
    names = [file.name for file in exports.files.values()]
    assert names == ["study-report.html", *(f"study-{piece.name}.csv" for piece in found)]
    assert all(file.make() for file in exports.files.values())
    for piece in found:
        if piece.figure is not None:  # each can be drawn for paper
            draw_page(piece.figure()).canvas.draw()
    page = report(shown, found, "print(1)").decode()
    assert page.count("<h2>") == len(found) + 1
    assert page.count("Plotly.newPlot(") >= sum(piece.figure is not None for piece in found)
    assert "<script src=" not in page  # nothing comes from elsewhere


def test_the_python_of_every_piece_gives_its_table(
    shown: results.Shown, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "recall", lambda name, default: default)
    found = list(pieces_of(shown))
    python = python_of(shown, found).replace("out/study", str(lab / "first")).replace(OTHER, str(lab / "again"))
    given: dict[str, object] = {}
    with redirect_stdout(io.StringIO()):
        exec(python, given)
    for piece in found:
        pd.testing.assert_frame_equal(given[piece.variable], piece.table(), obj=piece.name)


def test_the_sweep_at_alpha_1_and_the_lens_at_the_end_are_the_maps(shown: results.Shown) -> None:
    auc = results.sweep(shown.key, "contrast", SweepLine("vv"), shown.filters)
    assert auc.labels == ("0.5", "1", "2", "no residual")
    lens = results.split(shown.key, "lens", "depth_", shown.filters)
    for group, side in zip(lens.groups.values(), (True, False), strict=True):
        own = shown.kept & (shown.seen.flipped("clip") == side)
        assert group.mean[-1] == pytest.approx(shown.seen.figure("contrast", "clip")[own].mean(), abs=1e-4)
        assert group.rows == own.sum()
    table = results.turning(shown.key, shown.filters)
    assert ((table[["flipped", "not flipped"]].sum() <= 1) & (table[["flipped", "not flipped"]] >= 0).all()).all()
