import copy

import torch
from torch import nn

from sktransfer import Backbone, load_backbone
from sktransfer.backbones._random_copy import make_random_copy


class WithOwnWeights(nn.Module):
    """A network some of whose weights belong to no layer that knows how to begin."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 50) + 3)
        self.fc = nn.Linear(50, 2)

    def forward(self, rows):
        return self.fc(rows + self.token)


def test_all_weights_are_new_and_the_original_is_as_before(small_network, tensors_of):
    for network in (small_network, WithOwnWeights()):
        backbone = Backbone(network)
        before = copy.deepcopy(tensors_of(backbone.copy_module()))
        drawn = make_random_copy(backbone)
        assert drawn.fingerprint != backbone.fingerprint
        assert tensors_of(backbone.copy_module()) == before
        for name, parameter in drawn.copy_module().named_parameters():
            # Scales and shifts of normalisation layers begin at one and zero.
            if parameter.ndim > 1:
                assert parameter.detach().numpy().tobytes() != before[name], name


def test_batch_norm_forgets_its_statistics(small_network):
    norm = make_random_copy(Backbone(small_network)).copy_module().norm
    assert torch.equal(norm.running_mean, torch.zeros(8))
    assert torch.equal(norm.running_var, torch.ones(8))


def test_the_same_weights_in_every_process_and_the_generators_are_left_alone():
    before = torch.random.get_rng_state()
    glyphs = load_backbone("glyphs")
    assert make_random_copy(glyphs).fingerprint == make_random_copy(glyphs).fingerprint
    assert make_random_copy(glyphs).fingerprint != make_random_copy(glyphs, 1).fingerprint
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_of_no_layer_keep_their_size():
    network = WithOwnWeights()
    token = make_random_copy(Backbone(network)).copy_module().token.detach()
    assert abs(float(token.mean()) - 3) < 0.5
    assert not torch.equal(token, network.token)
