"""Which part of the room layer may know of which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import agent.realtime

FOLDER = Path(agent.realtime.__file__).parent
#: Each may import from itself and from those before it. The first is what lies beside the packages.
LAYERS = (
    "",
    "signalling",
    "rest",
    "ice",
    "negotiation",
    "sending",
    "receiving",
    "connections",
    "remote",
    "room",
)
PACKAGES = sorted(path.parent.name for path in FOLDER.glob("*/__init__.py"))


def imported(module: Path) -> set[str]:
    """The layers a module imports from, also for its types only."""
    nodes = list(ast.walk(ast.parse(module.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    below = {name.split(".")[2] for name in names if name.startswith("agent.realtime.")}
    return {name if name in PACKAGES else "" for name in below}


def test_every_package_has_its_place() -> None:
    assert sorted(LAYERS[1:]) == PACKAGES


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_knows_only_those_below_it(layer: str) -> None:
    modules = {path for path in (FOLDER / layer).glob("*.py") if layer or path.name != "__init__.py"}
    assert modules
    allowed = set(LAYERS[: LAYERS.index(layer) + 1])
    assert {module.name: wrong for module in modules if (wrong := imported(module) - allowed)} == {}
