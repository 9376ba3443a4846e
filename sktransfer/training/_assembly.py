"""The copy of a backbone that is trained: without its old head, with what moves set."""

from sktransfer.backbones._blocks import list_blocks
from sktransfer.backbones._extractor import FeatureExtractor
from sktransfer.training._source_head import find_old_head
from sktransfer.training._trainable import set_trainable


def assemble_backbone(settings, X):
    """Return an extractor that may be trained, and the blocks of its network.

    Parameters
    ----------
    settings : Settings
    X : ndarray
        Rows, of which one goes through the network.

    Returns
    -------
    extractor : FeatureExtractor
        ``requires_grad`` of its parameters says what moves.
    blocks : list of Block
    """
    before = settings.warm_start
    if before is not None and before.layer == "output":
        extractor = before.backbone.copy_module()
    else:
        extractor = cut_off_old_head(settings.backbone.copy_module(), settings.prepare(X[:1]))
    blocks = list_blocks(extractor.network, leave_out=old_head_of(extractor))
    extractor.requires_grad_(False)
    if settings.backbone_lr:
        set_trainable(extractor.network, settings.trainable, blocks)
    return extractor, blocks


def cut_off_old_head(module, inputs):
    """Return an extractor that ends below the source's own head, which stays as it is.

    The end is found in eval mode and then fixed: in training, dropout would hide it.
    """
    old_head = find_old_head(module, inputs)
    if old_head is None:
        return FeatureExtractor(module, "output")
    names = {layer: name for name, layer in module.named_modules()}
    # A network that is one layer has no name for it.
    return FeatureExtractor(
        module, f"{names[old_head]}:input" if names[old_head] else "penultimate"
    )


def old_head_of(extractor):
    """Return the old head of an extractor's network in a list, which is empty without one."""
    name, _, side = extractor.layer.partition(":")
    if side == "input":
        return [extractor.network.get_submodule(name)]
    return [extractor.network] if extractor.layer == "penultimate" else []
