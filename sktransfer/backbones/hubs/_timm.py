"""Networks of timm by name, with the preparation that their weights want."""

import math

import torch

from sktransfer.backbones._input import NetworkInput
from sktransfer.backbones._recipe import attach_recipe
from sktransfer.backbones.hubs._downloads import fetch_hub_file, fetch_url
from sktransfer.backbones.hubs._origin import Origin, import_library
from sktransfer.backbones.hubs._state_dict import MismatchError, count_outputs, fill, find_mismatch
from sktransfer.utils._validation import suggest

_FILES = ("model.safetensors", "pytorch_model.bin")


class Timm(Origin):
    """``timm/<architecture>`` or ``timm/<architecture>.<tag>``."""

    prefix = "timm"

    def __init__(self, name, revision=None, image_size=None):
        super().__init__(name, revision, image_size)
        self._timm = import_library("timm")
        self._check_name()
        self._config = self._timm.get_pretrained_cfg(name)

    def _check_name(self):
        architecture, _, tag = self.name.partition(".")
        if not self._timm.is_model(architecture):
            near = suggest(f"timm/{architecture}", [f"timm/{n}" for n in self._timm.list_models()])
            raise ValueError(
                f"Got backbone={self.full_name!r}, but expected timm/<name> with one of the "
                f"{len(self._timm.list_models())} names that timm.list_models() gives.{near}"
            )
        full_names = self._timm.list_pretrained(f"{architecture}.*")
        tags = [full.partition(".")[2] for full in full_names]
        if tag and tag not in tags:
            raise ValueError(
                f"Got backbone={self.full_name!r}, but timm knows no weights {tag!r} of "
                f"{architecture!r}; expected one of {tags}, or the name alone.{suggest(tag, tags)}"
            )

    def fetch_weights(self):
        if self._config is None or not self._config.has_weights:
            raise ValueError(
                f"Got backbone={self.full_name!r}, for which timm has no pretrained weights; pass "
                "pretrained=False, or weights=... with a file."
            )
        hub_id, url = self._config.hf_hub_id, self._config.url
        if hub_id:
            names = [self._config.hf_hub_filename] if self._config.hf_hub_filename else _FILES
            return [fetch_hub_file(hub_id, names, self.revision, self.full_name)]
        if self.revision is not None:
            raise ValueError(
                f"Got revision={self.revision!r} with backbone={self.full_name!r}, whose weights "
                f"are not on the hub but at {url}; pin them by sha256=... instead."
            )
        return [fetch_url(url, self.full_name)]

    def make(self, tensors=None):
        network = self._make_random()
        if tensors is None or find_mismatch(network, tensors) is None:
            return network if tensors is None else fill(network, tensors)
        n_outputs = count_outputs(network, tensors)
        if n_outputs != network.num_classes:
            # Without the last layer of the architecture they may be those of a headless one.
            other = self._make_random(0 if n_outputs is None else n_outputs)
            if find_mismatch(other, tensors) is None:
                return fill(other, tensors)
        return self._convert(network, tensors)

    def _convert(self, network, tensors):
        """Fill the network with weights of another layout that timm knows for it."""
        mismatch = find_mismatch(network, tensors)
        try:
            with torch.no_grad():
                converted = self._timm.create_model(
                    self.name,
                    pretrained=True,
                    pretrained_cfg_overlay={"state_dict": dict(tensors), "file": None},
                    **self._arguments(),
                )
        except (RuntimeError, KeyError, ValueError, AttributeError, IndexError):
            raise MismatchError(mismatch) from None
        return fill(network, converted.state_dict())

    def _make_random(self, n_outputs=None):
        arguments = self._arguments()
        if n_outputs is not None:
            arguments["num_classes"] = n_outputs
        return self.remake(name=self.name, arguments=arguments)

    def _arguments(self):
        """Return the size that a network of fixed size is made for, if it is not its own."""
        is_fixed = self._config is not None and self._config.fixed_input_size
        if not is_fixed or self.image_size in (None, tuple(self._config.input_size[1:])):
            return {}
        return {"img_size": self.image_size}

    def make_input(self):
        from timm.data import resolve_data_config

        config = {} if self._config is None else self._config.to_dict()
        config = resolve_data_config(
            pretrained_cfg=config, args={} if config else {"img_size": 224}
        )
        channels, height, width = config["input_size"]
        # As timm's own evaluation does it: the crop is this part of what was resized.
        resized = [math.floor(length / config["crop_pct"]) for length in (height, width)]
        keeps_proportion = config["crop_mode"] == "center" and height == width
        interpolation = config["interpolation"]
        return NetworkInput(
            channels=channels,
            mean=config["mean"],
            std=config["std"],
            resize=resized[0] if keeps_proportion else tuple(resized),
            crop=(height, width),
            interpolation="bicubic" if interpolation == "random" else interpolation,
        )

    @classmethod
    def remake(cls, *, name, arguments):
        timm = import_library("timm")
        # JSON has lists where timm has tuples.
        arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
        network = timm.create_model(name, pretrained=False, **arguments)
        return attach_recipe(network, cls.prefix, name=name, arguments=arguments)
