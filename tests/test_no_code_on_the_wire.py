"""What comes from a wire or a file is data: nothing that can carry code is imported where robots are driven."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("controllers", "envs", "hardware", "robo_rl")
FORBIDDEN = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle",
    "multiprocessing.connection", "multiprocessing.managers", "xmlrpc", "Pyro4", "rpyc",
}  # fmt: skip


def offences(source: str) -> Iterator[str]:
    """What in a module could run code that came as data."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Call):
            yield from _calls(node)
        for name in names:
            if any(name == each or name.startswith(f"{each}.") for each in FORBIDDEN):
                yield f"line {node.lineno}: imports {name}"


def _calls(node: ast.Call) -> Iterator[str]:
    said = ast.unparse(node.func)
    given = {each.arg: each.value for each in node.keywords}

    def is_constant(name: str, value: object) -> bool:
        return isinstance(given.get(name), ast.Constant) and given[name].value is value  # type: ignore[attr-defined]

    if said == "torch.load" and not is_constant("weights_only", True):
        yield f"line {node.lineno}: torch.load without weights_only=True"
    if "allow_pickle" in given and not is_constant("allow_pickle", False):
        yield f"line {node.lineno}: {said} allows pickles"
    if said in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"):
        yield f"line {node.lineno}: {said}; yaml.safe_load makes no objects"
    named = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
    if said in ("__import__", "importlib.import_module") and named in FORBIDDEN:
        yield f"line {node.lineno}: imports {named}"
    if said in ("eval", "exec"):
        yield f"line {node.lineno}: {said}"


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_that_carries_code_is_read_from_outside(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    found = {
        str(path.relative_to(ROOT)): said
        for path in files
        if (said := list(offences(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import multiprocessing.connection as c", "import marshal, os",
        "from multiprocessing import connection", "from multiprocessing.managers import BaseManager",
        "torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path, allow_pickle=True)",
        "yaml.load(text)", "importlib.import_module('dill')", "def f():\n    import shelve", "eval(text)",
    ],
)  # fmt: skip
def test_what_could_run_code_is_found(source):
    assert list(offences(source))


@pytest.mark.parametrize(
    "source",
    ["import multiprocessing", "torch.load(path, weights_only=True)", "np.load(path)", "yaml.safe_load(text)"],
)
def test_what_could_not_is_let_be(source):
    assert not list(offences(source))
