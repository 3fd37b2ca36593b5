"""torchstain's numpy formulas, timed: Reinhard's in CIE LAB and Macenko's, one image after another as it has them.

Reads JSON from stdin: {"files": [raw RGB], "side": pixels, "seconds": time to measure}; prints {"reinhard": images a second, "macenko-normalise": ...}.
"""
import json
import sys
import time

import numpy as np

XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
WHITE = np.array([0.95047, 1.0, 1.08883])
HE = np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]])
MOST = np.array([1.9705, 1.0308])


def rgb_to_lab(image):
    rgb = image.astype(np.float32) / 255
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    t = linear @ XYZ.T.astype(np.float32) / WHITE.astype(np.float32)
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def lab_to_rgb(lab):
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], -1)
    t = np.where(f > 0.2068966, f**3, (f - 16 / 116) / 7.787)
    linear = (t * WHITE) @ np.linalg.inv(XYZ).T
    rgb = np.where(linear > 0.0031308, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055, 12.92 * linear)
    return (np.clip(rgb, 0, 1) * 255).astype(np.uint8)


def reinhard(image, mean, deviation):
    lab = rgb_to_lab(image)
    return lab_to_rgb((lab - lab.mean((0, 1))) * (deviation / lab.std((0, 1))) + mean)


def macenko(image):
    density = -np.log((image.reshape(-1, 3).astype(float) + 1) / 240)
    tissue = density[~np.any(density < 0.15, axis=1)]
    _, vectors = np.linalg.eigh(np.cov(tissue.T))
    plane = tissue @ vectors[:, 1:3]
    angles = np.percentile(np.arctan2(plane[:, 1], plane[:, 0]), [1, 99])
    stains = vectors[:, 1:3] @ np.stack([np.cos(angles), np.sin(angles)])
    if stains[0, 0] <= stains[0, 1]:
        stains = stains[:, ::-1]
    concentrations = np.linalg.lstsq(stains, density.T, rcond=None)[0]
    most = np.percentile(concentrations, 99, axis=1)
    result = 240 * np.exp(-HE @ (concentrations * (MOST / most)[:, None]))
    return np.clip(result, 0, 255).T.reshape(image.shape).astype(np.uint8)


def rate(work, images, seconds):
    work(images[0])
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds or done < 3:
        work(images[done % len(images)])
        done += 1
    return done / (time.perf_counter() - start)


given = json.load(sys.stdin)
side = given["side"]
pictures = [np.fromfile(file, np.uint8).reshape(side, side, 3) for file in given["files"]]
style = rgb_to_lab(pictures[-1])
numbers = style.mean((0, 1)), style.std((0, 1))
print(json.dumps({
    "reinhard": rate(lambda image: reinhard(image, *numbers), pictures, given["seconds"]),
    "macenko-normalise": rate(macenko, pictures, given["seconds"]),
}))
