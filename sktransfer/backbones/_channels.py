"""Grey images for networks of three channels, and colour images for networks of one."""

import warnings

import numpy as np

from sktransfer.exceptions import ChannelConversionWarning

GREY, COLOUR = 1, 3


def are_convertible(given, wanted):
    """Tell whether images of so many channels stand for images of another number."""
    return {given, wanted} == {GREY, COLOUR}


def match_channels(images, wanted):
    """Repeat the channel of grey images (n, 1, ...), or average those of colour (n, 3, ...).

    Repeated, a grey image is what a display shows of it in colour: a first convolution gives what
    one gives whose weights are summed over the channels, also if each channel is normalised by a
    mean and deviation of its own afterwards.
    """
    if not are_convertible(images.shape[1], wanted):
        return images
    if wanted == GREY:
        return images.mean(axis=1, keepdims=True)
    return np.repeat(images, COLOUR, axis=1)


# A search fits many clones, a fit makes several networks of one; all want to be fed alike.
_said = set()


def warn_of_conversion(given, network_input, name):
    """Say that channels are converted, once in a process for each way to feed a network."""
    if (given, network_input) in _said:
        return
    _said.add((given, network_input))
    what = "averaged" if given == COLOUR else "repeated"
    warnings.warn(
        f"Got images of {given} channel(s) for the backbone {name!r}, which takes "
        f"{network_input.channels}: the channels are {what}. If the last axis of X is the width "
        "and not the channels, or the reverse, say so: NetworkInput(channels_last=...).",
        ChannelConversionWarning,
        stacklevel=2,
    )
