"""Peak memory of feature surgery, counted in tensors that are alive at once."""

import pytest
import torch

from surgery import feature_surgery
from tests.benchmarks.cases import published_feature_surgery, random_features
from tests.benchmarks.harness import peak_bytes
from tests.benchmarks.memory import FEATURE_SURGERY_LIMIT_MIB, feature_surgery_overhead_mib


def test_feature_surgery_needs_little_beyond_inputs_and_outputs():
    assert feature_surgery_overhead_mib(patches=1024, texts=171, width=512) <= FEATURE_SURGERY_LIMIT_MIB


def test_the_counter_sees_the_tensor_of_the_published_formula():
    features, text = random_features(48, 10, 32, "cpu")
    product_bytes = 49 * 10 * 32 * 4
    assert peak_bytes(lambda: published_feature_surgery(features, text)) >= 2 * product_bytes
    assert peak_bytes(lambda: feature_surgery(features, text)) < product_bytes


def test_the_counter_counts_what_is_alive_at_once():
    a = torch.ones(1000)

    def run() -> torch.Tensor:
        for _ in range(5):
            b = a + 1  # freed before the next one
            del b
        c = a.view(10, 100)[2:]  # no memory of its own
        d = a * 2
        e = d * 2
        d.add_(1)
        return c, e

    assert peak_bytes(run) == 2 * 4000


@pytest.mark.parametrize("texts", [2, 7])
def test_the_published_formula_is_the_reference_it_is_meant_to_be(texts):
    features, text = random_features(11, texts, 16, "cpu")
    published = published_feature_surgery(features, text)
    ours = feature_surgery(features, text)
    torch.testing.assert_close(published[:, 1:], ours.patches.flatten(1, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(published[:, 0], ours.cls, atol=1e-6, rtol=0)
