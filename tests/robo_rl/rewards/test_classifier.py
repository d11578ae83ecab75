"""The file of a classifier."""

import pytest
import torch

from robo_rl.errors import UserError
from robo_rl.rewards.classifier import SuccessClassifier
from robo_rl.rewards.files import newest


@pytest.mark.parametrize("architecture", ["conv", "keypoints"])
@pytest.mark.parametrize("frozen", [False, True])
def test_what_is_read_is_what_was_stored(tmp_path, drawn_classifier, architecture, frozen):
    cameras = ("camera.front.rgb", "camera.wrist.rgb")
    stored = drawn_classifier(cameras, architecture=architecture, frozen=frozen, version=3).noted(digest="abc")
    stored.save(tmp_path / "v3.safetensors")
    read = SuccessClassifier.load(tmp_path / "v3.safetensors")
    assert (read.version, read.rule, read.threshold, read.platt) == (3, stored.rule, stored.threshold, stored.platt)
    assert read.notes == {"task": "square", "digest": "abc"}
    assert read.observes == cameras
    images = {key: torch.randint(0, 256, (5, 24, 24, 3), dtype=torch.uint8) for key in cameras}
    assert torch.equal(read.logits(images), stored.logits(images))


def test_what_is_no_classifier_is_refused(tmp_path, drawn_classifier):
    path = tmp_path / "v1.safetensors"
    with pytest.raises(UserError, match="there is no"):
        SuccessClassifier.load(path)
    drawn_classifier().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        SuccessClassifier.load(path)
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(2)}, str(path))
    with pytest.raises(UserError, match="holds none"):
        SuccessClassifier.load(path)
    path.write_bytes(whole.replace(b'\\"threshold\\"', b'\\"treshhold\\"'))
    with pytest.raises(UserError, match="damaged"):
        SuccessClassifier.load(path)


def test_the_newest_is_the_highest_number(tmp_path):
    assert newest(tmp_path) is None
    for name in ("v2", "v10", "v9", "vx", "other"):
        (tmp_path / f"{name}.safetensors").touch()
    assert newest(tmp_path) == tmp_path / "v10.safetensors"
