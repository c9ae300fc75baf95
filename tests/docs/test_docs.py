"""The documentation's own claims that a machine can check: links lead somewhere, commands exist, scripts parse."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from minik8s_net.cli.main import _split, parser

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "labs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    for line in re.findall(r"^\$ (?:\.venv/bin/)?minik8s (.+)$", page.read_text(), re.MULTILINE):
        parser().parse_args(
            _split(shlex.split(line.split("#")[0]))[0]
        )  # exits, and so fails, for a command that does not exist


def test_readme_shows_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "$ make demo" in text
    assert "$ make test" in text


@pytest.mark.parametrize("script", ["scripts/setup", "scripts/test", ".ci/run", "vagrant/provision.sh"])
def test_scripts_parse(script: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)


def test_every_component_says_what_it_is() -> None:
    for folder in (ROOT / "minik8s_net").iterdir():
        if (folder / "__init__.py").exists():
            text = (folder / "__init__.py").read_text()
            assert text.startswith('"""'), f"{folder.name}/__init__.py does not say what the component is"
