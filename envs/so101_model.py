"""The simulated SO-101: an MJCF of primitive shapes with a table, two cameras and what a task needs: a 30 mm cube, a
walled slot for it, or a goal marker.

Joint origins, axes, ranges, masses and inertias are facts taken from TheRobotStudio/SO-ARM100
(Simulation/SO101/so101_new_calib.xml, Apache-2.0). Shapes, contacts, servos and cameras are ours. Lengths in [m],
angles in [rad]. There are no meshes: they cost seventy times more to render and nothing here needs them.

Contacts: flat finger pads that are parallel at the cube's width, condim 4 so that the cube does not spin between them,
an elliptic cone with impratio 10 so that it does not creep out. The slot's walls have priority, because MuJoCo would
otherwise take the larger friction of the two: the cube's.
"""

from __future__ import annotations

import math

import numpy as np

TIMESTEP_S = 0.004
ARM_JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
JOINTS = (*ARM_JOINTS, "gripper")
CAMERAS = ("front", "wrist")

_USUAL_FRONT = ((0.60, -0.16, 0.30), (0.205, 0.0, 0.055), 33.0)
FRONT_CAMERA = {
    "insert": ((0.62, -0.168, 0.31), (0.207, 0.006, 0.045), 30.0),
    "lift": _USUAL_FRONT,
    "reach": _USUAL_FRONT,
}
"""Of each task: where the front camera is and what it looks at, in the base frame in [m], and its vertical field of
view in degrees. That of ``insert`` is as narrow as the places where cube and slot can be allow."""
WRIST_CAMERA = ((0.006, 0.075, -0.012), (0.006, 0.026, -0.088), 80.0)
"""The same of the wrist camera, in the gripper's frame: it looks between the finger tips."""

CUBE_SIZE_M = 0.030
SLOT_WALL_HEIGHT_M, SLOT_WALL_M = 0.008, 0.005
"""Height and thickness of the slot's four walls."""
SLOT_FRICTION = 0.5
GRIPPER_CLOSED_RAD = -0.1745
GRIPPER_OPEN_RAD = 1.0
GRIPPER_AT_CUBE_RAD = 0.30
"""Where the two pads are parallel, one cube width apart."""

_FIXED_PAD_X = -0.012
_MOVING_PAD_X = _FIXED_PAD_X + CUBE_SIZE_M
TOOL_POINT = (_FIXED_PAD_X + CUBE_SIZE_M / 2 + 0.005, 0.0, -0.090)
"""In the gripper's frame: 8 mm above the finger tips and 5 mm off the centre of a held cube, towards the moving jaw, so
that the fixed jaw clears the cube on the way down."""

_JAW_PIVOT = (0.0202, 0.0188, -0.0234)
_PAD_HALF = (0.002, 0.008, 0.014)
_PAD_Z = -0.084


def _jaw_box(center: tuple[float, float], half: tuple[float, float, float], **attributes: str) -> str:
    """A box given where it is in the gripper's xz plane at GRIPPER_AT_CUBE_RAD, expressed in the moving jaw's frame.

    The jaw's frame at zero is the gripper's turned by 90 degrees about x, and the joint turns it about its z.
    """
    x, z = center[0] - _JAW_PIVOT[0], center[1] - _JAW_PIVOT[2]
    cos, sin = math.cos(-GRIPPER_AT_CUBE_RAD), math.sin(-GRIPPER_AT_CUBE_RAD)
    pos = (cos * x - sin * z, sin * x + cos * z, _JAW_PIVOT[1])
    quat = (math.cos(-GRIPPER_AT_CUBE_RAD / 2), 0.0, 0.0, math.sin(-GRIPPER_AT_CUBE_RAD / 2))
    size = (half[0], half[2], half[1])
    words = " ".join(f'{key.rstrip("_")}="{value}"' for key, value in attributes.items())
    return f'<geom type="box" pos="{_text(pos)}" quat="{_text(quat)}" size="{_text(size)}" {words}/>'


def _camera(
    name: str,
    position: tuple[float, ...],
    look_at: tuple[float, ...],
    fovy_deg: float,
    up: tuple[float, ...] = (0, 0, 1),
) -> str:
    backwards = np.subtract(position, look_at)
    right = np.cross(up, backwards)
    axes = (*right, *np.cross(backwards, right))
    return f'<camera name="{name}" pos="{_text(position)}" xyaxes="{_text(axes)}" fovy="{fovy_deg}"/>'


def _text(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{float(number):.6g}" for number in numbers)


def _slot(inner_m: float) -> str:
    """Four walls around a square of ``inner_m``, as a mocap body named ``slot`` whose origin is the floor's middle."""
    half, height = SLOT_WALL_M / 2, SLOT_WALL_HEIGHT_M / 2
    middle, length = inner_m / 2 + half, inner_m / 2 + SLOT_WALL_M
    walls = [((side * middle, 0.0, height), (half, length, height)) for side in (-1, 1)]
    walls += [((0.0, side * middle, height), (inner_m / 2, half, height)) for side in (-1, 1)]
    geoms = "".join(f'<geom class="slot" pos="{_text(pos)}" size="{_text(size)}"/>' for pos, size in walls)
    return f'<body name="slot" mocap="true" pos="0.2 0.07 0">{geoms}</body>'


def build_mjcf(task: str = "lift", play_m: float = 0.002) -> str:
    """The model as MJCF text.

    Args:
        task: ``lift`` shows the cube, ``insert`` the cube and the slot (a mocap body named ``slot``), ``reach`` a goal
            marker (a mocap body named ``goal``).
        play_m: how much wider than the cube the slot is.
    """
    half = CUBE_SIZE_M / 2
    cube = f"""<body name="cube" pos="0.2 0 {half}"><freejoint name="cube"/>
      <geom name="cube" type="box" size="{half} {half} {half}" mass="0.03" material="cube" contype="2" conaffinity="5"
            friction="0.8 0.005 0.0001" condim="3"/></body>"""
    goal = (
        '<body name="goal" mocap="true" pos="0.2 0 0.1">'
        '<geom type="sphere" size="0.012" material="goal" contype="0" conaffinity="0"/></body>'
    )
    things = {"lift": cube, "insert": cube + _slot(CUBE_SIZE_M + play_m), "reach": goal}[task]
    return f"""<mujoco model="so101">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{TIMESTEP_S}" integrator="implicitfast" cone="elliptic" impratio="10" iterations="50"
          ls_iterations="50"/>
  <visual>
    <headlight ambient="0.36 0.36 0.38" diffuse="0.22 0.22 0.22" specular="0.05 0.05 0.05"/>
    <quality shadowsize="0" offsamples="0"/>
    <global offwidth="1280" offheight="960"/>
    <map znear="0.02" zfar="8" shadowclip="0.6"/>
  </visual>
  <statistic center="0.15 0 0.1" extent="0.6"/>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1="0.93 0.94 0.95" rgb2="0.66 0.71 0.77" width="64"
             height="64"/>
    <texture name="table" type="2d" builtin="checker" rgb1="0.79 0.77 0.73" rgb2="0.76 0.74 0.70" width="64"
             height="64"/>
    <material name="table" texture="table" texrepeat="9 9" texuniform="false" specular="0.1" shininess="0.1"/>
    <material name="body" rgba="0.96 0.66 0.13 1" specular="0.3" shininess="0.4"/>
    <material name="motor" rgba="0.13 0.14 0.16 1" specular="0.5" shininess="0.6"/>
    <material name="pad" rgba="0.30 0.32 0.36 1"/>
    <material name="cube" rgba="0.80 0.12 0.16 1" specular="0.3" shininess="0.4"/>
    <material name="slot" rgba="0.10 0.32 0.72 1" specular="0.2" shininess="0.3"/>
    <material name="goal" rgba="0.10 0.62 0.45 0.75"/>
  </asset>
  <default>
    <geom contype="0" conaffinity="0" material="body"/>
    <joint damping="0.60" frictionloss="0.052" armature="0.028"/>
    <position kp="40" kv="2.2" forcerange="-2.94 2.94" inheritrange="1"/>
    <default class="motor"><geom type="box" material="motor" size="0.0124 0.0226 0.0175"/></default>
    <default class="finger"><geom type="box" contype="4" conaffinity="3"/></default>
    <default class="slot">
      <geom type="box" material="slot" contype="1" conaffinity="6" priority="1" condim="3"
            friction="{SLOT_FRICTION} 0.005 0.0001"/>
    </default>
    <default class="pad">
      <geom type="box" material="pad" contype="4" conaffinity="3" condim="4" friction="1.5 0.02 0.001"
            solref="0.008 1" solimp="0.95 0.99 0.001"/>
    </default>
  </default>
  <worldbody>
    <light name="key" pos="0.5 -0.5 1.1" dir="-0.35 0.45 -1" diffuse="0.50 0.48 0.45" specular="0.2 0.2 0.2"
           directional="true"/>
    <light name="fill" pos="-0.3 0.6 0.8" dir="0.4 -0.6 -0.7" diffuse="0.20 0.22 0.26" specular="0 0 0"
           castshadow="false" directional="true"/>
    <geom name="table" type="plane" pos="0.15 0 0" size="0.45 0.45 0.02" material="table" contype="1" conaffinity="6"
          friction="0.6 0.005 0.0001"/>
    {_camera("front", *FRONT_CAMERA[task])}
    {_camera("scene", (0.62, -0.40, 0.33), (0.125, 0.0, 0.085), 32)}
    <body name="base">
      <geom type="box" pos="-0.004 0 0.016" size="0.050 0.038 0.016"/>
      <geom type="box" pos="0.012 0 0.046" size="0.030 0.024 0.015" material="motor"/>
      <body name="shoulder" pos="0.0388353 0 0.0624" quat="0 0 -1 0">
        <joint name="shoulder_pan" axis="0 0 1" range="-1.91986 1.91986"/>
        <inertial pos="-0.0307604 -1.66727e-05 -0.0252713" mass="0.100006"
                  fullinertia="8.3759e-05 8.10403e-05 2.39783e-05 7.55525e-08 -1.16342e-06 1.54663e-07"/>
        <geom type="cylinder" pos="-0.004 0 0.002" size="0.027 0.008"/>
        <geom class="motor" pos="-0.0304 0 -0.0417" size="0.020 0.019 0.024"/>
        <body name="upper_arm" pos="-0.0303992 -0.0182778 -0.0542" quat="0.5 -0.5 -0.5 -0.5">
          <joint name="shoulder_lift" axis="0 0 1" range="-1.74533 1.74533"/>
          <inertial pos="-0.0898471 -0.00838224 0.0184089" mass="0.103"
                    fullinertia="4.08002e-05 0.000147318 0.000142487 -1.97819e-05 -4.03016e-08 8.97326e-09"/>
          <geom type="capsule" fromto="0 0 0.0182 -0.108 0 0.0182" size="0.0175"/>
          <geom class="motor" pos="-0.11257 -0.0155 0.0187" size="0.0124 0.0240 0.0190"/>
          <body name="lower_arm" pos="-0.11257 -0.028 0" quat="0.707107 0 0 0.707107">
            <joint name="elbow_flex" axis="0 0 1" range="-1.69 1.69"/>
            <inertial pos="-0.0980701 0.00324376 0.0182831" mass="0.104"
                      fullinertia="2.87438e-05 0.000159844 0.00014529 7.41152e-06 1.26409e-06 -4.90188e-08"/>
            <geom type="capsule" fromto="0 0 0.0182 -0.110 0.004 0.0182" size="0.0155"/>
            <geom class="motor" pos="-0.1224 0.0052 0.0187" size="0.0226 0.0124 0.0190"/>
            <body name="wrist" pos="-0.1349 0.0052 0" quat="0.707107 0 0 -0.707107">
              <joint name="wrist_flex" axis="0 0 1" range="-1.65806 1.65806"/>
              <inertial pos="-0.000103312 -0.0386143 0.0281156" mass="0.079"
                        fullinertia="3.68263e-05 2.5391e-05 2.1e-05 1.7893e-08 -5.28128e-08 3.6412e-06"/>
              <geom type="box" pos="0 -0.024 0.0181" size="0.015 0.026 0.017"/>
              <geom class="motor" pos="0 -0.0424 0.0306" size="0.0124 0.0175 0.0226"/>
              <body name="gripper" pos="0 -0.0611 0.0181" quat="0.0172091 -0.0172091 0.706897 0.706897">
                <joint name="wrist_roll" axis="0 0 1" range="-2.74385 2.84121"/>
                <inertial pos="0.000213627 0.000245138 -0.025187" mass="0.087"
                          fullinertia="2.75087e-05 4.33657e-05 3.45059e-05 -3.35241e-07 -5.7352e-06 -5.17847e-08"/>
                <site name="tool" pos="{_text(TOOL_POINT)}" size="0.003" group="4"/>
                {_camera("wrist", *WRIST_CAMERA, up=(0, -1, 0))}
                <geom type="cylinder" pos="0 0 -0.006" size="0.022 0.006"/>
                <geom class="motor" pos="0.0077 0 -0.0234" size="0.0226 0.020 0.0124"/>
                <geom class="finger" pos="{_text((_FIXED_PAD_X - 0.007, 0, -0.063))}" size="0.004 0.011 0.035"/>
                <geom class="pad" name="fixed_pad" pos="{_text((_FIXED_PAD_X - _PAD_HALF[0], 0, _PAD_Z))}"
                      size="{_text(_PAD_HALF)}"/>
                <body name="moving_jaw" pos="{_text(_JAW_PIVOT)}" quat="0.707107 0.707107 0 0">
                  <joint name="gripper" axis="0 0 1" range="-0.174533 1.74533" damping="0.10" armature="0.004"/>
                  <inertial pos="-0.00157495 -0.0300244 0.0192755" mass="0.012"
                            fullinertia="6.61427e-06 1.89032e-06 5.28738e-06 -3.19807e-07 -5.90717e-09 -1.09945e-07"/>
                  {_jaw_box((0.025, -0.060), (0.004, 0.010, 0.038), class_="finger")}
                  {_jaw_box((_MOVING_PAD_X + _PAD_HALF[0], _PAD_Z), _PAD_HALF, class_="pad", name="moving_pad")}
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>
    {things}
  </worldbody>
  <actuator>
    {"".join(f'<position name="{name}" joint="{name}"/>' for name in ARM_JOINTS)}
    <position name="gripper" joint="gripper" kp="6" kv="0.3" forcerange="-0.5 0.5"/>
  </actuator>
</mujoco>"""
