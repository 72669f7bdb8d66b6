"""How Sphinx builds the documentation; the theme is furo where it is installed."""

import importlib.metadata
import importlib.util

project = "tus"
author = "the tus authors"
copyright = f"2013-2026, {author}"
release = importlib.metadata.version("tus")

extensions = ["sphinx.ext.autodoc"]
autodoc_member_order = "bysource"
exclude_patterns = ["_build"]
nitpicky = True
# Types in signatures that have no page of their own.
_WITHOUT = (
    r"(collections\.abc|contextlib)\..*|os\.PathLike|Adapter|OptionsDict|TusOptions|"
    r"AsgiApp|Receive|tus\.client\.(sources\.Readable|brake\.Brake|uploading\.Uploaded|download\.Fetched)|tus\.talk\.Talk|tus\.adapters\.endpoint\.AsgiResponse"
)
nitpick_ignore_regex = [("py:class", _WITHOUT)]

html_theme = "furo" if importlib.util.find_spec("furo") else "alabaster"
html_title = "tus"
html_static_path = ["_static"]
html_css_files = ["site.css"]
linkcheck_ignore = [r"https?://(127\.0\.0\.1|\[::1\]|localhost|[\w.-]+\.example(\.com)?)\b.*"]  # for `make links`
