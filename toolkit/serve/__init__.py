"""A bundle behind HTTP, for a clinic's own software and browser: on this machine alone unless told otherwise, nothing of a film on disk.

connection > head (protocol) > host, origin, token (access) > body in memory (upload) > decoders > one inference at a time (desk)
"""

from __future__ import annotations

from toolkit.errors import MissingDependencyError

try:
    import python_multipart  # noqa: F401
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as _cause:
    raise MissingDependencyError((_cause.name or "starlette").replace("_", "-"), "serve", "Serving a bundle") from _cause
