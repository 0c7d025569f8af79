"""`python -m toolkit.cli` is `cxr-edge`."""

from toolkit.cli.main import run

run()
