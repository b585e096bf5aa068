"""Any argument of step and reset gives a valid step or an error that names the fault; then all goes on."""

import copy
from datetime import timedelta

import gymnasium
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tats_gym.envs import TokenSelectionEnv, TokenSelectionVecEnv, TokenSelectionVectorEnv
from tests.layouts import SMALL

B, L, K = 2, 8, 3
CLIPS = 10
ERRORS = (gymnasium.error.Error, TypeError, ValueError)
NAMED = ("action", "token", "score", "seed", "option", "clip", "reset_mask", "shape")
"""Words of which an error holds one, so that its reader knows where to look."""

hostile = settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=timedelta(seconds=10),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

NUMBERS = st.one_of(
    st.integers(-3, L + 3),
    st.integers(),
    st.sampled_from([2**31, 2**63 - 1, 2**63, -(2**63), 2**64, 10**400]),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.sampled_from(["1", b"1", 1j, np.float32(1), np.int8(1), np.nan, float("inf"), object, ..., {}, ()]),
)
SHAPES = st.sampled_from([(), (0,), (K,), (L,), (B,), (B, K), (B, L), (B, 0), (B, K, 1), (1, K), (K, B), (B + 1, K)])
DTYPES = st.sampled_from(
    ["i1", "u1", "i4", ">i8", "u8", "f2", "f4", ">f8", "f8", "?", "c8", "O", "U3", "S3", "M8[s]", "m8[s]"]
)


@st.composite
def arrays(draw):
    """Arrays of any shape and type, now and then not contiguous, reversed, or read-only."""
    shape, dtype = draw(SHAPES), np.dtype(draw(DTYPES))
    values = np.array(draw(st.lists(st.integers(0, L), min_size=1, max_size=B * L)))
    array = np.resize(values, shape).astype(dtype)
    layout = draw(st.sampled_from(["plain", "fortran", "reversed", "broadcast", "read-only", "masked"]))
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "reversed":
        return array[..., ::-1] if array.ndim else array
    if layout == "broadcast":
        return np.broadcast_to(array, (B, *array.shape[1:])) if array.ndim and len(array) in (1, B) else array
    if layout == "masked":
        return np.ma.masked_array(array)
    array.flags.writeable = layout != "read-only"
    return array


ANYTHING = st.one_of(
    NUMBERS,
    arrays(),
    st.lists(st.lists(NUMBERS, max_size=L), max_size=B + 1),
    st.lists(NUMBERS, max_size=L),
    st.permutations(range(L)).map(lambda ids: [ids[:K], ids[-K:]]),
    st.dictionaries(st.text(max_size=2), NUMBERS, max_size=2),
)
SEEDS = st.one_of(NUMBERS, st.lists(NUMBERS, max_size=B + 1), st.tuples(NUMBERS), arrays())
OPTIONS = st.one_of(
    st.none(),
    NUMBERS,
    st.fixed_dictionaries({"clips": st.one_of(ANYTHING, st.lists(st.integers(-1, CLIPS), min_size=B, max_size=B))}),
    st.fixed_dictionaries({"reset_mask": st.one_of(ANYTHING, st.lists(st.booleans(), min_size=B, max_size=B))}),
    st.fixed_dictionaries({"clips": ANYTHING, "reset_mask": ANYTHING}),
    st.dictionaries(st.text(max_size=5), NUMBERS, max_size=2),
)


@pytest.fixture(scope="module", name="env_of")
def _env_of(clips_root):
    made = {}

    def env_of(kind, action="ids"):
        if (kind, action) not in made:
            wanted = {**SMALL, "data": "folder", "root": str(clips_root), "action": action}
            mode = {"disabled": "disabled"}.get(kind, "same_step")
            if kind == "single":
                made[kind, action] = TokenSelectionEnv(**wanted)
            else:
                made[kind, action] = TokenSelectionVectorEnv(B, autoreset_mode=mode, **wanted)
            if kind == "sb3":
                made[kind, action] = TokenSelectionVecEnv(made[kind, action])
        return made[kind, action]

    yield env_of
    for env in made.values():
        env.close()


def or_named(call):
    """Return the result of a call, or None where it raises one of the promised errors, with words to go by."""
    try:
        return call()
    except ERRORS as err:
        message = f"{type(err).__name__}: {err}".lower()
    assert any(word in message for word in NAMED), message
    assert len(message) < 1000
    return None


def check_step(env, action):
    """Step with a valid action, and check the result."""
    observations, rewards, *_ = env.step(action)
    assert np.isfinite(observations).all()
    assert np.isfinite(rewards).all()


def legal(action):
    return np.array([[0, 3, 6], [7, 1, 2]]) if action == "ids" else np.linspace(-5, 5, B * L).reshape(B, L)


@pytest.mark.parametrize("action", ["ids", "scores"])
@pytest.mark.parametrize("kind", ["vector", "sb3", "single"])
@hostile
@given(actions=ANYTHING)
def test_any_action_is_a_step_or_an_error_that_names_the_fault(env_of, kind, action, actions):
    env = env_of(kind, action)
    env.reset(seed=0) if kind != "sb3" else env.reset()
    before = copy.deepcopy(actions) if isinstance(actions, np.ndarray) else None
    found = or_named(lambda: env.step(actions))
    if found is not None:
        given_ = np.asarray(actions)
        assert given_.shape == ((B, L if action == "scores" else K) if kind != "single" else given_.shape)
        assert given_.dtype.kind in ("iu" if action == "ids" else "iuf")
        assert np.isfinite(found[1]).all()
        if action == "ids":
            assert all(len(set(row)) == K and min(row) >= 0 and max(row) < L for row in given_.reshape(-1, K).tolist())
    if before is not None:
        np.testing.assert_array_equal(actions, before)
    if kind == "single":
        env.reset()
        check_step(env, legal(action)[0])
    else:
        check_step(env, legal(action))


@pytest.mark.parametrize("kind", ["vector", "disabled", "single"])
@hostile
@given(seed=SEEDS, options=OPTIONS)
def test_any_seed_and_option_is_a_reset_or_an_error_that_names_the_fault(env_of, kind, seed, options):
    env = env_of(kind)
    env.reset(seed=0)
    for arguments in ({"seed": seed}, {"options": options}, {"seed": seed, "options": options}):
        found = or_named(lambda arguments=arguments: env.reset(**arguments))
        if found is not None:
            assert np.isfinite(found[0]).all()
    env.reset()
    check_step(env, legal("ids")[0] if kind == "single" else legal("ids"))


@hostile
@given(seed=SEEDS, options=OPTIONS)
def test_sb3_is_told_of_a_seed_or_option_once_and_goes_on(env_of, seed, options):
    env = env_of("sb3")
    for prepare in (lambda: env.seed(seed), lambda: env.set_options(options)):
        if or_named(lambda prepare=prepare: (prepare(),)) is not None:
            or_named(lambda: (env.reset(),))
        env.reset()
        check_step(env, legal("ids"))


def test_a_reset_that_is_refused_changes_no_state(env_of):
    env = env_of("vector")
    env.reset(seed=3)
    follow = [env.reset()[1]["clips"].tolist() for _ in range(2)]
    env.reset(seed=3)
    for seed, options in ((5, {"clips": [0, 99]}), (5, {"clip": [0, 1]}), (-1, None), (None, {"reset_mask": [1, 0]})):
        with pytest.raises((gymnasium.error.Error, ValueError)):
            env.reset(seed=seed, options=options)
    assert [env.reset()[1]["clips"].tolist() for _ in range(2)] == follow
