"""Sphinx configuration: pages in MyST Markdown, tutorials executed by the build, reference pages generated from the code."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from hyperexec_env.version import __version__

project = "HyperExec"
author = "The HyperExec developers"
copyright = "2026, the HyperExec developers"
version = release = __version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "reference_pages",
    "leaderboard",
]
exclude_patterns = ["_build", "_ext", "browser", "paper.md", "gallery", "examples/*.ipynb", "**/sg_execution_times.rst"]

html_theme = "furo"
html_title = "HyperExec"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 1200
nb_merge_streams = True
nb_execution_cache_path = str(Path(__file__).parent.parent / "build" / "docs-cache")

add_module_names = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
python_maximum_signature_line_length = 100

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "filename_pattern": "/plot_",
    "image_srcset": ["2x"],
    "capture_repr": (),
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
}
