import numpy as np
import pytest

from data.samples import PHOTOGRAPHS, SAMPLES, SCENES, load_sample


def test_names() -> None:
    assert {"china", "flower", "toy-0", "toy-11"} <= set(SAMPLES)
    assert len(SAMPLES) == len(set(SAMPLES)) == 14


@pytest.mark.parametrize("name", SCENES)
def test_scenes_have_exact_masks(name: str) -> None:
    sample = load_sample(name)
    assert sample.name == sample.image.name == name
    assert sample.prompts[:-1] == tuple(sample.masks)
    assert all(prompt in sample.caption for prompt in sample.prompts)
    for mask in sample.masks.values():
        assert mask.shape == sample.image.size_px
        assert mask.any()
    assert np.sum(list(sample.masks.values()), axis=0).max() == 1  # no pixel belongs to two objects


def test_scenes_differ() -> None:
    assert len({load_sample(name).image.sha256 for name in SCENES}) == len(SCENES)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs(name: str) -> None:
    sample = load_sample(name)
    assert sample.image.size_px == (427, 640)
    assert len(sample.prompts) >= 2
    assert sample.masks == {}


def test_unknown_name_lists_the_others() -> None:
    with pytest.raises(ValueError, match=r"Expected name to be one of toy-0, .*, china, flower, but got 'toy-12'"):
        load_sample("toy-12")
