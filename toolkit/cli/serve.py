"""`cxr-edge serve`: the classifier for a clinic's own software and browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from toolkit.cli.options import artifact_option, bundle_argument, cache_option


@click.command()
@bundle_argument
@artifact_option
@cache_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; any but this machine's own asks for a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Ask for the token in FILE [default: that of the environment variable CXR_EDGE_TOKEN].",
)
@click.option("--max-upload-mb", type=click.IntRange(1, 1000), default=32, show_default=True, help="Size of a film.")
@click.option("--queue", type=click.IntRange(1, 1000), default=16, show_default=True, help="Films at once; one more is told to come again.")
@click.option("--timeout", type=click.FloatRange(1, 3600), default=30, show_default=True, help="Seconds in which a film must arrive.")
@click.option("--threads", type=click.IntRange(1), help="The model's processor threads; by default the runtime chooses.")
def serve(bundle_path: Path, **options: Any) -> None:
    """Judge films that software or a browser on this machine sends: a page at /, POST /predict, GET /health, /model, /openapi.json.

    A film is held in memory and is gone when it is answered. Other machines reach it only with --host, and then only with a token, which
    is never an argument: a list of processes would show it. They are spoken to without encryption, so put a proxy with TLS before it.
    Ends at Ctrl+C or SIGTERM, when the films that it has taken are answered.

    \b
    Example:  cxr-edge serve exported/szanet
    """
    from toolkit.core.bundle import Bundle
    from toolkit.infer.predictor import Predictor
    from toolkit.serve.app import application
    from toolkit.serve.server import listen, url_of
    from toolkit.serve.server import serve as serve_until_stopped
    from toolkit.serve.settings import Limits, address, check_exposure, find_token

    host, token = address(options["host"]), find_token(options["token_file"], os.environ)
    check_exposure(host, token)
    bundle = Bundle(bundle_path)
    limits = Limits(upload_bytes=options["max_upload_mb"] * 1_000_000, queue=options["queue"], upload_s=options["timeout"])
    with listen(host, options["port"]) as listener:
        predictor = Predictor(bundle, options["artifact"], options["threads"], options["cache"])
        if bundle.manifest.provenance.synthetic:
            click.echo("This bundle was trained on SYNTHETIC films: what it says of a patient's film means nothing.", err=True)
        click.echo(f"{bundle.manifest.name}, {predictor.artifact.name}: {url_of(listener)}  (Ctrl+C ends it)")
        serve_until_stopped(application(bundle, predictor, host, token, limits), listener, limits)
