"""A narrow window: no map and no title of a figure is cut off, and what is linked stays side by side."""

import pytest
from playwright.sync_api import Page

from tests.browser.driver import maps, open_page
from tests.browser.server import Server

VIEW = {"image": "toy-1", "p": ["a red flower", "sand", "a white cross"], "region": "object:a red flower"}


@pytest.fixture
def narrow_page(page: Page) -> Page:
    """A page in a window of 900 pixels."""
    page.set_viewport_size({"width": 900, "height": 800})
    return page


def cut_titles(page: Page) -> list[str]:
    """Titles of figures that reach beyond their figure."""
    return page.get_by_test_id("stPlotlyChart").evaluate_all(
        """charts => charts.flatMap((chart) => {
            const edge = chart.getBoundingClientRect().right + 1;
            const titles = [...chart.querySelectorAll('.gtitle, .annotation-text')];
            return titles.filter((t) => t.getBoundingClientRect().right > edge).map((t) => t.textContent);
        })"""
    )


def cut_labels(page: Page) -> list[str]:
    """Labels of controls whose words do not fit into their place."""
    return page.locator('[data-testid="stMain"] [data-testid="stWidgetLabel"]').evaluate_all(
        """labels => labels.filter((label) => [label, ...label.querySelectorAll('*')].some((node) =>
            node.clientWidth && node.scrollWidth > node.clientWidth + 1)).map((label) => label.textContent)"""
    )


def hidden_maps(page: Page) -> list[str]:
    """Maps that reach beyond their cells, or are too small to see anything."""
    return maps(page).evaluate_all(
        """maps => maps.filter((map) => {
            const cells = map.closest('.cells').getBoundingClientRect();
            return map.getBoundingClientRect().right > cells.right + 1 || map.clientWidth < 60;
        }).map((map) => map.dataset.title)"""
    )


@pytest.mark.parametrize("name", ["flip", "layers", "affinity", "redundancy"])
def test_nothing_is_cut_off(narrow_page: Page, server: Server, name: str) -> None:
    open_page(narrow_page, server.url, name, **VIEW)
    expect_nothing_cut(narrow_page)


def covered_links(page: Page) -> list[str]:
    """Links of the navigation that lie under the page's own buttons (pins, help, ...)."""
    return page.evaluate(
        """() => {
            const frame = document.querySelector('.st-key-frame').getBoundingClientRect();
            const links = [...document.querySelectorAll('[data-testid="stTopNavLink"]')].filter((link) => {
                const box = link.getBoundingClientRect();
                return link.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && box.width
                    && box.right > frame.left && box.left < frame.right && box.bottom > frame.top;
            });
            return links.map((link) => link.textContent);
        }"""
    )


def expect_nothing_cut(page: Page) -> None:
    """Labels of controls, titles of figures and maps are whole, nothing covers a link, and there are figures to see."""
    assert covered_links(page) == []
    assert page.get_by_test_id("stPlotlyChart").count() + maps(page).count() > 0
    assert (cut_labels(page), cut_titles(page), hidden_maps(page)) == ([], [], [])


def test_maps_in_several_lines_have_their_titles(narrow_page: Page, server: Server) -> None:
    titles = """views => views[0].shadowRoot.querySelector('.view').matches('.wrapped')
        && [...views[0].shadowRoot.querySelectorAll('.cell .title')].map((title) => title.clientHeight > 0)"""
    open_page(narrow_page, server.url, **VIEW)
    expect_nothing_cut(narrow_page)
    view = narrow_page.get_by_test_id("stBidiComponentIsolated").filter(has=maps(narrow_page))
    assert all(view.evaluate_all(titles))
    narrow_page.set_viewport_size({"width": 1440, "height": 900})
    narrow_page.wait_for_function("matchMedia('(min-width: 1440px)').matches")
    assert view.evaluate_all(titles) is False


def test_points_and_their_photograph_stay_side_by_side(narrow_page: Page, server: Server) -> None:
    open_page(narrow_page, server.url, "space", **VIEW)
    expect_nothing_cut(narrow_page)
    points, photo = (narrow_page.locator(f".st-key-space-{name}").bounding_box() for name in ("points", "photo"))
    assert points["x"] + points["width"] <= photo["x"]
    assert abs(points["y"] - photo["y"]) < points["height"] / 2
