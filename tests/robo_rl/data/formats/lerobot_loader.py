"""Run by the Python of another environment: LeRobot itself reads a dataset into an npz file, or writes one.

LeRobot wants a torch older than ours, and torchvision, whose build on PyPI wants CUDA. Where torchvision's library
does not load, two of its operations, which no loader calls, are declared so that it can be imported. Where neither
torchcodec nor torchvision's reader of videos is there, PyAV decodes in their place, by the path and the time that
LeRobot asks for.
"""

import sys

import numpy as np
import torch


def declare_operations():
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def decode(path, timestamps, tolerance, backend=None):
    import av

    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    found = []
    for wanted in timestamps:
        time, picture = min(frames, key=lambda each: abs(each[0] - wanted))
        if abs(time - wanted) > tolerance:
            raise ValueError(f"no image at {wanted} s; the next is at {time} s")
        found.append(torch.from_numpy(picture).permute(2, 0, 1) / 255)
    return torch.stack(found)


def write(lerobot_dataset, root, out):
    rng = np.random.default_rng(0)
    columns = {
        "state": rng.standard_normal((10, 3)).astype(np.float32),
        "front": rng.integers(0, 256, (10, 16, 24, 3), np.uint8),
        "action": rng.standard_normal((10, 2)).astype(np.float32),
    }
    names = {"state": "observation.state", "front": "observation.images.front", "action": "action"}
    features = {
        names[key]: {"dtype": "image" if key == "front" else "float32", "shape": value.shape[1:], "names": None}
        for key, value in columns.items()
    }
    features["observation.images.front"]["names"] = ["height", "width", "channels"]
    dataset = lerobot_dataset.LeRobotDataset.create("local/dataset", 10, features, root=root, use_videos=False)
    for row in range(10):
        dataset.add_frame({names[key]: value[row] for key, value in columns.items()} | {"task": "put it there"})
        if row % 5 == 4:
            dataset.save_episode()
    dataset.finalize()
    np.savez(out, **columns)


def read(lerobot_dataset, root, out):
    dataset = lerobot_dataset.LeRobotDataset("local/dataset", root=root)
    rows = [dataset[i] for i in range(len(dataset))]
    columns = {key: np.stack([np.asarray(row[key]) for row in rows]) for key in rows[0]}
    stats = {f"stats/{key}/{name}": value for key, each in dataset.meta.stats.items() for name, value in each.items()}
    about = {"about/episodes": dataset.num_episodes, "about/fps": dataset.fps}
    window = lerobot_dataset.LeRobotDataset(
        "local/dataset", root=root, delta_timestamps={"action": [0.0, 1 / dataset.fps]}
    )
    ahead = np.stack([np.asarray(window[i]["action"]) for i in range(len(window))])
    np.savez(out, **columns, **stats, **about, ahead=ahead)


def main(what, root, out):
    held = None  # Operations are declared for as long as this is.
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        held = declare_operations()
        import torchvision
    import importlib.util

    from lerobot.datasets import lerobot_dataset

    if importlib.util.find_spec("torchcodec") is None and not hasattr(torchvision.io, "VideoReader"):
        lerobot_dataset.decode_video_frames = decode
    {"read": read, "write": write}[what](lerobot_dataset, root, out)
    del held


if __name__ == "__main__":
    main(*sys.argv[1:])
