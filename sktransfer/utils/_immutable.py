"""Values that clones share because nobody can change them."""


class Immutable:
    """Base of immutable values: attributes are set once, by `_set`; copies are the same object."""

    __slots__ = ()

    def _set(self, **attributes):
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name, value):
        raise AttributeError(
            f"Got an assignment to {name!r}, but a {type(self).__name__} is immutable and cannot "
            "be changed; make a new one."
        )

    def __delattr__(self, name):
        raise AttributeError(
            f"Got del of {name!r}, but a {type(self).__name__} is immutable and cannot be changed."
        )

    def __sklearn_clone__(self):
        return self

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self
