"""What the toy says of words and images that it does not know."""

import numpy as np
import pytest

from data.samples import SCENES, load_sample
from data.toy import describe_limits, describe_vocabulary, unknown_words
from data.toy.captions import draw_caption
from data.toy.scenes import COLOURS
from data.toy.shapes import SHAPES
from data.toy.textures import TEXTURES


def test_no_training_caption_and_no_prompt_of_a_scene_is_unknown() -> None:
    rng = np.random.default_rng(0)
    captions = [draw_caption(rng, ("a red circle", "an orange ring"), "grass").text for _ in range(500)]
    assert unknown_words(captions) == ()
    assert unknown_words([prompt for name in SCENES for prompt in load_sample(name).prompts]) == ()


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("", ()),
        ("A RED Circle.", ()),
        ("“red-circle”, 'grass' (snow_white)!", ()),
        ("red\u00a0circle\u3000grass", ()),
        ("a Pagoda, a lake", ("pagoda", "lake")),
        ("circles", ("circles",)),
        ("it's 2 rings", ("it's", "2", "rings")),
        ("café 猫 🙂 🙂", ("café", "猫", "🙂")),
    ],
)
def test_unknown_words(text: str, unknown: tuple[str, ...]) -> None:
    assert unknown_words([text]) == unknown


def test_words_of_several_texts_come_once_and_in_order() -> None:
    assert unknown_words(["a lake", "a dog, a lake", "a cat"]) == ("lake", "dog", "cat")


def test_the_vocabulary_names_every_colour_shape_and_background() -> None:
    words = describe_vocabulary().replace(",", " ").replace(";", " ").split()
    assert {*COLOURS, *SHAPES, *TEXTURES} <= set(words)


def test_limits_name_what_is_foreign_on_one_line() -> None:
    assert describe_limits(["a red circle", "grass"]) is None
    assert describe_limits(["a dog"]).endswith("mean nothing for the word dog")
    assert describe_limits(["a dog, a cat"], ["china"]).endswith("for the image china and the words dog, cat")
    many = describe_limits(images=[f"photo-{i}.jpg" for i in range(20)])
    assert many.endswith("photo-7.jpg, ...")
    assert "\n" not in many
