"""The page for people, and the policy that lets its own script and style run and nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path

from starlette.responses import Response

from toolkit.serve.answers import NOTICE

FILE = Path(__file__).with_name("page.html")
NOTICE_MARK = "{{ notice }}"
INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def page_response() -> Response:
    """`page.html` with the notice, and a Content-Security-Policy (level 2, as browsers of 2019 know it) that names digests."""
    text = FILE.read_text(encoding="utf-8").replace(NOTICE_MARK, html.escape(NOTICE))
    digests = {kind: _digest(inline) for kind, inline in INLINE.findall(text)}
    policy = (
        f"default-src 'none'; script-src '{digests['script']}'; style-src '{digests['style']}'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Response(text, headers={"content-security-policy": policy}, media_type="text/html")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
