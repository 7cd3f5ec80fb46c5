"""Every form of checkpoint gives the features of its source model, or is refused in words that help."""

import re
import warnings

import pytest

from tests.checkpoints.forms import FORMS
from tests.checkpoints.measure import difference, load, refusal_of
from tests.checkpoints.refusals import REFUSALS

TOLERANCE = 1e-5


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.title)
def test_a_form_gives_the_features_of_its_source(form, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error" if "warns" not in form.note else "ignore")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        found = difference(load(form, tmp_path), form)
    assert found.image < TOLERANCE
    assert form.image_only or found.text < TOLERANCE


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.title)
def test_a_refusal_says_what_the_file_holds(refusal, tmp_path):
    assert re.search(refusal.says, refusal_of(refusal, tmp_path))
