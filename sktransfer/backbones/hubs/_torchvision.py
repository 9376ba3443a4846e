"""Image classifiers of torchvision by name, with the preparation that their weights want."""

import re

from sktransfer.backbones._input import NetworkInput
from sktransfer.backbones._recipe import attach_recipe
from sktransfer.backbones.hubs._downloads import fetch_url
from sktransfer.backbones.hubs._origin import Origin, import_library
from sktransfer.backbones.hubs._state_dict import count_outputs, fill
from sktransfer.utils._validation import list_options, suggest

# Outputs in the middle that only training uses, and a step that their weights were trained with.
_OLD_INCEPTIONS = {"aux_logits": False, "transform_input": True, "init_weights": True}
_EXTRA_ARGUMENTS = {"googlenet": _OLD_INCEPTIONS, "inception_v3": _OLD_INCEPTIONS}
_AUXILIARY = re.compile(r"(aux1|aux2|AuxLogits)\.")
# Names of the layers of DenseNets, as in the files, before torch refused dots in names.
_OLD_DENSE = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


class Torchvision(Origin):
    """``torchvision/<name>``, or ``torchvision/<name>.<weights>`` such as ``IMAGENET1K_V1``."""

    prefix = "torchvision"

    def __init__(self, name, revision=None, image_size=None):
        super().__init__(name, revision, image_size)
        models = import_library("torchvision.models")
        self._builder_name, _, weights = name.partition(".")
        names = models.list_models(module=models)
        if self._builder_name not in names:
            known = self._builder_name in models.list_models()
            kind = " (it is there, but classifies no images)" if known else ""
            near = suggest(self.full_name, [f"torchvision/{n}" for n in names])
            raise ValueError(
                f"Got backbone={self.full_name!r}, but expected torchvision/<name> with one of the "
                f"{len(names)} names of image classifiers in torchvision.models{kind}.{near}"
            )
        if revision is not None:
            raise ValueError(
                f"Got revision={revision!r} with backbone={self.full_name!r}, but torchvision has "
                "no revisions; name the weights, as in 'torchvision/resnet50.IMAGENET1K_V1', and "
                "pin them by sha256=...."
            )
        choices = models.get_model_weights(self._builder_name)
        if weights and weights not in choices.__members__:
            raise ValueError(
                f"Got backbone={self.full_name!r}, but torchvision has no weights {weights!r} for "
                f"it; expected one of {list_options(choices.__members__)}, or the name alone."
                f"{suggest(weights, choices.__members__)}"
            )
        self._weights = choices[weights or "DEFAULT"]

    def fetch_weights(self):
        return [fetch_url(self._weights.url, self.full_name)]

    def make(self, tensors=None):
        network = self.remake(name=self._builder_name)
        if tensors is None:
            return network
        tensors = {
            _OLD_DENSE.sub(r"\1\2", key): value
            for key, value in tensors.items()
            if not _AUXILIARY.match(key)
        }
        n_outputs = count_outputs(network, tensors)
        if n_outputs not in (None, count_outputs(network, network.state_dict())):
            network = self.remake(name=self._builder_name, n_outputs=n_outputs)
        return fill(network, tensors)

    def make_input(self):
        transforms = self._weights.transforms()
        (resize,), (crop,) = transforms.resize_size, transforms.crop_size
        return NetworkInput(
            channels=3,
            mean=transforms.mean,
            std=transforms.std,
            resize=resize,
            crop=crop,
            interpolation=transforms.interpolation.value,
        )

    def find_classes(self, network):
        return self._weights.meta["categories"]

    @classmethod
    def remake(cls, *, name, n_outputs=None):
        models = import_library("torchvision.models")
        arguments = dict(_EXTRA_ARGUMENTS.get(name, {}))
        if n_outputs is not None:
            arguments["num_classes"] = n_outputs
        network = models.get_model(name, weights=None, **arguments)
        return attach_recipe(network, cls.prefix, name=name, n_outputs=n_outputs)
