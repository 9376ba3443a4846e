"""Image networks of transformers: by the id of a hub repository, a folder, or a kind of network."""

import contextlib
import inspect
import json
import math
import pathlib
import tempfile
import warnings

import numpy as np

from sktransfer.backbones._input import NetworkInput
from sktransfer.backbones._recipe import attach_recipe
from sktransfer.backbones.hubs._downloads import fetch_hub_file
from sktransfer.backbones.hubs._origin import Origin, import_library
from sktransfer.backbones.hubs._state_dict import (
    MismatchError,
    count_outputs,
    describe_mismatch,
    fill,
    find_mismatch,
)
from sktransfer.utils._validation import suggest

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_ADVICE = (
    "Fetch the whole repository where there is a network and pass its folder, "
    "'transformers/<folder>'"
)
# As PIL numbers them.
_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
# ConvNext's rule: from this size on the whole image is seen.
_WITHOUT_CROP = 384


class Transformers(Origin):
    """``transformers/<repository>``, ``transformers/<folder>`` or ``transformers/<model type>``.

    The network has the classification head that the configuration names, or else none. Code from
    repositories is never run.
    """

    prefix = "transformers"

    def __init__(self, name, revision=None, image_size=None):
        super().__init__(name, revision, image_size)
        self._library = import_library("transformers")
        self._fetch = self._choose_source()
        self._whole_config = self._read_config()
        self._is_classifier = _names_classifier(self._whole_config)
        # Of a network for images and texts, the half that sees.
        self._seeing = getattr(self._whole_config, "vision_config", None) or self._whole_config
        self._config = self._whole_config if self._is_classifier else self._seeing

    def _choose_source(self):
        """Return the function that gives the path of a file of this name, or None if none has."""
        folder = pathlib.Path(self.name).expanduser()
        if folder.is_dir():
            self._check_no_revision("a folder")
            return lambda names, **_: next(
                (folder / name for name in names if (folder / name).is_file()), None
            )
        if self.name in self._library.CONFIG_MAPPING:
            self._check_no_revision("a kind of network")
            return None
        return self._fetch_from_hub

    def _check_no_revision(self, what):
        if self.revision is not None:
            raise ValueError(
                f"Got revision={self.revision!r} with backbone={self.full_name!r}, which is "
                f"{what} and has none; leave it out."
            )

    def _fetch_from_hub(self, names, optional=False):
        try:
            path = fetch_hub_file(self.name, names, self.revision, self.full_name, _ADVICE)
        except FileNotFoundError:
            if optional:
                return None
            raise
        except ConnectionError:
            if not optional:
                raise
            warnings.warn(
                f"The file {names[0]} of {self.full_name!r} is not in the cache, and the hub "
                "cannot be asked whether it has one: images are prepared as is usual for "
                f"{self._whole_config.model_type!r}; pass input=NetworkInput(...) to be sure.",
                UserWarning,
                stacklevel=2,
            )
            return None
        # All files of one commit, also if somebody writes to the repository in between.
        self.revision = path.parent.name
        return path

    def _read_config(self):
        if self._fetch is None:
            return self._library.AutoConfig.for_model(self.name)
        path = self._fetch(["config.json"])
        if path is None:
            raise FileNotFoundError(
                f"Got backbone={self.full_name!r}, but the folder has no config.json; expected "
                "one written by save_pretrained."
            )
        try:
            with _quiet(self._library):
                config = self._library.AutoConfig.from_pretrained(
                    path.parent, trust_remote_code=False
                )
        except (ValueError, KeyError) as error:
            known = json.loads(path.read_text(encoding="utf-8")).get("model_type")
            raise ValueError(
                f"Got backbone={self.full_name!r}, whose config.json names a network "
                f"{known!r} that transformers {self._library.__version__} does not make by itself; "
                "code from repositories is never run: build it and pass the module."
                f"{suggest(known, self._library.CONFIG_MAPPING)}"
            ) from error
        if config.model_type == "timm_wrapper":
            raise ValueError(
                f"Got backbone={self.full_name!r}, which is a network of timm; expected "
                f"'timm/{config.architecture}', or that name with the tag of its weights."
            )
        return config

    def _make_processor(self):
        """Return what prepares images for this network in transformers, and if it is its own."""
        found = self._fetch and self._fetch(["preprocessor_config.json"], optional=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(_quiet(self._library))
            if found:
                folder = found.parent
            else:
                # The rules of this kind of network, without sizes and the like of its own.
                folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
                (folder / "preprocessor_config.json").write_text("{}")
                self._whole_config.save_pretrained(folder)
            try:
                make = self._library.AutoImageProcessor.from_pretrained
                return make(folder, trust_remote_code=False), bool(found)
            except ImportError as error:
                raise ImportError(
                    f"The preparation of images for {self.full_name!r} needs Pillow; do "
                    'pip install "sktransfer[images]".'
                ) from error
            except ValueError as error:
                raise ValueError(
                    f"Got backbone={self.full_name!r}, a network of type "
                    f"{self._whole_config.model_type!r}, for which transformers prepares no "
                    "images; expected one for images."
                ) from error

    def fetch_weights(self):
        if self._fetch is None:
            raise ValueError(
                f"Got backbone={self.full_name!r}, which is a kind of network and not weights; "
                "pass pretrained=False, weights=... with a file, or the id of a repository such as "
                "'transformers/google/vit-base-patch16-224'."
            )
        path = self._fetch(_WEIGHTS)
        if path is None:
            raise FileNotFoundError(
                f"Got backbone={self.full_name!r}, but the folder has none of the files "
                f"{', '.join(_WEIGHTS)}; pass weights=..., or pretrained=False."
            )
        if path.suffix != ".json":
            return [path]
        index = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        return [self._fetch([name]) for name in sorted(set(index.values()))]

    def make(self, tensors=None):
        recipe = {
            "config": json.loads(self._config.to_json_string(use_diff=False)),
            "is_classifier": self._is_classifier,
            "has_pooler": True,
        }
        network = self.remake(**recipe)
        if tensors is None or find_mismatch(network, tensors) is None:
            return network if tensors is None else fill(network, tensors)
        if self._is_classifier:
            n_outputs = count_outputs(network, tensors)
            if n_outputs not in (None, network.config.num_labels):
                network.config.num_labels = n_outputs
                recipe["config"] = json.loads(network.config.to_json_string(use_diff=False))
        converted, recipe["has_pooler"] = self._convert(type(network), recipe["config"], tensors)
        return fill(self.remake(**recipe), converted.state_dict())

    def _convert(self, kind, config, tensors):
        """Fill a network with weights of a layout that transformers knows; has it a pooler then."""
        with _quiet(self._library):
            converted, report = kind.from_pretrained(
                None,
                config=_make_config(self._library, config),
                state_dict=tensors,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
        reshaped = sorted(str(keys[0]) for keys in report["mismatched_keys"])
        # Weights of a network with a head often have no pooler, which would be a random one then.
        has_pooler = not (
            missing
            and all(key.startswith("pooler.") for key in missing)
            and "add_pooling_layer" in inspect.signature(kind.__init__).parameters
        )
        if not has_pooler:
            missing, converted.pooler = [], None
        if not self._is_classifier:
            # Heads and decoders.
            unexpected = []
        mismatch = describe_mismatch(missing, unexpected, reshaped)
        if mismatch is not None:
            raise MismatchError(mismatch)
        return converted, has_pooler

    def make_input(self):
        processor, is_own = self._make_processor()
        mean, std = self._measure_normalisation(processor)
        resize, crop = self._read_sizes(processor, is_own)
        return NetworkInput(
            channels=getattr(self._seeing, "num_channels", 3),
            mean=mean,
            std=std,
            resize=resize,
            crop=crop,
            interpolation=_INTERPOLATIONS[int(processor.resample)],
        )

    def _measure_normalisation(self, processor):
        """Return mean and deviation of the channels, from what becomes of black and white.

        The rules for them are many: factors, offsets, a second division.
        """
        colours = np.zeros((3, 256, 256, 3), dtype=np.uint8)
        colours[1] = 255
        colours[2, ..., 0] = 255
        outputs = processor(list(colours), return_tensors="np", do_resize=False)
        black, white, red = outputs["pixel_values"][:, :, 0, 0].astype(np.float64)
        if not np.allclose(red, [white[0], *black[1:]]):
            raise ValueError(
                f"Got backbone={self.full_name!r}, whose weights want the channels in another "
                "order than red, green, blue, which is not supported."
            )
        std = 1 / (white - black)
        mean = -black * std
        return tuple(np.round(mean, 6)), tuple(np.round(std, 6))

    def _read_sizes(self, processor, is_own):
        """Return to which size images are brought, and which part is cut out."""
        own_size = getattr(self._seeing, "image_size", None)
        if not is_own and own_size:
            size = tuple(own_size) if np.iterable(own_size) else (own_size, own_size)
            return size, size
        if not getattr(processor, "do_resize", True):
            resize = None
        elif "shortest_edge" in dict(processor.size):
            resize = processor.size["shortest_edge"]
        else:
            resize = (processor.size["height"], processor.size["width"])
        crop_part = getattr(processor, "crop_pct", None)
        if crop_part and isinstance(resize, int):
            if resize >= _WITHOUT_CROP:
                return (resize, resize), (resize, resize)
            return math.floor(resize / crop_part), (resize, resize)
        crop = None
        if getattr(processor, "do_center_crop", False):
            crop = (processor.crop_size["height"], processor.crop_size["width"])
        return resize, crop

    def find_classes(self, network):
        labels = [label for _, label in sorted(network.config.id2label.items())]
        is_named = labels != [f"LABEL_{i}" for i in range(len(labels))]
        if self._is_classifier and is_named and len(set(labels)) == len(labels):
            return labels
        return None

    @classmethod
    def remake(cls, *, config, is_classifier, has_pooler):
        transformers = import_library("transformers")
        kind = "AutoModelForImageClassification" if is_classifier else "AutoModel"
        with _quiet(transformers):
            network = getattr(transformers, kind).from_config(
                _make_config(transformers, config), trust_remote_code=False
            )
        if not has_pooler:
            network.pooler = None
        return attach_recipe(
            network,
            cls.prefix,
            config=config,
            is_classifier=is_classifier,
            has_pooler=has_pooler,
        )


def _names_classifier(config):
    architectures = getattr(config, "architectures", None)
    # A kind of network alone has no architectures, and may have a classifier.
    return any(name.endswith("ForImageClassification") for name in architectures or ())


def _make_config(transformers, config):
    config = dict(config)
    return transformers.AutoConfig.for_model(config.pop("model_type"), **config)


@contextlib.contextmanager
def _quiet(transformers):
    """Keep progress bars and reports of transformers off the screen; put its settings back."""
    logging = transformers.utils.logging
    verbosity, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bar:
            logging.enable_progress_bar()
