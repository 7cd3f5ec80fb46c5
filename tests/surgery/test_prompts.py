"""Templates, label sets, and prompts typed on one line."""

import hypothesis
import hypothesis.strategies as st
import open_clip
import pytest

from surgery.prompts import LABEL_SETS, TEMPLATE_SETS, fill_template, resolve_templates, split_prompts


def test_imagenet_templates_say_what_open_clip_says():
    assert [fill_template(t, "red fox") for t in resolve_templates("imagenet")] == [
        template("red fox") for template in open_clip.OPENAI_IMAGENET_TEMPLATES
    ]


def test_clip_surgery_templates_are_imagenet_then_five_scenes():
    assert resolve_templates("clip_surgery") == (
        *resolve_templates("imagenet"),
        "there is a {} in the scene.",
        "there is the {} in the scene.",
        "this is a {} in the scene.",
        "this is the {} in the scene.",
        "this is one {} in the scene.",
    )
    assert len(resolve_templates("clip_surgery")) == 85


def test_every_set_is_legal_as_a_list():
    for templates in TEMPLATE_SETS.values():
        assert resolve_templates(list(templates)) == templates


def test_braces_in_a_text_mean_nothing():
    assert fill_template("a {} on {0}", "{x} {}") == "a {x} {} on {0}"


@pytest.mark.parametrize(
    ("templates", "error", "message"),
    [
        (
            "imagenett",
            ValueError,
            r"one of none, photo, imagenet, clip_surgery, .* but got 'imagenett' \(nearest: imag",
        ),
        ("qqq", ValueError, r"but got 'qqq'$"),
        ([], ValueError, "at least one template, but got none"),
        (["a photo of a {}", "a photo"], ValueError, "exactly one \"{}\", but got 'a photo'"),
        (["{} and {}"], ValueError, "but got '{} and {}'"),
        ([3], TypeError, "every template to be a string, but got 3"),
    ],
)
def test_wrong_templates(templates, error, message):
    with pytest.raises(error, match=message):
        resolve_templates(templates)


def test_label_sets_hold_distinct_readable_names():
    assert {name: len(labels) for name, labels in LABEL_SETS.items()} == {
        "voc20": 20,
        "voc21": 21,
        "context59": 59,
        "coco80": 80,
        "cityscapes19": 19,
    }
    for labels in LABEL_SETS.values():
        assert len(set(labels)) == len(labels)
        assert all(label == label.strip().lower() and label for label in labels)


def test_label_sets_follow_the_data_sets(shared):
    rows = [line.split("\t") for line in (shared / "data/coco_pan200/classes.txt").read_text().splitlines()]
    assert LABEL_SETS["coco80"] == tuple(row[1] for row in rows if row[2] == "thing")
    rows = [line.split("\t") for line in (shared / "data/coco_pan200/classes_voc20.txt").read_text().splitlines()]
    assert [label.replace(" ", "") for label in LABEL_SETS["voc21"]] == [row[1] for row in rows]


@pytest.mark.parametrize(
    ("line", "prompts"),
    [
        ("a red circle, grass", ("a red circle", "grass")),
        ("  dog  ", ("dog",)),
        ("b,a,b , a,c", ("b", "a", "c")),
        ('"a cat, asleep" , grass', ("a cat, asleep", "grass")),
        ('  "dog"', ("dog",)),
        ('say ""hi"", "say ""hi"""', ('say ""hi""', 'say "hi"')),
        ('a 5" pipe, the "dog"', ('a 5" pipe', 'the "dog"')),
        ("café,\n犬", ("café", "犬")),
    ],
)
def test_split_prompts(line, prompts):
    assert split_prompts(line) == prompts


@pytest.mark.parametrize("line", ["", "  ", "a,,b", "a, ", ",a", 'a, "", b', 'a, "  "'])
def test_empty_prompts_are_refused(line):
    with pytest.raises(ValueError, match="Expected every prompt to be non-empty text, but got"):
        split_prompts(line)


@pytest.mark.parametrize("line", ['dog, "a cat, asleep', '"a" cat, b', '"'])
def test_open_quotes_are_refused(line):
    with pytest.raises(ValueError, match="Expected a quoted prompt to end with a quote and a comma, but got '\""):
        split_prompts(line)


@hypothesis.given(st.lists(st.text().map(str.strip).filter(bool), min_size=1, unique=True))
def test_quoted_prompts_come_back(prompts):
    line = " , ".join('"' + prompt.replace('"', '""') + '"' for prompt in prompts)
    assert split_prompts(line) == tuple(prompts)
