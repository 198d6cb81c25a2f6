"""Rules that hold for the repository as a whole."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import edgesynth

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    path
    for folder in ("edgesynth", "exporters/edgesynth_exporters", "jetson")
    for path in (ROOT / folder).rglob("*.py")
)
LONGEST = 600
# Floor by floor, the lowest first: a package may import from its own floor and those below.
FLOORS = [
    {"errors"},
    {"records", "requirements", "performance"},
    {"data", "prototypes", "tasks", "energy"},
    {"space", "devices"},
    {"synthesis"},
    {"report", "doctor", "deploy"},
    {"cli"},
]


def imports_of(path):
    """Names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def floor_of(name):
    return next(index for index, floor in enumerate(FLOORS) if name in floor)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    package = path.relative_to(ROOT).parts
    imported = set(imports_of(path))
    heads = {name.split(".")[0] for name in imported}
    if package[0] == "jetson":
        assert not heads & {"edgesynth", "edgesynth_exporters"}
        return
    assert "edgesynth_agent" not in heads
    if package[0] == "exporters":
        assert "edgesynth" not in heads
        return
    mine = package[1].removesuffix(".py")
    if mine in ("__init__", "__main__"):
        return
    for name in imported:
        if name.startswith("edgesynth.") and name.split(".")[1] != mine:
            assert floor_of(name.split(".")[1]) <= floor_of(mine), f"{mine} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_short_and_say_what_they_are(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST
    assert ast.get_docstring(ast.parse(text)), "no module docstring"


def test_the_changelog_knows_this_version():
    assert f"## [{edgesynth.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_constraints_pin_every_direct_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    missing = {re.split(r"[<>=!\[]", entry)[0] for entry in wanted} - pinned
    assert not missing


def test_decisions_are_numbered_without_gaps():
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs/decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_readme_shows_commands_that_exist():
    """Each `make` target and each edgesynth sub-command in the README's code is real."""
    from edgesynth.cli.main import app

    text = (ROOT / "README.md").read_text()
    code = "\n".join(re.findall(r"```(?:sh|console)\n(.*?)```", text, flags=re.DOTALL))
    targets = set(re.findall(r"^make (\w+)", code, flags=re.MULTILINE))
    assert {"demo", "test"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)
    known = {c.name or c.callback.__name__ for c in app.registered_commands} | {g.name for g in app.registered_groups}
    used = set(re.findall(r"^edgesynth (\w+)", code, flags=re.MULTILINE))
    assert used
    assert used <= known


def test_links_of_the_readme_lead_somewhere():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", text):
        link = next(filter(None, target))
        if not link.startswith("http"):
            assert (ROOT / link).exists(), link


def test_nothing_of_a_workplace_is_committed():
    """Paths of a developer's machine and hosts of package registries have no place here."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    files = [ROOT / name for name in done.stdout.split("\0") if name]
    unwanted = re.compile(r"pypi\.(?:python\.)?org|files\.pythonhosted|registry\.npmjs|deb\.debian\.org|/ro" r"ot/")
    for path in files:
        if path.suffix in {".png", ".gz"} or not path.is_file():
            continue
        assert not unwanted.search(path.read_text(errors="replace")), path
