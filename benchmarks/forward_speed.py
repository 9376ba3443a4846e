"""How fast rows go through a network, beside what people write by hand.

    python benchmarks/forward_speed.py [n_threads] [--compile]

ResNet-18 with random weights, images of 3 x 224 x 224, penultimate features, row cache off. All
ways take turns, and CPU seconds are counted, so that other programs of the machine matter little;
with several threads CPU seconds are those of all.

- "eager": eval, gradients tracked, batches of 32, everything else as PyTorch has it;
- "one by one": one image at a time with gradients tracked;
- "embetter": its TimmEncoder where it is installed, without its preparation of the images. It does
  the same, but leaves the network in training mode, so its features are others;
- "timm by hand": eval, inference mode, batches of 32.
"""

import argparse
import copy
import importlib.util
import runpy
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from _resnet import make_resnet

from sktransfer import Backbone
from sktransfer.backbones._activations import compute_activations
from sktransfer.utils._torch import _cpu_has_bfloat16

BATCH, N_BATCHES, N_ROUNDS = 32, 1, 5
GFLOP_PER_IMAGE = 3.627


def eager(network, images):
    batches = [torch.from_numpy(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    return np.concatenate([features_of(network, batch).detach().numpy() for batch in batches])


def timm_by_hand(network, images):
    with torch.inference_mode():
        return eager(network, images)


def one_by_one(network, images):
    rows = [features_of(network, torch.from_numpy(image[None])) for image in images[: BATCH // 4]]
    return np.concatenate([row.detach().numpy() for row in rows])


def make_embetter(network):
    """Return what sends images through embetter's encoder around this network."""
    tools = Path(__file__).resolve().parents[1] / "tools"
    runpy.run_path(str(tools / "torchvision_on_cpu.py"))["allow_import"]()
    from embetter.vision import TimmEncoder

    # Its constructor downloads weights, and cannot do without.
    encoder = TimmEncoder.__new__(TimmEncoder)
    encoder.model = copy.deepcopy(network).train()
    encoder.model.fc = torch.nn.Identity()
    encoder.transform_img = torch.from_numpy
    return lambda network, images: encoder.transform(images[: BATCH // 4])


def features_of(network, images):
    maps = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    maps = network.layer4(network.layer3(network.layer2(network.layer1(maps))))
    return network.avgpool(maps).flatten(1)


def ours(backbone, **options):
    def send(network, images):
        (features,) = compute_activations(
            backbone, images, batch_size=BATCH, cache=False, **options
        )
        return features

    return send


def measure_gemm(dtype=torch.float32, n=2048):
    """Return the GFLOP of a matrix product per CPU second."""
    one, other = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
    return 2 * n**3 / 1e9 / min(take_time(lambda: one @ other)[0] for _ in range(5))


def take_time(function):
    started = time.process_time()
    value = function()
    return time.process_time() - started, value


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("n_threads", nargs="?", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="torch.compile, too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.n_threads)
    network = make_resnet()
    images = np.random.default_rng(0).normal(size=(BATCH * N_BATCHES, 3, 224, 224))
    images = images.astype(np.float32)
    backbone = Backbone(network)
    ways = {"eager": eager, "timm by hand": timm_by_hand, "one by one": one_by_one}
    if importlib.util.find_spec("embetter") is not None:
        ways["embetter"] = make_embetter(network)
    ways["sktransfer"] = ours(backbone)
    if _cpu_has_bfloat16():
        ways["sktransfer, bfloat16"] = ours(backbone, precision="bfloat16")
    if arguments.compile:
        ways["sktransfer, compiled"] = ours(backbone, compile=True)
    # Once with more than a batch: layers are folded, and what is to be compiled is.
    for way in ways:
        if way.startswith("sktransfer"):
            ways[way](network, np.concatenate([images, images[:2]]))
    seconds, outputs = {way: [] for way in ways}, {}
    gemm = []
    for _ in range(N_ROUNDS):
        gemm.append(measure_gemm())
        for way, send in ways.items():
            used, outputs[way] = take_time(lambda send=send: send(network, images))
            seconds[way].append(used / len(outputs[way]))
    peak = statistics.median(gemm)
    base = statistics.median(seconds["eager"])
    print(f"{torch.get_num_threads()} thread(s), sgemm {peak:.0f} GFLOP per CPU second")
    print(f"{'':>22} {'images / CPU s':>14} {'times eager':>11} {'of sgemm':>9} {'difference':>11}")
    for way in ways:
        used = statistics.median(seconds[way])
        n = len(outputs[way])
        difference = np.abs(outputs[way] - outputs["eager"][:n]).max()
        share = GFLOP_PER_IMAGE / used / peak
        print(f"{way:>22} {1 / used:>14.1f} {base / used:>11.2f} {share:>9.0%} {difference:>11.1e}")


if __name__ == "__main__":
    main()
