"""A first visit: weights are downloaded on the page from a stand-in hub, and the page goes on as ever."""

import json
import os
import re
from collections.abc import Iterator

import open_clip
import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect
from safetensors.torch import save

from tests.browser.driver import WAIT_MS, expect_no_exception, maps, open_page, wait_until_idle
from tests.browser.server import ROOT, Server, running_server
from tests.checkpoints.sources import CLIP_CONFIG
from tests.hub import Hub, serve

SMALL_MODELS = "import open_clip, os, pathlib; open_clip.add_model_config(pathlib.Path(os.environ['SMALL_CONFIGS']))"
"""Run by Python when the server starts: configurations as small as the weights of the stand-in hub."""

REPOSITORIES = {"RN50": "timm/resnet50_clip.openai", "ViT-B-32": "timm/vit_base_patch32_clip_224.openai"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    torch.manual_seed(0)
    state = open_clip.model.CLIP(**CLIP_CONFIG).state_dict()
    content = save({key: tensor.contiguous() for key, tensor in state.items()})
    with serve({name: {"open_clip_model.safetensors": content} for name in REPOSITORIES.values()}) as served:
        yield served


@pytest.fixture(scope="module")
def visited(browser: Browser, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A dashboard that asks the stand-in hub, with an empty cache."""
    folder = tmp_path_factory.mktemp("first visit")
    (folder / "configs").mkdir()
    for name in REPOSITORIES:
        (folder / "configs" / f"{name}.json").write_text(json.dumps(CLIP_CONFIG))
    environment = {"HF_ENDPOINT": hub.address, "HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "0"}
    (folder / "sitecustomize.py").write_text(SMALL_MODELS)
    paths = [str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment |= {"PYTHONPATH": os.pathsep.join(paths)}
    environment |= {"SMALL_CONFIGS": str(folder / "configs"), "HOME": str(folder), "HF_HUB_DOWNLOAD_TIMEOUT": "300"}
    with running_server(folder / "log.txt", environment) as started:
        yield started
        assert started.errors() == []


def weights_shown(page: Page) -> str:
    return page.get_by_role("combobox", name="Weights").input_value()


def seen(locator: Locator) -> None:
    """Waits as long as a busy machine may take."""
    expect(locator).to_be_visible(timeout=WAIT_MS)


def test_a_visitor_downloads_and_then_types(page: Page, visited: Server, hub: Hub) -> None:
    open_page(page, visited.url, model="RN50", weights="openai", image="toy-0")
    assert weights_shown(page).startswith("openai · ") and "to download" in weights_shown(page)
    hub.holds(after=3_000_000)
    page.get_by_role("button", name="Download them").click()
    under_way = page.get_by_text(re.compile(r"Downloading RN50.* 3 MB of 7 MB"))
    seen(under_way)
    page.reload()  # in mid-download: it is under way, and not offered again
    seen(under_way)
    expect(page.get_by_role("button", name="Download them")).to_have_count(0)
    hub.released.set()
    seen(maps(page).first)
    wait_until_idle(page)
    assert weights_shown(page) == "openai · here"

    prompts = page.get_by_role("textbox", name="Prompts")
    prompts.fill("a blue square, sky")
    prompts.press("Control+Enter")
    seen(page.get_by_role("button", name="“sky”"))
    wait_until_idle(page)
    expect(page).to_have_url(re.compile(r"model=RN50(&|$)"))
    expect_no_exception(page)
    rows = set(maps(page).evaluate_all("nodes => nodes.map(n => n.dataset.row)"))
    assert rows == {"“a blue square”", "“sky”"}
    page.get_by_role("combobox", name="Weights").click()
    page.get_by_role("option", name=re.compile("random")).click()
    seen(page.get_by_role("button", name="random weights", exact=True))
    wait_until_idle(page)
    expect(page).to_have_url(re.compile(r"weights=random"))
    expect_no_exception(page)


def test_a_failed_download_says_why_and_the_next_try_succeeds(page: Page, visited: Server, hub: Hub) -> None:
    hub.breaks("corrupt", after=1000)
    open_page(page, visited.url, model="ViT-B-32", weights="openai", image="toy-0")
    page.get_by_role("button", name="Download them").click()
    seen(page.get_by_text("what arrived is damaged"))
    wait_until_idle(page)
    hub.mends()
    page.get_by_role("button", name="Try again").click()
    seen(maps(page).first)
    wait_until_idle(page)
    expect_no_exception(page)
    assert weights_shown(page) == "openai · here"
