"""A JupyterLab as `minik8s lab ui` starts it, and a Chromium to look at it with."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from tests.conftest import Home

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass
class Lab:
    """A running JupyterLab. `notebooks` is a copy: what is saved there changes nothing of ours."""

    url: str
    token: str
    notebooks: Path
    settings: Path
    runtime: Path

    def ask_kernel(self, code: str) -> str:
        """What the (only) kernel prints for `code`, asked beside the browser."""
        (connection,) = self.runtime.glob("kernel-*.json")
        client = BlockingKernelClient(connection_file=str(connection))
        client.load_connection_file()
        client.start_channels()
        printed: list[str] = []
        try:
            client.execute_interactive(
                code, timeout=20, output_hook=lambda m: printed.append(m["content"].get("text", ""))
            )
        finally:
            client.stop_channels()
        return "".join(printed)

    def theme(self, name: str) -> None:
        folder = self.settings / "@jupyterlab" / "apputils-extension"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "themes.jupyterlab-settings").write_text(json.dumps({"theme": name}))


@pytest.fixture(scope="module")
def lab(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("jupyter")
    notebooks, settings = folder / "notebooks", folder / "settings"
    shutil.copytree(ROOT / "notebooks", notebooks)
    tracker = settings / "@jupyterlab" / "notebook-extension"
    tracker.mkdir(parents=True)
    (tracker / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))
    news = settings / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (news / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    (folder / "config").mkdir()
    config = {"ServerApp": {"open_browser": False, "port": 0}, "LabApp": {"expose_app_in_browser": True}}
    (folder / "config" / "jupyter_server_config.json").write_text(json.dumps(config))
    env = {
        **home.env,
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "MINIK8S_NOTEBOOKS": str(notebooks),
        "MINIK8S_LABS": str(ROOT / "labs"),
    }
    log = folder / "log"
    with log.open("w") as output:
        server = subprocess.Popen(home.command("lab", "ui"), env=env, stdout=output, stderr=output, cwd="/")
    try:
        found = _address(log, server)
        yield Lab(found[1], found[2], notebooks, settings, folder / "runtime")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def _address(log: Path, server: subprocess.Popen[bytes]) -> re.Match[str]:
    deadline = time.monotonic() + 60
    while not (found := re.search(r"(http://127\.0\.0\.1:\d+)/lab\?token=(\w+)", log.read_text())):
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM:
        assert "MINIK8S_CI" not in os.environ, "CI must have chromium"
        pytest.skip("chromium is not installed: what the widgets do in a browser is not tested")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where screenshots are kept: artifacts/notebook, which git leaves alone."""
    folder = Path(os.environ.get("MINIK8S_ARTIFACTS", ROOT / "artifacts")) / "notebook"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
