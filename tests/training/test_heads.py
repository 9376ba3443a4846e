import numpy as np
import torch
from torch import nn

from sktransfer.training._heads import make_head, make_head_from_probe, measure_scale
from sktransfer.training._linear_probe import fit_linear_probe
from sktransfer.training._objectives import Multiclass

rng = np.random.default_rng(0)
FEATURES = rng.normal(3.0, 5.0, size=(40, 6))


def test_the_head_of_a_probe_computes_what_the_probe_computes():
    objective = Multiclass(4)
    probe = fit_linear_probe(FEATURES, objective.encode(np.arange(40) % 4), objective)
    with torch.no_grad():
        logits = make_head_from_probe(probe)(torch.as_tensor(FEATURES, dtype=torch.float32))
    np.testing.assert_allclose(logits.numpy(), probe.compute_outputs(FEATURES), atol=1e-4)


def test_layers_of_a_head():
    head = make_head(np.zeros(6), 1.0, (8, 4), 3, dropout=0.5)
    widths = [(m.in_features, m.out_features) for m in head if isinstance(m, nn.Linear)]
    assert widths == [(6, 8), (8, 4), (4, 3)]
    assert [m.p for m in head if isinstance(m, nn.Dropout)] == [0.5, 0.5]


def test_scale_is_one_number_and_never_zero():
    center, scale = measure_scale(FEATURES, np.ones(40))
    np.testing.assert_allclose(center, FEATURES.mean(0))
    np.testing.assert_allclose(scale**2, FEATURES.var(0).mean())
    assert measure_scale(np.ones((3, 2)), np.ones(3))[1] == 1.0
