"""Train one of our environments with Stable-Baselines3's SAC.

pip install 'robo-rl[benchmarks]'
python examples/stable_baselines3_sac.py [ENV_ID [STEPS]]
"""

import sys

import gymnasium
from stable_baselines3 import SAC
from stable_baselines3.common.evaluation import evaluate_policy

import envs  # noqa: F401  registers the ids robo_rl/...

env_id = sys.argv[1] if len(sys.argv) > 1 else "robo_rl/Reach-v0"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
model = SAC("MlpPolicy", gymnasium.make(env_id, reward="dense"), seed=0, verbose=1)
model.learn(steps)
success, _ = evaluate_policy(model, gymnasium.make(env_id), n_eval_episodes=20, warn=False)  # sparse: 1 at success
print(f"success in 20 episodes: {success:.0%}")
