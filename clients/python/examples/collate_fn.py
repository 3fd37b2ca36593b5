"""Restyling in a `collate_fn`: batches leave the loader restyled, also from worker processes, each with a connection of its own.

    stylizing-vit serve --method hed-jitter
    python collate_fn.py [address]

`Restyled` needs numpy alone. With PyTorch: DataLoader(dataset, batch_size=64, num_workers=4, collate_fn=Restyled(augment)).
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Where stylizing_vit.py lies, unless it is beside your code.
from stylizing_vit import Augmenter  # noqa: E402


class Restyled:
    """Collates samples of (image, label, key) and restyles the images. Set `epoch` before each one."""

    def __init__(self, augment):
        self.augment, self.epoch = augment, 1

    def __call__(self, samples):
        images, labels, keys = zip(*samples)
        return self.augment(np.stack(images), keys, self.epoch), np.asarray(labels), list(keys)


def main(address):
    rng = np.random.default_rng(0)
    samples = [(rng.integers(80, 220, (24, 24, 3), dtype=np.uint8), index % 2, f"tile-{index}") for index in range(8)]
    collate = Restyled(Augmenter(address, method="hed-jitter", seed=7))
    images, labels, keys = collate(samples)
    print(images.shape, images.dtype, labels.tolist(), keys[0], f"mean {images.mean():.3f}")
    try:
        from torch.utils.data import DataLoader
    except ImportError:
        print("no PyTorch here")
        return
    loader = DataLoader(samples, batch_size=4, num_workers=2, collate_fn=collate)
    again = np.concatenate([batch for batch, _, _ in loader])
    # The same seed, epoch and keys give the same bytes, in any batch and any process.
    assert np.array_equal(again, images)
    print("two workers give the same bytes")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8787")
