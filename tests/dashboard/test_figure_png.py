"""Plotly figures drawn by matplotlib: the same numbers in the same places and colours."""

import io

import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dashboard.figure_page import figures_html
from dashboard.figure_png import draw_figure, figure_png
from dashboard.figures.theme import NEGATIVE_RGB, POSITIVE_RGB


def drawn(figure):
    axes = Figure().add_subplot()
    draw_figure(axes, figure)
    return axes


def test_lines_keep_points_colour_and_name():
    axes = drawn(go.Figure(go.Scatter(x=[0, 1, 2], y=[3, 1, 2], mode="lines", name="v-v", line={"color": "#ff0000"})))
    (line,) = axes.get_lines()
    assert line.get_xydata().tolist() == [[0, 3], [1, 1], [2, 2]]
    assert line.get_color() == (1, 0, 0, 1)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["v-v"]


def test_markers_have_a_colour_each_and_invisible_ones_are_left_out():
    colours = ["rgb(255,0,0)", "rgba(0,0,255,0.5)"]
    dots = go.Scatter(x=[0, 1], y=[2, 3], mode="markers", marker={"color": colours})
    hidden = go.Scatter(x=[5], y=[5], mode="markers", marker={"opacity": 0})
    (collection,) = drawn(go.Figure([dots, hidden])).collections
    assert np.allclose(collection.get_facecolors(), [[1, 0, 0, 1], [0, 0, 1, 0.5]])


def test_a_trace_of_the_legend_alone_has_its_mark_there_and_no_point():
    dots = go.Scatter(x=[0, 1], y=[2, 3], mode="markers", showlegend=False)
    mark = {"color": "#ff0000", "symbol": "circle-open"}
    entry = go.Scatter(x=[None], y=[None], mode="markers", marker=mark, name="foreground")
    axes = drawn(go.Figure([dots, entry]))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["foreground"]
    (handle,) = axes.get_legend().legend_handles
    assert np.allclose(handle.get_edgecolor(), [[1, 0, 0, 1]]) and len(handle.get_facecolor()) == 0
    assert sum(len(collection.get_offsets()) for collection in axes.collections) == 2


def test_the_legend_stands_beside_the_axes():
    page = Figure(figsize=(6, 4), layout="constrained")
    axes = page.add_subplot()
    draw_figure(axes, go.Figure(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name="a long name of a line")))
    FigureCanvasAgg(page).draw()
    legend, plot = axes.get_legend().get_window_extent(), axes.get_window_extent()
    assert plot.x1 <= legend.x0 and legend.x1 <= page.bbox.x1


def test_marks_keep_their_edge_and_equal_axes_their_shape():
    mark = {"symbol": "square", "color": "#ffffff", "line": {"width": 2, "color": "#000000"}}
    figure = go.Figure(go.Scatter(x=[0, 9], y=[0, 1], mode="markers", marker=mark))
    figure.update_yaxes(scaleanchor="x")
    axes = drawn(figure)
    (collection,) = axes.collections
    assert np.allclose(collection.get_edgecolors(), [[0, 0, 0, 1]])
    assert axes.get_aspect() == 1


def test_names_stand_on_their_side_of_the_point():
    dots = go.Scatter(x=[0, 1], y=[2, 3], mode="markers+text", text=["a3", "m4"])
    dots.textposition = ["bottom center", "middle right"]
    below, right = drawn(go.Figure(dots)).texts
    assert (below.get_va(), below.get_ha(), right.get_va(), right.get_ha()) == ("top", "center", "center", "left")


def test_bars_start_where_they_should():
    bars = go.Bar(x=["a", "b"], y=[2.0, -1.0], base=[0.0, 2.0], marker={"color": "#00ff00", "opacity": [1, 0.5]})
    first, second = drawn(go.Figure(bars)).patches
    assert (first.get_y(), first.get_height()) == (0, 2)
    assert (second.get_y(), second.get_height()) == (2, -1)
    assert second.get_facecolor() == (0, 1, 0, 0.5)


def test_lying_bars_are_named_and_written_on():
    axes = drawn(go.Figure(go.Bar(y=["long", "short"], x=[1.0, 0.2], orientation="h", text=["1.0", "0.2"])))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["long", "short"]
    assert [(text.get_text(), text.get_ha()) for text in axes.texts] == [("1.0", "right"), ("0.2", "left")]


def test_heat_maps_show_sign_and_leave_nothing_white():
    heat = go.Heatmap(z=[[1.0, -1.0], [0.0, np.nan]], zmin=-1, zmax=1)
    (image,) = drawn(go.Figure(heat)).images
    rgb, opacity = image.get_array()[..., :3], image.get_array()[..., 3:]
    pixels = rgb * opacity + 1 - opacity
    corners = pixels[0, 0], pixels[0, 1], pixels[1, 0], pixels[1, 1]
    towards = [np.array(POSITIVE_RGB) / 255, np.array(NEGATIVE_RGB) / 255, np.ones(3), np.ones(3)]
    assert all(np.abs(corner - colour).max() < 0.09 for corner, colour in zip(corners, towards, strict=True))
    assert list(image.get_extent()) == [-0.5, 1.5, 1.5, -0.5]


def test_axes_take_titles_ticks_and_range():
    figure = go.Figure(go.Scatter(x=[0, 1], y=[0, 1]))
    figure.update_layout(title={"text": "a &lt; <b>b</b><br>c"})
    figure.update_xaxes(title="alpha", tickvals=[0, 1], ticktext=["0.5", "no residual"])
    figure.update_yaxes(range=[3, -1])
    axes = drawn(figure)
    assert axes.get_title(loc="left") == "a < b\nc"
    assert axes.get_xlabel() == "alpha"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.5", "no residual"]
    assert axes.get_ylim() == (3, -1)


def test_crowded_ticks_are_thinned_and_hidden_axes_leave_no_line():
    figure = go.Figure(go.Scatter(x=[0, 40], y=[0, 3]))
    figure.update_xaxes(tickvals=list(range(40)), ticktext=[str(n) for n in range(40)])
    figure.update_yaxes(dtick=1)
    axes = drawn(figure)
    assert [label.get_text() for label in axes.get_xticklabels()][:3] == ["0", "2", "4"]
    assert np.allclose(np.diff(axes.get_yticks()), 1)
    figure.update_xaxes(visible=False)
    axes = drawn(figure)
    assert not axes.xaxis.get_visible() and not axes.spines["bottom"].get_visible()
    assert axes.spines["left"].get_visible()


def test_shapes_and_notes_stand_in_their_coordinates():
    figure = go.Figure(go.Scatter(x=[0, 4], y=[0, 1]))
    figure.add_vline(x=2, line={"color": "red"}, annotation={"text": "here"})
    axes = drawn(figure)
    line = axes.get_lines()[-1]
    assert list(line.get_xdata()) == [2, 2]
    assert line.get_transform() == axes.get_xaxis_transform()
    assert [text.get_text() for text in axes.texts] == ["here"]


def test_a_figure_becomes_a_png():
    image = Image.open(io.BytesIO(figure_png(go.Figure(go.Scatter(x=[0, 1], y=[0, 1])), size_in=(4, 3))))
    assert image.format == "PNG" and image.size == (440, 330)


def test_other_traces_are_refused():
    with pytest.raises(ValueError, match="Expected traces to be of type scatter, bar, heatmap, but got 'pie'"):
        drawn(go.Figure(go.Pie(values=[1, 2])))


def test_the_page_is_whole_and_escaped():
    figures = [go.Figure(go.Scatter(x=[0], y=[1])), go.Figure()]
    page = figures_html("<script>title", "text & more", "toy", figures).decode()
    assert "<script>title" not in page and "&lt;script&gt;title" in page and "text &amp; more" in page
    assert page.count('id="figure-') == 2
    assert len(page) > 1_000_000 and "cdn.plot.ly" not in page.split("<section>")[0]
    assert 'src="http' not in page
