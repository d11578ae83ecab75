import json
import sys
import types

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from robo_rl.agents.backbones import Backbone, BackboneSpec
from robo_rl.agents.encoder_weights import load_weights, weights_of
from robo_rl.errors import MissingExtra, UserError

KEYS = ("camera.front.rgb", "camera.wrist.rgb")


def pictures(n: int = 3, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (n, size, size, 3), generator=generator, dtype=torch.uint8)


def two_backbones() -> dict[str, Backbone]:
    spec = BackboneSpec("keypoints", (32, 32), mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
    return {key: Backbone(spec, torch.Generator().manual_seed(i)) for i, key in enumerate(KEYS)}


def test_a_file_gives_back_each_camera_s_backbone(tmp_path):
    nets = two_backbones()
    file = tmp_path / "weights.safetensors"
    weights_of(nets, {"task": "t"}).save(file)
    read = load_weights(str(file))
    assert read.notes == {"task": "t"}
    assert read.cameras == KEYS
    for key, net in nets.items():
        again = read.backbone(key, (32, 32))
        assert again.spec == net.spec
        assert torch.equal(again(pictures()), net(pictures()))
    assert not torch.equal(read.backbone(KEYS[0], (32, 32))(pictures()), nets[KEYS[1]](pictures()))


def test_what_the_weights_are_not_for_is_refused():
    weights = weights_of(two_backbones(), {})
    with pytest.raises(UserError, match=r"they are for camera\.front\.rgb, camera\.wrist\.rgb, not for 'camera\.top"):
        weights.backbone("camera.top.rgb", (32, 32))
    with pytest.raises(UserError, match=r"images of 32x32 pixels, but .* has 64x48"):
        weights.backbone(KEYS[0], (48, 64))


def test_what_is_no_file_of_weights_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"there is no .*nowhere.safetensors.*pretrain-encoder"):
        load_weights(str(tmp_path / "nowhere.safetensors"))
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(str(tmp_path / "text"))
    save_file({"x": torch.zeros(1)}, tmp_path / "plain")
    with pytest.raises(UserError, match="neither says what network it is of"):
        load_weights(str(tmp_path / "plain"))
    file = tmp_path / "short"
    weights_of(two_backbones(), {}).save(file)
    read = load_weights(str(file))
    short = {name: value for name, value in read.tensors.items() if "code" not in name}
    header = {"format": "robo_rl encoder 1", "architecture": "keypoints", "size": [32, 32], "mean": [0.5] * 3,
              "std": [0.5] * 3, "norm": "group", "cameras": list(KEYS), "notes": {}}  # fmt: skip
    save_file(short, file, metadata={"robo_rl": json.dumps(header)})
    with pytest.raises(UserError, match=r"they do not fit keypoints: .*Missing key"):
        load_weights(str(file)).backbone(KEYS[0], (32, 32))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        h = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (h + (x if self.downsample is None else self.downsample(x))).relu()


class BatchNormResNet(nn.Module):
    """As torchvision and timm write it."""

    pretrained_cfg = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # noqa: RUF012

    def __init__(self, blocks):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for stage, width in enumerate((64, 128, 256, 512), start=1):
            layers = [Block(inputs, width, 1 if stage == 1 else 2)]
            layers += [Block(width, width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*layers))
            inputs = width

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def drawn_network(blocks):
    torch.manual_seed(0)
    model = BatchNormResNet(blocks)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_()
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model.eval()


def seen_by(model, images):
    colours = [torch.tensor(model.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std")]
    return model((images.permute(0, 3, 1, 2) / 255.0 - colours[0]) / colours[1])


@pytest.mark.parametrize(("blocks", "architecture"), [(1, "resnet10"), (2, "resnet18")])
def test_batch_normalisation_of_a_hub_s_network_is_folded(blocks, architecture, monkeypatch, tmp_path):
    model = drawn_network(blocks)
    asked = []
    fake = types.SimpleNamespace(create_model=lambda name, **how: asked.append((name, how)) or model)
    monkeypatch.setitem(sys.modules, "timm", fake)
    weights = load_weights("timm:a_resnet")
    assert asked == [("a_resnet", {"pretrained": True, "num_classes": 0})]
    net = weights.backbone("camera.front.rgb", (64, 64))
    assert net.spec.architecture == architecture
    images = pictures(2, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(images), seen_by(model, images), rtol=1e-3, atol=1e-3)
    weights.save(tmp_path / "kept")  # what a run keeps of it needs no hub
    again = load_weights(str(tmp_path / "kept")).backbone("camera.front.rgb", (64, 64))
    assert torch.equal(again(images), net(images))


def in_hugging_face_s_names(name):
    """As ``transformers.ResNetForImageClassification`` with basic blocks names it."""
    kinds = {"conv": "convolution", "bn": "normalization"}
    if not name.startswith("layer"):
        kind, leaf = name.split(".")
        return f"resnet.embedder.embedder.{kinds[kind[:-1]]}.{leaf}"
    stage, block, what, *rest, leaf = name.split(".")
    place = f"resnet.encoder.stages.{int(stage[5:]) - 1}.layers.{block}"
    if what == "downsample":
        return f"{place}.shortcut.{kinds['conv' if rest[0] == '0' else 'bn']}.{leaf}"
    return f"{place}.layer.{int(what[-1]) - 1}.{kinds[what[:-1]]}.{leaf}"


@pytest.mark.parametrize("named", [str, in_hugging_face_s_names])
def test_plain_files_of_other_libraries_are_read(named, tmp_path):
    """With the classifier that is on top of them there, and no metadata."""
    model = drawn_network(2)
    tensors = {named(name): value for name, value in model.state_dict().items()}
    save_file(tensors | {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}, tmp_path / "model.safetensors")
    weights = load_weights(str(tmp_path / "model.safetensors"))
    assert weights.spec.architecture == "resnet18"
    assert weights.notes == {"hub": "model.safetensors"}
    images = pictures(2, 64)
    with torch.no_grad():
        seen = weights.backbone("camera.front.rgb", (64, 64))(images)
        torch.testing.assert_close(seen, seen_by(model, images), rtol=1e-3, atol=1e-3)


def test_a_hub_s_network_of_another_kind_is_refused(monkeypatch):
    other = types.SimpleNamespace(create_model=lambda name, **how: nn.Sequential(nn.Linear(3, 3)))
    monkeypatch.setitem(sys.modules, "timm", other)
    with pytest.raises(UserError, match="'vit' is no residual network of 10 or 18 layers"):
        load_weights("timm:vit")

    def offline(name, **how):
        raise RuntimeError("no\nnetwork")

    monkeypatch.setitem(sys.modules, "timm", types.SimpleNamespace(create_model=offline))
    with pytest.raises(UserError, match="timm cannot give 'resnet18': no network"):
        load_weights("timm:resnet18")


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"pip install 'robo-rl\[timm\]'"):
        load_weights("timm:resnet18")
