"""Caches and fallbacks: the network runs once per image, memory runs out gently, threads get the serial answer."""

import shutil
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dashboard import catalogue, services, state
from dashboard.case import Case
from dashboard.jobs import Job, Stopped
from dashboard.services import MissingImage
from surgery import CLASSIC, METHODS, Method, Model, WeightsNotFound, encode_dense, feature_surgery, load_model
from surgery.catalog import TagInfo
from surgery.weights import TOY_FOLDER
from tests.dashboard.conftest import component_data, error_texts

CASE = Case(image="toy-5", prompts=("a black flower", "stone"))


@pytest.fixture
def fresh() -> Iterator[None]:
    """Empty caches, and no model that was moved to the CPU."""

    def clear() -> None:
        services._on_cpu.clear()
        for cache in (services._resident, services._trace, services._features, services._text, services._maps):
            cache.clear()

    clear()
    yield
    clear()


@pytest.fixture
def runs(fresh: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Position interpolation of every pass of the network from now on."""
    counted: list[str] = []
    trace = Model.trace

    def counting(self: Model, pixels: torch.Tensor, position_interpolation: str = "bicubic", **options: object):
        counted.append(position_interpolation)
        return trace(self, pixels, position_interpolation, **options)

    monkeypatch.setattr(Model, "trace", counting)
    return counted


def test_all_methods_and_any_slider_share_one_pass_at_the_native_size(runs: list[str]) -> None:
    for name in CLASSIC:
        services.maps(CASE, name)
    for alpha in (0.5, 1.5, 2.5):
        services.maps(CASE, Method("vv", 4, alpha=alpha))
    services.maps(replace(CASE, prompts=("grass",), feature_surgery=True), "gem")
    services.probabilities(CASE)
    assert runs == ["bicubic"]


def test_another_size_runs_once_per_interpolation(runs: list[str]) -> None:
    for name in CLASSIC:
        services.maps(replace(CASE, size=168), name)
    assert sorted(runs) == ["bicubic", "bicubic_antialias", "bilinear"]


def test_the_native_size_said_aloud_is_the_same_pass(runs: list[str]) -> None:
    services.trace(CASE)
    services.trace(replace(CASE, size=112))
    assert len(runs) == 1


@pytest.mark.parametrize("size", [None, 168])
@pytest.mark.parametrize("name", ["clip", "clip_surgery", "gem"])
def test_maps_are_those_of_encode_dense(name: str, size: int | None) -> None:
    case = replace(CASE, size=size, feature_surgery=True, templates="photo")
    model = load_model("toy")
    pixels = model.preprocess([services.image(case).to_pil()], size=size)
    text = model.encode_text(case.prompts, templates="photo")
    expected = feature_surgery(encode_dense(model, pixels, METHODS[name]), text)
    np.testing.assert_allclose(services.maps(case, name).patches, expected.patches[0], atol=1e-5)
    np.testing.assert_allclose(services.maps(case, name).cls, expected.cls[0], atol=1e-5)


def test_threads_get_the_serial_answer(fresh: None) -> None:
    cases = [replace(CASE, image=f"toy-{i % 4}", custom=Method("vv", 1 + i % 6, mlp=False)) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda case: services.maps(case, "custom").patches, cases))
    services._maps.clear()
    services._trace.clear()
    for case, found in zip(cases, together, strict=True):
        np.testing.assert_allclose(services.maps(case, "custom").patches, found, atol=1e-6)


def test_a_local_checkpoint_is_loaded_by_its_name(fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(TOY_FOLDER, tmp_path / "mine")
    monkeypatch.setenv(catalogue.FOLDER_VARIABLE, str(tmp_path))
    found = services.maps(replace(CASE, model="local:mine"), "clip").patches
    np.testing.assert_array_equal(found, services.maps(CASE, "clip").patches)


def test_random_weights_are_the_same_for_everyone(fresh: None) -> None:
    case = Case(model="ViT-S-32-alt", weights="random", image="toy-5", prompts=("x",))
    first = services.maps(case, "clip").patches
    for cache in (services._resident, services._trace, services._features, services._text, services._maps):
        cache.clear()
    np.testing.assert_array_equal(services.maps(case, "clip").patches, first)


def test_a_model_that_is_loaded_meanwhile_leaves_random_weights_as_they_are(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = load_model("ViT-S-32-alt", "random").clip.state_dict()
    others: list[threading.Thread] = []

    def while_another_begins(name: str, pretrained: str | None, **options: object) -> Model:
        if name != "toy":
            others.append(threading.Thread(target=services.model, args=(CASE,)))
            others[0].start()
            others[0].join(timeout=1)  # where it need not wait, it ends here
        return load_model(name, pretrained, **options)

    monkeypatch.setattr(services, "load_model", while_another_begins)
    found = services.model(Case(model="ViT-S-32-alt", weights="random")).clip.state_dict()
    others[0].join()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("case", [CASE, Case(model="ViT-S-32-alt", weights="random")])
def test_loading_leaves_the_generator_of_the_process_as_it_is(fresh: None, case: Case) -> None:
    before = torch.random.get_rng_state()
    services.model(case)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_when_gpu_memory_runs_out_the_model_moves_to_the_cpu(fresh: None, monkeypatch, open_app) -> None:
    trace = Model.trace

    def first_time_out(self: Model, *arguments: object, **options: object):
        if not services.runs_on_cpu_instead(CASE):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return trace(self, *arguments, **options)

    monkeypatch.setattr(Model, "trace", first_time_out)
    app = open_app(CASE)
    assert not app.exception and not app.error
    assert any("GPU memory ran out" in warning.value for warning in app.warning)
    assert services.model_key(CASE).device == "cpu"
    assert component_data(app, "clip_theatre_map_view")


def test_memory_that_runs_out_again_is_told(fresh: None, monkeypatch, open_app) -> None:
    def always_out(self: Model, *arguments: object, **options: object):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Model, "trace", always_out)
    app = open_app(CASE)
    assert not app.exception
    assert any("smaller model or input size" in error.value for error in app.error)


def test_a_stopped_download_is_offered_again(fresh: None, monkeypatch, open_app) -> None:
    def stopped(*_: object):
        def work(job: Job[None]) -> None:
            state.forbid_download("ViT-B-32", "laion2b_e16")
            raise Stopped

        return work

    allowed = {True}
    monkeypatch.setattr("dashboard.panels.page.download", stopped)
    monkeypatch.setattr(state, "forbid_download", lambda *_: allowed.clear())
    monkeypatch.setattr(state, "download_allowed", lambda *_: bool(allowed))
    app = open_app(replace(CASE, model="ViT-B-32", weights="laion2b_e16"))
    assert not app.exception and not app.error and not allowed
    assert "Download them" in [button.label for button in app.button]


def test_after_a_download_the_model_is_loaded(fresh: None, monkeypatch, open_app) -> None:
    done: list[tuple] = []

    missing = catalogue.missing_download

    def at_once(*what: object):
        return lambda job: done.append(what)

    monkeypatch.setattr(catalogue, "missing_download", lambda *what: None if done else missing(*what))

    monkeypatch.setattr("dashboard.panels.page.download", at_once)
    monkeypatch.setattr(services, "load_model", lambda *_, **__: load_model("toy"))
    monkeypatch.setattr(state, "download_allowed", lambda model, weights: True)
    app = open_app(replace(CASE, model="ViT-B-32", weights="laion2b_e16"))
    assert not app.exception and not app.error and component_data(app, "clip_theatre_map_view")
    assert done == [("ViT-B-32", "laion2b_e16", 605)]


@pytest.mark.filterwarnings("ignore::surgery.words.PromptCutWarning")
def test_a_cut_prompt_is_told_whatever_others_do_with_warnings(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    encode_text, others = Model.encode_text, warnings.catch_warnings()

    def while_others_stop_listening(self: Model, *arguments: object, **options: object) -> torch.Tensor:
        others.__exit__(None, None, None)
        return encode_text(self, *arguments, **options)

    monkeypatch.setattr(Model, "encode_text", while_others_stop_listening)
    others.__enter__()
    said = services.text_warnings(CASE, ("dog " * 40, "grass", "dog " * 40))
    assert len(said) == 1 and "was cut" in said[0]


def test_an_image_of_another_session_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "upload", lambda sha256: None)
    with pytest.raises(MissingImage, match="Expected the image with SHA-256 abc") as missing:
        services.image(Case(image="sha256:abc"))
    assert missing.value.sha256 == "abc"


def test_no_prompt_is_an_error() -> None:
    with pytest.raises(ValueError, match="Expected prompts to hold at least one text, but got none"):
        services.text(Case())


def test_regions_become_patches() -> None:
    region = services.region(replace(CASE, region="box:0,0,112,224"))
    assert region.foreground[:, :7].all() and region.background[:, 7:].all()
    assert services.region(CASE) is None


def test_the_toy_says_what_it_does_not_know(open_app) -> None:
    def told(case: Case) -> list[str]:
        return [warning.value for warning in open_app(case).warning if "mean nothing" in warning.value]

    assert told(Case(image="toy-0", prompts=("a red circle", "snow"))) == []
    photograph = told(Case(image="china", prompts=("sky",)))
    assert len(photograph) == 1 and "china" in photograph[0]
    word = told(Case(image="toy-0", prompts=("a pagoda",)))
    assert len(word) == 1 and "pagoda" in word[0]


def test_missing_weights_are_told_without_python(fresh: None, monkeypatch, open_app) -> None:
    def fail(*_: object):
        def work(_job: Job[None]) -> None:
            raise WeightsNotFound("weights 'openai' of ViT-B-16", "no connection to the hub", "ViT-B-16-quickgelu")

        return work

    monkeypatch.setattr("dashboard.panels.page.download", fail)
    monkeypatch.setattr(catalogue, "missing_download", lambda *_: TagInfo("openai", False, 598))
    monkeypatch.setattr(state, "download_allowed", lambda *_: True)
    app = open_app(replace(CASE, model="ViT-B-16", weights="openai"))
    said = error_texts(app)
    assert "no connection to the hub" in said and "--models FOLDER" in said and "load_model" not in said
    assert [button.label for button in app.button][-2:] == ["Back to the toy", "Use random weights"]
