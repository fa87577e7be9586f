"""Forward and inverse kinematics against MuJoCo's own, over the workspace."""

import numpy as np
import pytest

from envs.kinematics import ArmKinematics
from envs.mujoco_gl import load_mujoco
from envs.so101_model import ARM_JOINTS, build_mjcf
from envs.so101_sim import SO101SimConfig

HOME = np.array([0.0, -0.28, 0.18, 1.6, 1.62])
LOW, HIGH = (np.array(side) for side in (SO101SimConfig().workspace_low_m, SO101SimConfig().workspace_high_m))


@pytest.fixture(scope="module")
def model():
    return load_mujoco().MjModel.from_xml_string(build_mjcf())


@pytest.fixture(scope="module")
def kinematics(model):
    return ArmKinematics(model)


def test_forward_agrees_with_the_simulator(model, kinematics):
    mujoco = load_mujoco()
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    for _ in range(20):
        data.qpos[: len(ARM_JOINTS)] = rng.uniform(*model.jnt_range[: len(ARM_JOINTS)].T)
        mujoco.mj_forward(model, data)
        position, rotation = kinematics.forward(data.qpos[: len(ARM_JOINTS)])
        np.testing.assert_allclose(position, data.site("tool").xpos, atol=1e-12)
        np.testing.assert_allclose(rotation.ravel(), data.site("tool").xmat, atol=1e-12)


def test_inverse_reaches_the_whole_workspace_box(kinematics):
    rng = np.random.default_rng(1)
    corners = np.array(np.meshgrid(*zip(LOW, HIGH, strict=True))).reshape(3, -1).T
    for target in (*corners, *rng.uniform(LOW, HIGH, (100, 3))):
        solution = kinematics.inverse(target, HOME, max_iterations=40)
        reached, rotation = kinematics.forward(solution.joints)
        assert np.linalg.norm(reached - target) < 1.5e-3, target
        assert solution.error_m == pytest.approx(np.linalg.norm(reached - target), abs=1e-9)
        assert solution.tilt_rad < 0.45, (target, solution.tilt_rad)
        if target[2] < 0.05 and target[0] > 0.17:
            assert rotation[2, 2] > 0.99, "low down, where cubes are grasped, the gripper points down"


def test_two_iterations_follow_steps_of_one_unit_of_action(kinematics):
    rng = np.random.default_rng(2)
    target, joints = np.array([0.2, 0.0, 0.08]), HOME
    joints = kinematics.inverse(target, joints).joints
    errors = []
    for _ in range(300):
        target = np.clip(target + rng.uniform(-0.02, 0.02, 3), LOW, HIGH)
        solution = kinematics.inverse(target, joints, max_iterations=2)
        joints = solution.joints
        errors.append(solution.error_m)
    assert np.median(errors) < 1e-3
    assert max(errors) < 1e-2


def test_inverse_keeps_nothing_between_calls(model, kinematics):
    target = np.array([0.22, 0.05, 0.06])
    fresh = ArmKinematics(model).inverse(target, HOME)
    for other in np.random.default_rng(3).uniform(LOW, HIGH, (10, 3)):
        kinematics.inverse(other, HOME)
    kinematics.forward(HOME + 0.3)
    again = kinematics.inverse(target, HOME)
    np.testing.assert_array_equal(fresh.joints, again.joints)
    assert (fresh.error_m, fresh.tilt_rad) == (again.error_m, again.tilt_rad)


def test_joints_stay_in_range_and_failure_is_reported(model, kinematics):
    solution = kinematics.inverse(np.array([0.6, 0.0, 0.1]), HOME, max_iterations=60)
    assert not solution.converged
    assert solution.error_m > 0.1
    low, high = model.jnt_range[: len(ARM_JOINTS)].T
    assert (solution.joints >= low).all()
    assert (solution.joints <= high).all()


def test_convergence_is_reported(kinematics):
    solution = kinematics.inverse(np.array([0.2, 0.0, 0.05]), HOME)
    assert solution.converged
    assert solution.error_m < 2e-4
