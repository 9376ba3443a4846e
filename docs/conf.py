"""Configuration of sphinx: python -m sphinx docs build/docs."""

import os
import sys
from pathlib import Path

import sktransfer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("MPLBACKEND", "Agg")

project = "sktransfer"
author = "the sktransfer developers"
version = release = sktransfer.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc"]
templates_path = []
exclude_patterns = ["images"]
default_role = "any"
nitpicky = False

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
# Types in docstrings are prose.
numpydoc_xref_param_type = False
# Names of other libraries, in docstrings that come from scikit-learn.
suppress_warnings = ["ref.any", "ref.ref"]

html_theme = "pydata_sphinx_theme"
html_title = "sktransfer"
html_show_sourcelink = False
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
