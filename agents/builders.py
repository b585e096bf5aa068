"""How each built-in agent is made for a run."""

from stable_baselines3 import PPO

from agents.config import PretrainConfig
from agents.fixed import ConstantMasks, RandomMasks
from agents.policy import TatsPolicy
from agents.tats import TATS
from envs.sb3 import TokenSelectionVecEnv


def build_tats(env: TokenSelectionVecEnv, config: PretrainConfig) -> TATS:
    """Make TATS as the run's settings say."""
    tats = config.tats
    steps_per_epoch = config.steps_per_epoch(len(env.vector_env.stream))
    return TATS(
        "TatsPolicy",
        env,
        learning_rate=tats.learning_rate,
        n_steps=tats.n_steps,
        n_epochs=tats.n_epochs,
        batch_size=tats.batch_size,
        clip_range=tats.clip_range,
        credit=tats.credit,
        baseline=tats.baseline,
        policy_coef=tats.policy_coef,
        vf_coef=tats.vf_coef,
        ent_coef=tats.ent_coef,
        warmup_timesteps=tats.warmup_epochs * steps_per_epoch * config.num_envs,
        policy_kwargs={"sampler": config.sampler, "precision": config.precision},
        seed=config.seed,
        device=env.vector_env.device,
    )


def build_ppo(env: TokenSelectionVecEnv, config: PretrainConfig) -> PPO:
    """Make SB3's own PPO, unmodified, with our policy: per-position credit on the reward, over NumPy."""
    tats = config.tats
    return PPO(
        TatsPolicy,
        env,
        learning_rate=tats.learning_rate,
        n_steps=tats.n_steps,
        n_epochs=tats.n_epochs,
        batch_size=tats.batch_size or tats.n_steps * config.num_envs,
        clip_range=tats.clip_range,
        policy_kwargs={"sampler": config.sampler, "precision": config.precision},
        seed=config.seed,
        device=env.vector_env.device,
    )


def build_random(env: TokenSelectionVecEnv, config: PretrainConfig) -> RandomMasks:
    """Make the baseline: uniform masks, nothing learnt."""
    return RandomMasks(env, n_steps=config.tats.n_steps, seed=config.seed, device=env.vector_env.device)


def build_constant(env: TokenSelectionVecEnv, config: PretrainConfig) -> ConstantMasks:
    """Make the control: one mask, drawn by the seed, for every clip."""
    return ConstantMasks(env, n_steps=config.tats.n_steps, seed=config.seed, device=env.vector_env.device)
