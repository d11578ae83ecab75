"""Meshes of somebody else's model over ours: they sit where that model has them, and change nothing else."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from envs.registry import make_env, make_task
from envs.worlds.mjcf import build_model
from envs.worlds.raycast import RayRenderer
from robo_rl import geometry
from robo_rl.contracts import SceneSpec
from robo_rl.errors import UserError
from robo_rl.robots import robot

PATHS = {"panda": "franka_emika_panda/panda.xml", "widowx250s": "trossen_wx250s/wx250s.xml"}
PYRAMID = "v -.03 -.03 0\nv .03 -.03 0\nv 0 .03 0\nv 0 0 .08\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 3 1 4\n"


def numbers(values):
    return " ".join(f"{float(value):.9g}" for value in values)


def menagerie(folder, name, *, hand=True, stretch=0.0):
    """A model of an arm as menagerie would have it: other names, other frames (turned, shifted), and meshes."""
    spec = robot(name)
    # Their link frames stand away from ours by this constant transform.
    pos, rot = np.array([0.01, -0.02, 0.03]), geometry.exp(np.array([0.3, -0.2, 0.5]))
    before = np.zeros(3), np.eye(3)  # their parent frame in ours

    def body(label, place, turn, axis, kind, limits, inside):
        here = before[1].T @ (np.array(place) - before[0]), before[1].T @ geometry.from_quat_wxyz(np.array(turn))
        where = here[0] + here[1] @ pos
        quat = geometry.to_quat_wxyz(here[1] @ rot)
        return (
            f'<body name="{label}" pos="{numbers(where)}" quat="{numbers(quat)}"><inertial mass="1" pos="0 0 0" '
            f'diaginertia="1 1 1"/><joint type="{kind}" pos="{numbers(-rot.T @ pos)}" '
            f'axis="{numbers(rot.T @ np.array(axis))}" range="{numbers(limits)}"/>'
            f'<geom class="visual" mesh="part" material="blue"/><geom mesh="part" group="3"/>{inside}'
        )

    text, closing = "", ""
    for i, link in enumerate(spec.links):
        place = np.array(link.pos) + (stretch if i == 1 else 0.0)
        text += body(f"them/{i}", place, link.quat, link.axis, "hinge", link.joint_range, "")
        closing += "</body>"
        before = pos, rot
    if hand:
        gripper = spec.gripper
        turn = geometry.from_quat_wxyz(np.array(gripper.hand_quat))
        for label, sign in (("them/right", -1.0), ("them/left", 1.0)):
            # Their fingers are at -30 mm or 30 mm where ours are closed.
            first = sign * (0.03 - gripper.min_width / 2)
            place = np.array(gripper.hand_pos) + turn @ (np.array(gripper.finger_pos) - [0.0, first, 0.0])
            ends = np.array([0.03, 0.03 + (gripper.max_width - gripper.min_width) / 2]) * sign
            axis = np.array([0.0, 1.0, 0.0])
            text += body(label, place, gripper.hand_quat, axis, "slide", sorted(ends), "</body>")
    path = folder / PATHS[name]
    (path.parent / "assets").mkdir(parents=True)
    (path.parent / "assets" / "part.obj").write_text(PYRAMID)
    path.write_text(
        '<mujoco><compiler angle="radian" meshdir="assets" autolimits="true"/><default><default class="visual">'
        '<geom type="mesh" contype="0" conaffinity="0" group="2"/></default></default>'
        '<asset><mesh name="part" file="part.obj"/><texture name="paint" type="2d" builtin="flat" width="4" height="4" '
        'rgb1="0 0 1"/><material name="blue" rgba=".1 .2 .9 1" texture="paint"/></asset><worldbody>'
        f'<body name="them"><geom class="visual" mesh="part"/>{text}{closing}</body></worldbody></mujoco>'.replace(
            '<geom mesh="part" group="3"/>', '<geom type="mesh" mesh="part" group="3"/>'
        )
    )
    return path


def posed(model, joints, opening):
    data = mujoco.MjData(model)
    data.qpos[: len(joints)] = joints
    data.qpos[len(joints) :] = opening
    mujoco.mj_forward(model, data)
    return data


@pytest.mark.parametrize("name", PATHS)
def test_meshes_sit_where_their_model_has_them_in_any_posture(name, tmp_path, monkeypatch):
    path, spec = menagerie(tmp_path, name), robot(name)
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    ours, theirs = build_model(spec, SceneSpec()), mujoco.MjModel.from_xml_path(str(path))
    joints, width = np.array(spec.home) + np.linspace(-0.2, 0.3, spec.dof), 0.7 * spec.gripper.max_width
    travel = 0.03 + (width - spec.gripper.min_width) / 2
    mine, other = posed(ours, joints, width / 2), posed(theirs, joints, [-travel, travel])

    def places(model, data):
        drawn = (model.geom_group == 2) & (model.geom_type == int(mujoco.mjtGeom.mjGEOM_MESH))
        found = [
            data.geom_xpos[g] + data.geom_xmat[g].reshape(3, 3) @ vertex
            for g in np.flatnonzero(drawn)
            for vertex in model.mesh_vert[model.mesh_vertadr[model.geom_dataid[g]] :][:4]
        ]
        return np.array(sorted(found, key=lambda place: tuple(np.round(place, 4))))

    assert len(places(ours, mine)) == 4 * (1 + spec.dof + 2)
    np.testing.assert_allclose(places(ours, mine), places(theirs, other), atol=2e-5)
    hidden = [model_geom for model_geom in range(ours.ngeom) if ours.geom_group[model_geom] == 3]
    shapes = [*spec.base_shapes, *(s for link in spec.links for s in link.shapes), *spec.gripper.hand_shapes]
    assert len(hidden) == len(shapes) + 2 * len(spec.gripper.finger_shapes)


@pytest.mark.parametrize(("name", "task"), [("panda", "peg_insertion"), ("widowx250s", "pick_cube")])
@pytest.mark.parametrize("world", ["mujoco", "mujoco_law"])
def test_a_dressed_arm_moves_as_an_undressed_one_to_the_bit(name, task, world, tmp_path, monkeypatch):
    menagerie(tmp_path, name)

    def trajectory():
        env = make_env(make_task(task, name), world=world, num_envs=1, threads=1, seed=3)
        env.reset()
        states, meshes = [], env.world.model.nmesh
        for _ in range(12):
            env.step(env.expert_action())
            states.append(torch.cat([value.flatten().float() for _, value in sorted(env.reading.items())]))
        contacts = env.world.datas[0].ncon
        env.close()
        return torch.stack(states), contacts, meshes

    bare, touched, none = trajectory()
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    dressed, same, one = trajectory()
    assert (none, one, touched) == (0, 1, same)
    assert torch.equal(bare, dressed)


def test_without_a_gripper_of_theirs_ours_stays(tmp_path, monkeypatch):
    menagerie(tmp_path, "panda", hand=False)
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    model = build_model(robot("panda"), SceneSpec(locked_opening=0.02))
    groups = {body: set(model.geom_group[model.geom_bodyid == model.body(body).id]) for body in ("hand", "finger_left")}
    assert groups == {"hand": {0}, "finger_left": {0}}
    assert set(model.geom_group[model.geom_bodyid == model.body("link3").id]) == {2, 3}


def test_ray_cast_pictures_show_the_meshes_alone(tmp_path, monkeypatch):
    menagerie(tmp_path, "panda")
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    model = build_model(robot("panda"), SceneSpec())
    renderer = RayRenderer(model, 90, 120)
    renderer.update_scene(posed(model, robot("panda").home, 0.02), "overview")
    # Nothing of the primitives' white; the meshes are blue.
    image = renderer.render().astype(int)
    blue = (image[..., 2] > 60) & (image[..., 0] < 40)
    assert blue.sum() > 20


def test_a_robot_that_menagerie_has_not_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    assert build_model(replace(robot("panda"), name="mine"), SceneSpec()).nmesh == 0


def refusal(monkeypatch, tmp_path):
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    with pytest.raises(UserError) as error:
        build_model(robot("panda"), SceneSpec())
    said = str(error.value)
    assert "\n" not in said
    assert str(tmp_path / PATHS["panda"]) in said
    assert "unset it" in said
    return said


def test_what_is_wrong_is_told_in_one_line_with_the_path(tmp_path, monkeypatch):
    assert "there is no" in refusal(monkeypatch, tmp_path)
    path = menagerie(tmp_path, "panda", stretch=0.05)
    assert re.search(r"is not a model of panda: near home .* mm off 'link", refusal(monkeypatch, tmp_path))
    (path.parent / "assets" / "part.obj").unlink()
    path.write_text(path.read_text() + " ")
    assert "cannot be read" in refusal(monkeypatch, tmp_path)
    path.write_text("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
    assert "it has 0 hinges" in refusal(monkeypatch, tmp_path)


def test_unset_nothing_of_it_is_imported():
    code = (
        "import os, sys; os.environ.pop('MENAGERIE_ROOT', None)\n"
        "from envs.worlds.mjcf import build_model; from robo_rl.robots import robot\n"
        "from robo_rl.contracts import SceneSpec; build_model(robot('panda'), SceneSpec())\n"
        "print('envs.worlds.meshes' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.skipif(importlib.util.find_spec("franky_sim") is None, reason="franky-sim, which ships FR3 meshes")
def test_the_published_fr3_fits_ours(tmp_path, monkeypatch):
    found = importlib.util.find_spec("franky_sim")
    assert found is not None
    assets = Path(str(found.origin)).parent / "assets"
    folder = tmp_path / "franka_fr3"
    folder.mkdir()
    (folder / "fr3.xml").write_bytes((assets / "fr3.xml").read_bytes())
    (folder / "assets").symlink_to(assets / "meshes")
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    model = build_model(robot("fr3"), SceneSpec())
    # It was held against ours in two postures; each of its parts is on the body that carries it.
    for body in ("base", "link1", "link4", "link7", "finger_left", "finger_right"):
        assert 2 in model.geom_group[model.geom_bodyid == model.body(body).id], body
    assert (model.geom_contype[model.geom_group == 2] == 0).all()
