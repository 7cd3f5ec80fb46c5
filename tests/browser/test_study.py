"""The Study page as a visitor meets it: begin, sort, choose, open in Flip and back, archives, another server."""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from analysis.studies import Study, run_study
from analysis.sweep import SweepGrid
from dashboard import studies
from data.registry import open_dataset
from tests.browser.conftest import WINDOW
from tests.browser.driver import expect_no_exception, open_page, wait_until_idle, watch_console
from tests.browser.server import Server, running_server

SCENES = 30
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
METHODS = ("clip", "clip_surgery")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished studies: one of toy scenes, and another of the same with one method only."""
    root = tmp_path_factory.mktemp("lab")
    measures = (*studies.MEASURES, "alpha", "segmentation")
    grid = SweepGrid(kinds=("vv",), alpha=(1.0, 2.0))
    run_study(Study(data=f"toy:{SCENES}", methods=METHODS, measures=measures, grid=grid), root / "scenes")
    run_study(Study(data=f"toy:{SCENES}", methods=("clip",), measures=("maps", "blame"), batch=4), root / "again")
    return root


@pytest.fixture(scope="module")
def lab_server(browser: Browser, lab: Path, tmp_path_factory: pytest.TempPathFactory):
    """A dashboard with `--studies`, with a cache of its own."""
    folder = tmp_path_factory.mktemp("lab server")
    environment = {studies.STUDIES_VARIABLE: str(lab), "CLIP_THEATRE_CACHE": str(folder / "cache")}
    environment[studies.DATA_VARIABLE] = str(SHARED)
    with running_server(folder / "log.txt", environment) as started:
        yield started
        assert started.errors() == []


def pictures(page: Page):
    """The grid."""
    return page.get_by_role("group", name="Pictures of the study").get_by_role("button")


def headline(page: Page) -> str:
    """The line that counts."""
    return page.get_by_text(re.compile(r"chosen, ")).inner_text()


def test_a_finished_study_is_sorted_and_filtered(page: Page, lab_server: Server) -> None:
    open_page(page, lab_server.url, "study", **{"study.id": "lab-scenes"})
    expect_no_exception(page)
    titles = pictures(page).evaluate_all("nodes => nodes.map(node => node.title)")
    auc = [float(re.search(r"AUC ([\d.]+)", title)[1]) for title in titles]
    assert len(auc) == 24
    assert auc == sorted(auc)
    assert auc[0] < 0.2
    every = headline(page)
    open_page(page, lab_server.url, "study", **{"study.id": "lab-scenes", "study.high": "0.3"})
    assert headline(page) != every
    page.get_by_role("button", name="Clear the selection").click()
    wait_until_idle(page)
    assert headline(page) == every


def test_a_component_and_a_lasso_are_the_choice_of_all(page: Page, lab_server: Server) -> None:
    open_page(page, lab_server.url, "study", **{"study.id": "lab-scenes"})
    page.locator(".st-key-study-blame .barlayer .point").first.click(force=True)
    expect(page).to_have_url(re.compile(r"study\.component="))
    wait_until_idle(page)
    component = re.search(r"study\.component=([\w.+]+)", page.url)[1].replace("+", " ")
    assert component in pictures(page).first.inner_text()
    plot = page.locator(".st-key-study-pairs .nsewdrag").bounding_box()
    x, y, width, height = plot["x"], plot["y"], plot["width"], plot["height"]
    page.mouse.move(x + 2, y + 2)
    page.mouse.down()
    for across, down in ((0.4, 0.01), (0.4, 0.99), (0.01, 0.99), (0.01, 0.02)):
        page.mouse.move(x + width * across, y + height * down, steps=6)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"study\.chosen="))
    wait_until_idle(page)
    chosen = int(re.search(r"([\d,]+) chosen", headline(page))[1])
    maps = int(re.search(r"([\d,]+) maps", headline(page))[1])
    assert 0 < chosen < maps


def test_a_picture_opens_in_flip_with_its_neighbours_and_back(page: Page, lab_server: Server) -> None:
    open_page(page, lab_server.url, "study", **{"study.id": "lab-scenes", "study.high": "0.5"})
    said = headline(page)
    pictures(page).nth(1).click()
    page.wait_for_url(re.compile("/flip"))
    wait_until_idle(page)
    expect_no_exception(page)
    first = page.url
    assert "image=study%3Alab-scenes" in first
    page.keyboard.press("n")
    page.wait_for_url(lambda url: url != first)
    wait_until_idle(page)
    expect_no_exception(page)
    page.keyboard.press("p")
    page.wait_for_url(first)
    wait_until_idle(page)
    page.get_by_role("link", name="Back to Study").click()
    page.wait_for_url(re.compile("/study"))
    wait_until_idle(page)
    assert headline(page) == said


def test_a_study_is_begun_stopped_and_gone_on_with_after_a_restart(browser: Browser, tmp_path: Path) -> None:
    environment = {"CLIP_THEATRE_CACHE": str(tmp_path / "cache")}
    with running_server(tmp_path / "first.txt", environment) as server:
        page = browser.new_context(viewport=WINDOW).new_page()
        open_page(page, server.url, "study")
        page.get_by_role("button", name=re.compile("^Study it with")).click()
        running = page.get_by_text(re.compile("^Studying the pictures")).first
        expect(running).to_be_visible()  # before it, the only Stop is Streamlit's own, which ends the script
        page.get_by_role("button", name="Stop").last.click()
        expect(page).to_have_url(re.compile(r"study\.id=own-"))
        wait_until_idle(page)
        address = page.url.removeprefix(server.url)
        page.context.close()
    with running_server(tmp_path / "second.txt", environment) as server:
        page = browser.new_context(viewport=WINDOW).new_page()
        problems = watch_console(page)
        page.goto(server.url + address)
        wait_until_idle(page)
        again = page.get_by_role("button", name=re.compile("^(Go on with this|Study it with)"))
        again.first.click()
        wait_until_idle(page)
        page.reload()
        wait_until_idle(page)
        expect(page.get_by_text(re.compile("100 pictures"))).to_be_visible()
        expect_no_exception(page)
        assert len(problems) == 0
        page.context.close()


def loose_files(archive: Path, folder: Path, images: int) -> list[Path]:
    """The first pictures of an archive as NAME.png and NAME_mask.png."""
    written = []
    with zipfile.ZipFile(archive) as found:
        for name in found.namelist()[: 2 * images]:
            kind, file = name.split("/")
            written.append(folder / (file if kind == "images" else file.replace(".png", "_mask.png")))
            written[-1].write_bytes(found.read(name))
    return written


def test_an_archive_with_masks_is_studied_and_a_broken_one_is_refused(
    page: Page, lab_server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "scenes.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for sample in list(open_dataset("toy:30", seed=5)):
            for folder, values in (("images", sample.image.rgb), ("masks", (sample.mask > 0).astype(np.uint8) * 255)):
                stream = io.BytesIO()
                Image.fromarray(values).save(stream, "PNG")
                archive.writestr(f"{folder}/{sample.name}.png", stream.getvalue())
    open_page(page, lab_server.url, "study")
    uploader = page.locator('[data-testid="stMain"] [data-testid="stFileUploaderDropzoneInput"]')
    collection = page.get_by_role("combobox", name="Collection")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(path.read_bytes()[:5000])
    uploader.set_input_files(broken)
    expect(page.get_by_text("to be a ZIP file")).to_be_visible()
    wait_until_idle(page)
    uploader.set_input_files(loose_files(path, tmp_path, 3))
    expect(collection).to_have_value("6 files (3 images)")
    wait_until_idle(page)
    uploader.set_input_files(path)
    expect(collection).to_have_value("scenes.zip (30 images)")
    wait_until_idle(page)
    page.get_by_role("button", name=re.compile("^Study it with")).click()
    expect(page.get_by_text(re.compile("30 pictures"))).to_be_visible()
    wait_until_idle(page)
    assert len(pictures(page).all()) == 24


def test_two_studies_are_compared_and_a_segmented_picture_opens_in_flip(page: Page, lab_server: Server) -> None:
    open_page(page, lab_server.url, "study", **{"study.id": "lab-scenes", "study.against": "lab-again"})
    expect_no_exception(page)
    expect(page.get_by_text("Maps that changed most")).to_be_visible()
    strips = page.get_by_role("group", name="Label maps of the study").get_by_role("button")
    shares = [int(re.search(r"mIoU (\d+)", title)[1]) for title in strips.evaluate_all("all => all.map(b => b.title)")]
    assert len(shares) == 6
    assert shares == sorted(shares)
    page.locator(".st-key-study-ious .barlayer .point").last.click(force=True)
    expect(page).to_have_url(re.compile(r"study\.class="))
    wait_until_idle(page)
    strips.first.click()
    page.wait_for_url(re.compile("/flip"))
    wait_until_idle(page)
    expect_no_exception(page)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the photographs of ../shared/data are not here")
def test_two_visitors_study_two_data_sets_at_once(browser: Browser, lab_server: Server) -> None:
    visitors = [browser.new_context(viewport=WINDOW).new_page() for _ in range(2)]
    problems = [watch_console(page) for page in visitors]
    for page, name in zip(visitors, ("coco_pan200", "davis60"), strict=True):
        asked = {"study.collection": f"data:{name}/", "study.limit": "4"}
        open_page(page, lab_server.url, "study", **asked)
    for page in visitors:
        page.get_by_role("button", name=re.compile("^Study it with")).click()
    for page, name in zip(visitors, ("coco_pan200", "davis60"), strict=True):
        expect(page.get_by_text(re.compile("4 pictures, "))).to_be_visible()
        wait_until_idle(page)
        expect_no_exception(page)
        assert name in headline(page)
        assert len(pictures(page).all()) >= 4
        page.context.close()
    assert problems == [[], []]
