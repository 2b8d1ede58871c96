from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gatewright.assembly.observing import seen_settings
from gatewright.assembly.supervising import serve
from gatewright.kernel.errors import GatewrightError
from gatewright.serving.logs import LogForm
from gatewright.serving.seen import SeenSettings

SECRET = "a-secret-for-scraping"  # noqa: S105 - of a test


def secret_in(folder: Path, text: str, mode: int = 0o600) -> Path:
    """A file with a secret."""
    place = folder / "scrape.key"
    place.write_text(text, "utf-8")
    place.chmod(mode)
    return place


def code_of(**options: Any) -> str:
    """The code with which options are refused."""
    with pytest.raises(GatewrightError) as caught:
        seen_settings(**options)
    return caught.value.code


def test_nothing_is_told_to_anybody_by_default() -> None:
    """Without options there is no scraping, no proxy, no collector, and a log for people."""
    assert SeenSettings() == seen_settings()
    assert (LogForm.TEXT, None, (), None) == tuple(
        getattr(SeenSettings(), name) for name in ("log", "metrics_key", "proxies", "traces")
    )


def test_the_secret_is_kept_as_its_digest(tmp_path: Path) -> None:
    """What the file holds, without the end of its line, is what a scraper sends."""
    found = seen_settings(metrics_key_file=secret_in(tmp_path, SECRET + "\n"))

    assert sha256(SECRET.encode()).digest() == found.metrics_key


@pytest.mark.parametrize("text", ["", "\n", "short", "two words of a secret", "x" * 15])
def test_a_secret_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    """An empty, short or divided secret opens nothing."""
    assert "assembly.metrics-key" == code_of(metrics_key_file=secret_in(tmp_path, text))


def test_a_secret_that_everybody_reads_is_refused(tmp_path: Path) -> None:
    """A file that every user may read is no secret."""
    assert "keys.readable-by-others" == code_of(metrics_key_file=secret_in(tmp_path, SECRET, 0o604))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"log": "xml"}, "assembly.log-form"),
        ({"proxies": ("proxy.example",)}, "serving.proxy"),
        ({"traces": "collector:4318"}, "serving.traces-url"),
        ({"metrics_key_file": Path("/nowhere/scrape.key")}, "operations.no-file"),
    ],
)
def test_options_that_cannot_be_stop_the_server_before_its_workers(
    options: dict[str, Any], code: str
) -> None:
    """They are refused once, by the process that would start the workers."""
    with pytest.raises(GatewrightError) as caught:
        serve({"host": "127.0.0.1", "port": 0, "start": Path("/"), **options}, 2)

    assert code == caught.value.code
