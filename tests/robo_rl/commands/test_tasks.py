import json

from envs.registry import task_class, task_names
from robo_rl.cli import main
from robo_rl.commands.tasks import described_tasks
from robo_rl.robots import robot_names


def test_lists_what_the_registry_knows():
    described = described_tasks()
    assert list(described) == task_names()
    for name, about in described.items():
        assert about == task_class(name).__doc__.split("\n")[0]
        assert about


def test_table_and_json(capsys):
    assert main(["tasks"]) == 0
    table = capsys.readouterr().out
    assert main(["tasks", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tasks"] == described_tasks()
    assert told["robots"] == robot_names()
    assert all(name in table for name in [*told["tasks"], *told["robots"], "gym:ID"])
