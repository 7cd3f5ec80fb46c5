"""One ZIP a page: every figure and map view as PNG, SVG and PDF, the files, and a README of them."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from plotly.subplots import make_subplots

from dashboard.case import Case, pin_of
from dashboard.exports import Archive, Exports, File, make_zip
from dashboard.figure_png import draw_page, save_page
from dashboard.figures.maps import encode_photo
from dashboard.figures.photo import plot_photo
from dashboard.figures.theme import POSITIVE_RGB
from dashboard.pages import PAGES
from dashboard.panels import shown
from dashboard.panels.mapview import Cell, MapView, Photo, Row
from dashboard.view_picture import draw_view, map_pixels
from data.samples import load_sample
from surgery import PromptPoints

GREY = np.full((40, 80, 3), 128, np.uint8)
PHOTO = Photo(encode_photo(GREY), encode_photo(GREY, grey=True), 80, 40)
VALUES = np.array([[1.0, -1.0], [0.0, 0.5]])
OUTLINE = "M10.0 5.0L30.0 5.0L30.0 20.0ZM1.0 1.0L2.0 1.0L2.0 2.0Z"


def view_of(**changes: object) -> MapView:
    points = PromptPoints(np.array([[8, 9], [40, 10]]), np.array([1, 0]))
    cells = (Cell("CLIP", VALUES, note="contrast −0.335\nAUC 0.02", points=points), Cell("GEM", error="$x$ cannot"))
    view = MapView(PHOTO, (Row("“grass $”", cells),), limit=1.0, unit="cosine", outline=OUTLINE, patch=(1, 0))
    return replace(view, **changes)


def texts_of(page: object) -> str:
    return "\n".join(text.get_text() for text in page.findobj(lambda artist: hasattr(artist, "get_text")))


def test_a_map_view_is_drawn_as_it_is_seen() -> None:
    page = draw_view(view_of())
    FigureCanvasAgg(page).draw()
    written = texts_of(page)
    assert all(word in written for word in ("“grass $”", "CLIP", "contrast −0.335\nAUC 0.02", "$x$ cannot", "cosine"))
    kinds = [type(patch).__name__ for patch in page.axes[0].patches]
    assert kinds.count("PathPatch") == 2 and kinds.count("Rectangle") == 2 and kinds.count("Ellipse") == 2
    assert page.axes[0].patches[0].get_path().codes.tolist().count(1) == 2  # both pieces of the outline


def test_map_colours_follow_scale_and_threshold() -> None:
    pixels = map_pixels(view_of(), VALUES)
    assert np.allclose(pixels[0, 0, :3], np.array(POSITIVE_RGB) / 255, atol=0.01) and pixels[0, 0, 3] > 0.9
    assert pixels[-1, 0, 3] < 0.02 and pixels[0, -1, 2] > pixels[0, -1, 0]
    assert map_pixels(view_of(threshold=0.6), VALUES)[-1, -1, 3] == 0
    stretched = map_pixels(view_of(scale="minmax"), VALUES)
    assert stretched[0, -1, 3] == pytest.approx(0, abs=0.01) and stretched[0, 0, 3] == pytest.approx(0.92, abs=0.01)


def test_panels_stand_where_plotly_puts_them() -> None:
    figure = make_subplots(1, 2, subplot_titles=["left", "right"])
    figure.add_trace(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name="a"), 1, 1)
    figure.add_trace(go.Bar(x=["p", "q"], y=[1, 2], name="b"), 1, 2)
    figure.add_trace(go.Bar(x=["p", "q"], y=[3, 4], name="c"), 1, 2)
    figure.update_layout(title="both", barmode="stack")
    page = draw_page(figure)
    first, second = page.axes
    assert first.get_position().x1 < second.get_position().x0
    assert [bar.get_y() for bar in second.patches] == [0, 0, 1, 2]
    assert {"left", "right", "both", "a", "b", "c"} <= set(texts_of(page).split("\n"))


def test_bars_stand_side_by_side_where_plotly_groups_them() -> None:
    figure = go.Figure([go.Bar(x=[0, 1], y=[1, 2]), go.Bar(x=[0, 1], y=[3, 4])])
    bars = draw_page(figure).axes[0].patches
    assert bars[0].get_x() + bars[0].get_width() == pytest.approx(bars[2].get_x())


def test_a_photograph_keeps_outline_patch_and_map() -> None:
    page = draw_page(plot_photo(GREY, (2, 2), values=VALUES, outline=OUTLINE, patch=(0, 1)))
    axes = page.axes[0]
    assert [list(image.get_extent()) for image in axes.images] == [[0, 80, 40, 0], [0, 80, 40, 0]]
    assert axes.get_ylim() == (40, 0) and len(axes.patches) == 1 and len(axes.get_lines()) == 2


def archive() -> Archive:
    figure = go.Figure(go.Scatter(x=[0, 1], y=[0, 1]), {"title": {"text": "a line"}})
    pictures = {"maps grid": ("Maps", lambda: draw_view(view_of())), "lens": ("a line", lambda: draw_page(figure))}
    pictures["pie"] = ("a pie", lambda: draw_page(go.Figure(go.Pie(values=[1]))))
    table, arrays = io.BytesIO(), b"row,value\n0,1\n1,2\n"
    np.savez(table, clip=VALUES)
    files = {"CSV, a row a patch": File("maps.csv", lambda: arrays), "NPZ": File("a.npz", table.getvalue, "cosines")}
    exports = Exports("print(1)\n", files)
    case = "toy · “a|b `x`” · region: a ring"
    settings = {"p": ["a|b", "c"], "region": [""], "size": ["448"]}
    return Archive("maps", "Maps: what?", case, settings, exports, pictures)


def test_the_zip_has_every_picture_three_times_and_a_readme_of_its_files() -> None:
    with zipfile.ZipFile(io.BytesIO(make_zip(archive()))) as found:
        files = {name: found.read(name) for name in found.namelist()}
    assert sorted(files) == sorted(
        [f"maps-{stem}.{kind}" for stem in ("grid", "lens") for kind in ("png", "svg", "pdf")]
        + ["maps.csv", "a.npz", "maps.py", "README.md"]
    )
    assert Image.open(io.BytesIO(files["maps-grid.png"])).width > 600
    assert b"a line" in files["maps-lens.svg"] and b"region: a ring \xc2\xb7 size 448" in files["maps-lens.svg"]
    assert files["maps-lens.pdf"].startswith(b"%PDF")
    text = files["README.md"].decode()
    assert "| maps.csv | CSV, a row a patch | 2 rows of row,value |" in text and "cosines; clip (2 x 2)" in text
    assert "a pie | not drawn: Expected traces" in text and "- p: a\\|b, c" in text and "- region: none" in text
    assert "toy · “a\\|b \\`x\\`”" in text and "## How to make it again" in text


def test_the_same_page_is_the_same_picture() -> None:
    for kind in ("svg", "pdf"):
        assert save_page(draw_view(view_of()), kind) == save_page(draw_view(view_of()), kind)
    with pytest.raises(ValueError, match="Expected kind to be one of png, svg, pdf, but got 'jpg'"):
        save_page(draw_view(view_of()), "jpg")


@pytest.mark.parametrize("page", [page.name for page in PAGES if page.name != "study"])
def test_everything_that_a_page_draws_can_be_drawn_for_paper(
    page: str, open_app, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {}
    monkeypatch.setattr(shown, "show", lambda key, title, draw: drawn.update({key: draw}))
    scene = load_sample("toy-1")
    case = Case(image="toy-1", prompts=scene.prompts, region=f"object:{next(iter(scene.masks))}", patch=(5, 5))
    app = open_app(replace(case, pins=(pin_of(case, 0, "clip"), pin_of(case, 1, "clip"))), page=page)
    assert not app.exception and drawn
    for draw in drawn.values():
        FigureCanvasAgg(draw()).draw()
