"""A WebDataset pipeline whose batches are restyled: keys are those of the shards, so that a sample is drawn for as `augment` draws for it.

    pip install webdataset
    stylizing-vit serve --method macenko-augment
    python webdataset_example.py [address] [shards]

Without shards it draws one of its own.
"""

import io
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import webdataset as wds

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Where stylizing_vit.py lies, unless it is beside your code.
from stylizing_vit import Augmenter  # noqa: E402


def draw_shard(path, count=8, size=24):
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for index in range(count):
            array = io.BytesIO()
            np.save(array, rng.integers(60, 220, (size, size, 3), dtype=np.uint8))
            for name, data in ((f"{index:04d}.npy", array.getvalue()), (f"{index:04d}.cls", str(index % 2).encode())):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def batches(shards, augment, epoch, batch=4):
    # For shards of PNG or JPEG files: .decode("rgb8").to_tuple("__key__", "png", "cls").
    samples = wds.WebDataset(shards, shardshuffle=False).decode().to_tuple("__key__", "npy", "cls").batched(batch)
    for keys, images, labels in samples:
        yield augment(np.stack(images), keys, epoch), np.asarray(labels)


def main(address, shards=None):
    with tempfile.TemporaryDirectory() as folder:
        if shards is None:
            shards = str(Path(folder, "shard-000000.tar"))
            draw_shard(shards)
        augment = Augmenter(address, method="hed-jitter,macenko-augment", seed=7)
        for images, labels in batches(shards, augment, epoch=1):
            print(images.shape, labels.tolist(), [ops[0]["op"] for ops in augment.ops])


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["http://127.0.0.1:8787"]))
