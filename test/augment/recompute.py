"""Recomputes a manifest's closed forms in float64: recompute.py MANIFEST ORACLE. Prints the largest difference by method, as JSON."""
import json, os, sys
import numpy as np
from PIL import Image

sys.path.insert(0, os.path.dirname(sys.argv[2]))
import stains

manifest = sys.argv[1]
header, *lines = map(json.loads, open(manifest, encoding="utf-8"))
read = lambda *parts: np.asarray(Image.open(os.path.join(*parts)).convert("RGB"))
source = {line["key"]: line["source"] for line in lines}
image_of = lambda key: read(header["input"]["path"], source[key])
at = lambda p, name: np.asarray(p[name], np.float64)


def again(method, content, p, style):
    target = (at(p, "targetMean"), at(p, "targetDeviation")) if "targetMean" in p else None
    weight = stains.tissue_weight(content) if p.get("tissueOnly") else None
    if method == "colorist":
        return stains.colorist(content, style), True
    if method == "reinhard":
        return stains.reinhard(content, *target, p["space"], weight)
    if method == "reinhard-modified":
        return stains.reinhard_modified(content, *target), True
    if method == "macenko-normalise":
        return stains.macenko_normalise(content, *((at(p, "targetStains"), at(p, "targetMost")) if "targetMost" in p else ()))
    if method == "macenko-augment":
        return stains.macenko_augment(content, p["scale"], p["shift"], weight)
    if method == "hed-jitter":
        return stains.hed_jitter(content, p["scale"], p["shift"])
    if method == "he-stain":
        rows = p["stains"] if "stains" in p else stains.PRESETS[p["preset"]]
        return stains.he_stain(content, rows, p["scale"], p["shift"], weight), True
    if method == "randstainna":
        return stains.randstainna(content, *target), True
    if method == "histogram-match":
        return stains.histogram_match(content, style, p["blend"]), True
    if method == "fda":
        return stains.fda(content, style, stains.fda_band(*content.shape[:2], p["beta"])), True
    raise ValueError(method)


worst, applied = {}, {}
for line in lines:
    if line["copy"] == 0 or "error" in line:
        continue
    content, result = image_of(line["key"]), read(os.path.dirname(manifest), line["output"])
    name, expected, did = "as it was", content, True
    for op in line["ops"]:
        name = op["op"]
        style = image_of(op["style"]["key"]) if "style" in op else None
        expected, did = again(name, content, op["params"], style)
        assert did == op["applied"], line
    worst[name] = max(worst.get(name, 0), int(np.abs(expected.astype(int) - result).max()))
    applied[name] = applied.get(name, 0) + 1
print(json.dumps({"worst": worst, "count": applied}))
