"""What pyproject.toml lists by hand, compared with what is there."""

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS: dict[str, Any] = PROJECT["tool"]["setuptools"]
PACKAGE_FOLDERS = ("blobs", "cli", "client", "engine", "protos", "pycaffe", "server", "worker")
OTHER_FOLDERS = (".ci", "benchmarks", "deploy", "docs", "examples", "tests", "tools")
FILES = (
    ".editorconfig",
    ".gitignore",
    ".pre-commit-config.yaml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "pyproject.toml",
)


def python_folders() -> set[Path]:
    """Every folder below a package folder that holds Python files, relative to the root."""
    return {
        path.parent.relative_to(ROOT)
        for folder in PACKAGE_FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if "__pycache__" not in path.parts
    }


def import_name(folder: Path) -> str:
    return ".".join(("farlayer", *folder.parts))


def test_the_packages_listed_are_the_folders_that_hold_python() -> None:
    assert SETUPTOOLS["packages"] == sorted(import_name(folder) for folder in python_folders())


def test_every_package_folder_at_the_root_is_mapped_to_its_import_name() -> None:
    assert SETUPTOOLS["package-dir"] == {f"farlayer.{folder}": folder for folder in PACKAGE_FOLDERS}


def test_the_import_contracts_cover_every_package() -> None:
    roots = [f"farlayer.{folder}" for folder in PACKAGE_FOLDERS]
    contracts = PROJECT["tool"]["importlinter"]
    assert contracts["root_packages"] == roots
    layers = [name for layer in contracts["contracts"][0]["layers"] for name in layer.split(" | ")]
    assert sorted(layers) == roots


def test_the_makefile_checks_every_package() -> None:
    line = re.search(r"^PACKAGES := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert line is not None
    assert tuple(line[1].split()) == PACKAGE_FOLDERS


@pytest.mark.parametrize("folder", sorted(python_folders()), ids=str)
def test_a_package_is_typed_and_says_what_it_is(folder: Path) -> None:
    assert (ROOT / folder / "py.typed").is_file()
    first_line = (ROOT / folder / "__init__.py").read_text(encoding="utf-8").lstrip()
    assert first_line.startswith('"""'), "the package has no docstring"


def test_the_root_is_a_namespace_without_code_of_its_own() -> None:
    assert not list(ROOT.glob("*.py"))


def test_the_version_stands_in_pyproject_alone() -> None:
    assert metadata.version("farlayer") == PROJECT["project"]["version"], "installed from another state: make test"
    literal = re.compile(r"""^\s*(?:__version__|VERSION)\b[^=\n]*=\s*["']\d""", re.MULTILINE)
    repeated = [
        str(path.relative_to(ROOT))
        for folder in PACKAGE_FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if literal.search(path.read_text(encoding="utf-8"))
    ]
    assert repeated == []


def test_the_changelog_has_an_entry_for_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(PROJECT['project']['version'])}\]", changelog, re.MULTILINE)


def test_no_file_lies_outside_the_folders_that_the_project_has() -> None:
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip(f"not a git checkout: {listed.stderr.strip()}")
    tops = {Path(line).parts[0] for line in listed.stdout.splitlines()}
    assert sorted(tops - {*PACKAGE_FOLDERS, *OTHER_FOLDERS, *FILES}) == []
