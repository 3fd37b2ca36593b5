"""A PyTorch training loop whose batches are restyled, as the published code has it: a third of the images, each in the style of the next one.

    stylizing-vit serve --method colorist          # or --model base/camelyon17wilds on a GPU
    python torch_loop.py [address]

The data set is drawn here, so that the file runs as it is: put your own in its place.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Where stylizing_vit.py lies, unless it is beside your code.
from stylizing_vit import Augmenter  # noqa: E402


class Tiles(Dataset):
    """Two classes that differ in texture; each tile in a stain of its own, which says nothing of the class."""

    def __init__(self, count, size=32):
        self.count, self.size = count, size

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        rng, label = np.random.default_rng(index), index % 2
        grid = np.indices((self.size, self.size)).sum(0) // (2 if label else 8) % 2
        tile = rng.uniform(90, 230, 3) - (30 + 40 * grid[..., None]) + rng.normal(0, 8, (self.size, self.size, 3))
        return tile.clip(0, 255).astype(np.uint8), label, f"tile-{index}"


def train(address, epochs=3, batch=16):
    torch.manual_seed(0)
    augment = Augmenter(address, method="colorist", portion=0.33, seed=7)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2),
    )
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    loader = DataLoader(Tiles(128), batch, shuffle=True)
    losses, restyled = [], 0
    for epoch in range(1, epochs + 1):
        for images, labels, keys in loader:
            # The one line: after collation, in the main process. Styles are the batch itself, rolled by one.
            images = torch.from_numpy(augment(images.numpy(), keys, epoch, styles=np.roll(images.numpy(), 1, axis=0)))
            restyled += sum(len(ops) for ops in augment.ops)
            x = images.permute(0, 3, 1, 2).float() / 255 - 0.5
            loss = nn.functional.cross_entropy(model(x), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        print(f"epoch {epoch}: loss {np.mean(losses[-len(loader):]):.3f}, {restyled} of {epoch * 128} images restyled so far")
    return losses, restyled


if __name__ == "__main__":
    train(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8787")
