"""The interface as its description says it is: what schemathesis makes of that, asked of a service that may write."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from served import serving

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance",
    "missing_required_header", "use_after_free", "ensure_resource_availability",
)  # fmt: skip


SETTINGS = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503]
"""
"""503 with Retry-After says that something is not there yet, or that there is too much to do."""


@pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed (pip install schemathesis)"
)
def test_schemathesis_finds_nothing(index: Path, tmp_path: Path, long: bool) -> None:
    """Requests by the description and against it: no error of the service, no answer that is not described."""
    own = shutil.copytree(index, tmp_path / "photos")
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    much = ["--phases", "coverage,fuzzing,stateful", "--max-examples", "200"] if long else ["--phases", "coverage"]
    with serving(own, write=True, uploads=tmp_path / "uploads", move_to=tmp_path / "moved") as service:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{service.address}/openapi.json", *much]
        command += ["--checks", ",".join(CHECKS), "--seed", "0", "--continue-on-failure", "--request-timeout", "60"]
        command += ["--no-color", "--no-shrink", "--warnings", "off", "--suppress-health-check", "all"]
        command += ["--generation-database", "none"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        asked = sum(map(len, service("GET", "/openapi.json").json["paths"].values()))
    assert f"Operations:       {asked} selected" in done.stdout
