from dataclasses import dataclass, fields

import gymnasium
import pytest

from robo_rl.commands.arguments import first_sentence, parse
from robo_rl.commands.task_options import field_docs, options_of, read_options, with_task_options
from robo_rl.errors import UserError


@dataclass(frozen=True)
class Base:
    robot: object
    """The arm."""
    horizon: int = 80
    """Steps."""
    width: float = 0.1
    """Width, m."""


@dataclass(frozen=True)
class Deeper(Base):
    width: float = 0.2
    box: tuple[float, float] = (0.0, 1.0)
    """Corners
    of the box."""
    space: gymnasium.Space | None = None
    """Nothing that a command line could say."""


@dataclass(frozen=True)
class Arguments:
    task: str
    speed: float = 1.0
    """Speed."""


def test_options_are_the_fields_that_can_be_said():
    options = options_of(Deeper)
    assert [(f.name, f.default) for f in fields(options)] == [("horizon", 80), ("width", 0.2), ("box", (0.0, 1.0))]


def test_docs_are_found_through_the_bases():
    docs = field_docs(Deeper)
    assert docs["horizon"] == "Steps."
    assert docs["box"] == "Corners\nof the box."
    assert "width" not in docs  # its new meaning has none


def test_options_on_the_command_line():
    options = options_of(Deeper)
    kind = with_task_options(Arguments, options, options(width=0.3))
    read = parse(kind, ["--task.horizon", "5", "--task.box", "1", "2", "--speed", "3"], prog="p", description="d")
    assert read.speed == 3.0
    assert (read.task_options.horizon, read.task_options.width, read.task_options.box) == (5, 0.3, (1.0, 2.0))
    with pytest.raises(UserError, match=r"unknown option --task\.hight; did you mean --task\.width"):
        parse(kind, ["--task.hight", "5"], prog="p", description="d")
    with pytest.raises(UserError, match=r"unknown option --horizon; did you mean --task\.horizon"):
        parse(kind, ["--horizon=5"], prog="p", description="d")


def test_options_from_a_file():
    options = options_of(Deeper)
    assert read_options(options, {"box": [3, 4]}, where="f").box == (3.0, 4.0)
    with pytest.raises(UserError, match="unknown field of the task"):
        read_options(options, {"robot": 1}, where="f")
    with pytest.raises(UserError, match="width: 'x' given, a number expected"):
        read_options(options, {"width": "x"}, where="f")


def test_a_task_that_is_no_dataclass():
    with pytest.raises(UserError, match="no dataclass"):
        options_of(int)


def test_a_box_becomes_a_sentence():
    text = "\n".join(
        [
            "╭─ Value error ─────╮",
            "│ Error parsing x:  │",
            "│ not a number.     │",
            "│ ───────────────── │",
            "│ More help         │",
        ]
    )
    assert first_sentence(text) == "Error parsing x: not a number"
