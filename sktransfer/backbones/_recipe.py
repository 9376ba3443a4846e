"""How a network of another library is made again: a note that the network itself carries.

The note is plain data: a library of a closed list, and what to ask it for. It survives copies and
pickles, also inside of another network, and says nothing about weights.
"""

ATTRIBUTE = "_sktransfer_recipe"


def attach_recipe(network, prefix, **arguments):
    """Note on a network which library makes it, and from what. Return the network."""
    setattr(network, ATTRIBUTE, {"prefix": prefix, "arguments": arguments})
    return network


def get_recipe(network):
    """Return the note on a network, or None."""
    return vars(network).get(ATTRIBUTE)
