"""What code writes beyond itself, such as a counter of calls; no part of what it computes."""

import ast
import functools
import inspect
import textwrap
import types

_MUTATING = frozenset(
    ("add", "append", "appendleft", "clear", "extend", "increment", "insert", "pop")
    + ("popleft", "put", "remove", "setdefault", "update", "write")
)


@functools.cache
def list_written(function):
    """Return the names, and the names of attributes, that a function changes beyond itself.

    Empty where its source is not known.

    Parameters
    ----------
    function : function

    Returns
    -------
    names, attributes : frozenset of str
        ``COUNT["n"] += 1`` and ``SEEN.append(1)`` write ``COUNT`` and ``SEEN``; ``Net.n += 1``
        writes the attribute ``n`` of ``Net``. What it does to its own variables, as ``self``, is
        not among them.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return frozenset(), frozenset()
    own = _list_locals(function.__code__)
    names, attributes = set(), set()
    for node in ast.walk(tree):
        for target in _list_targets(node):
            root = target
            while isinstance(root, ast.Attribute | ast.Subscript):
                root = root.value
            if isinstance(root, ast.Name) and root.id not in own:
                names.add(root.id)
                if isinstance(target, ast.Attribute):
                    attributes.add(target.attr)
    return frozenset(names), frozenset(attributes)


def _list_locals(code):
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return {*code.co_varnames, *code.co_cellvars}.union(*map(_list_locals, inner))


def _list_targets(node):
    """Return what a statement assigns to, or a call of a mutating method is made on."""
    if isinstance(node, ast.Assign | ast.Delete):
        return node.targets
    if isinstance(node, ast.AugAssign | ast.AnnAssign):
        return [node.target]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return [node.func.value] if node.func.attr in _MUTATING else []
    return []
