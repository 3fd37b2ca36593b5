"""A MONAI dictionary transform: restyles the image of a sample, and leaves its label map as it is.

    pip install monai
    stylizing-vit serve --method hed-jitter
    python monai_transform.py [address]

One image a call: the service puts the calls of all loader workers together.
"""

import sys
from pathlib import Path

import numpy as np
from monai.config import KeysCollection
from monai.transforms import Compose, MapTransform, ScaleIntensityRanged

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Where stylizing_vit.py lies, unless it is beside your code.
from stylizing_vit import Augmenter  # noqa: E402


class Restyled(MapTransform):
    """Restyles images, uint8 with channels first as MONAI has them. `name` is the entry that holds a sample's key."""

    def __init__(self, keys: KeysCollection, augment, name="name", allow_missing_keys=False):
        super().__init__(keys, allow_missing_keys)
        self.augment, self.name, self.epoch = augment, name, 1

    def __call__(self, data):
        data = dict(data)
        for key in self.key_iterator(data):
            image = np.moveaxis(np.asarray(data[key], dtype=np.uint8), 0, -1)
            data[key] = np.moveaxis(self.augment(image[None], [data[self.name]], self.epoch)[0], -1, 0)
        return data


def main(address):
    augment = Augmenter(address, method="hed-jitter", seed=7)
    transform = Compose([Restyled("image", augment), ScaleIntensityRanged("image", 0, 255, 0, 1)])
    rng = np.random.default_rng(0)
    sample = {"image": rng.integers(60, 220, (3, 24, 24), dtype=np.uint8), "label": np.ones((1, 24, 24)), "name": "tile-0"}
    result = transform(sample)
    print(tuple(result["image"].shape), f"{float(result['image'].min()):.3f} to {float(result['image'].max()):.3f}", result["label"].sum())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8787")
