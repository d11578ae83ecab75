"""Behaviour cloning on the demonstrations that ``robo-rl train`` starts from: shows what learning adds.

One seed; :mod:`benchmarks.learning` runs several. Evaluated by the same rule and on the same start states as training:

    python -m benchmarks.behaviour_cloning peg_insertion --seed 0 --demos 20

The last line on standard output is the outcome, as JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from math import ceil

import tyro

from benchmarks.evaluation_rule import EvaluationRule
from robo_rl.threads import configure


@dataclass(frozen=True)
class Options:
    """How to clone."""

    task: tyro.conf.Positional[str]
    """Name of the task."""
    seed: int = 0
    """Seed of demonstrations, weights and batches; the demonstrations are those of ``robo-rl train`` with this seed."""
    demos: int = 20
    """Demonstrations."""
    more_transitions: int = 0
    """Transitions of further demonstrations, as many as a person spent on corrections; rounded up to whole ones."""
    updates: int = 20_000
    """Gradient steps."""
    eval_every: int = 2_000
    """Gradient steps between evaluations; the best policy counts."""
    eval_episodes: int = 20
    """Episodes of an evaluation."""
    final_episodes: int = 100
    """Episodes of the final evaluation."""


def main(options: Options) -> dict:
    """Clone and return the outcome."""
    configure(1)
    from benchmarks.setups import demonstrations, resolved_config
    from robo_rl.agents.behaviour_cloning import BehaviourCloning
    from robo_rl.commands.environments import make_environment

    config = resolved_config(options.task, seed=options.seed, demos=options.demos, threads=1)
    demos = demonstrations(config)
    assert demos.buffer is not None
    if options.more_transitions:
        more = ceil(options.more_transitions * demos.episodes / len(demos.buffer))
        demos = demonstrations(replace(config, demos=options.demos + more))
        assert demos.buffer is not None
    env = make_environment(config, config.eval_envs, options.seed)
    agent = BehaviourCloning(env.observation_space, env.action_space, seed=options.seed)
    rule = EvaluationRule(
        env,
        agent.act,
        agent.policy_state,
        target=None,
        episodes=options.eval_episodes,
        final_episodes=options.final_episodes,
    )
    rule.start()
    for done in range(0, options.updates, options.eval_every):
        steps = min(options.eval_every, options.updates - done)
        agent.fit(demos.buffer.sample, steps)
        rule.evaluate(env_steps=0, updates=done + steps)
    figures = rule.finish(agent.load_policy_state)
    env.close()
    counters = {"env_steps": 0, "updates": options.updates, "demos": demos.episodes, "stopped_by": "updates"}
    return figures | counters | {"demo_transitions": len(demos.buffer)}


if __name__ == "__main__":
    print(json.dumps(main(tyro.cli(Options, description=__doc__))))
