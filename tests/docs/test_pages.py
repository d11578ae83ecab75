"""The pages that teach are run: files are saved as they say, programs and commands run in that folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ["add_a_task.md", "bring_a_gym_env.md"]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that it is to be saved as, if any, and its text."""

    language: str
    file: str | None
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    fenced = re.finditer(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [Block(it[1], it[2], it[3], page[: it.start()].count("\n") + 1) for it in fenced]


def commands(block: Block) -> list[list[str]]:
    return [shlex.split(line[2:]) for line in block.text.splitlines() if line.startswith("$ ")]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_the_page_runs(page, tmp_path):
    kinds = []
    for block in blocks((DOCS / page).read_text()):
        where = f"{page}:{block.line}"
        kinds.append((block.language, block.file is not None))
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text)
        elif block.language == "python":
            ran = run([sys.executable, "-c", block.text], tmp_path)
            assert ran.returncode == 0, f"{where}\n{ran.stdout}{ran.stderr}"
        elif block.language == "console":
            assert commands(block), where
            for command in commands(block):
                assert command[0] == "robo-rl", where
                ran = run([sys.executable, "-m", "robo_rl.cli", *command[1:]], tmp_path)
                assert ran.returncode == 0, f"{where}\n{ran.stdout}{ran.stderr}"
        else:
            pytest.fail(f"{where}: a block of {block.language} is not run; teach the test or change the page")
    assert {("python", True), ("python", False), ("console", False)} <= set(kinds)


@pytest.mark.parametrize("page", PAGES)
def test_the_files_of_the_page_are_in_good_style(page, tmp_path):
    for block in blocks((DOCS / page).read_text()):
        if block.language == "python":
            (tmp_path / (block.file or f"line_{block.line}.py")).write_text(block.text)
    ran = run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "120", "--select", "E,F,B,UP", "."],
        tmp_path,
    )
    assert ran.returncode == 0, ran.stdout
    ran = run([sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "120", "--check", "."], tmp_path)
    assert ran.returncode == 0, ran.stdout


def test_a_block_that_fails_would_be_noticed():
    page = (
        "text\n```python file=a.py\nx = 1\n```\n"
        "```console\n$ robo-rl tasks --help\nsaid\n```\n```python\nprint(1)\n```\n"
    )
    assert blocks(page) == [
        Block("python", "a.py", "x = 1\n", 2),
        Block("console", None, "$ robo-rl tasks --help\nsaid\n", 5),
        Block("python", None, "print(1)\n", 9),
    ]
    assert commands(blocks(page)[1]) == [["robo-rl", "tasks", "--help"]]
