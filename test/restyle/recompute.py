"""Recomputes results of closed forms with the float64 oracle, from their numbers alone. stdin: [{method, params, content, style, expected}], images
as {width, height, data: base64}; stdout: for each the largest difference in levels and whether the oracle applied it."""
import base64
import json
import sys

import numpy as np

sys.path.insert(0, sys.argv[1])
import stains as s


def image(given):
    return np.frombuffer(base64.b64decode(given["data"]), np.uint8).reshape(given["height"], given["width"], 3)


def recompute(method, p, x, style):
    tissue = s.tissue_weight(x) if p.get("tissueOnly") else None
    targets = [np.array(p[name]) for name in ("targetMean", "targetDeviation") if name in p]
    if method == "colorist":
        return s.colorist(x, style), True
    if method == "reinhard":
        return s.reinhard(x, *targets, space=p["space"], weight=tissue)
    if method == "reinhard-modified":
        return s.reinhard_modified(x, *targets), True
    if method == "macenko-normalise":
        return s.macenko_normalise(x, np.array(p["targetStains"]), np.array(p["targetMost"]))
    if method == "macenko-augment":
        return s.macenko_augment(x, p["scale"], p["shift"], tissue)
    if method == "hed-jitter":
        return s.hed_jitter(x, p["scale"], p["shift"])
    if method == "he-stain":
        return s.he_stain(x, p["stains"] if "stains" in p else s.PRESETS[p["preset"]], p["scale"], p["shift"], tissue), True
    if method == "randstainna":
        if "table" in p:
            again = s.randstainna_target(p["table"], p["zMean"], p["zDeviation"], p["distribution"], p["stdHyper"])
            assert np.allclose(again, targets, rtol=1e-12)
        return s.randstainna(x, *targets), True
    if method == "fda":
        return s.fda(x, style, s.fda_band(*x.shape[:2], p["beta"])), True
    assert method == "histogram-match"
    return s.histogram_match(x, style, p["blend"]), True


answers = []
for case in json.load(sys.stdin):
    content = image(case["content"])
    result, applied = recompute(case["method"], case["params"], content, image(case["style"]) if case["style"] else None)
    apart = int(np.abs(result.astype(int) - image(case["expected"])).max())
    answers.append({"apart": apart, "applied": bool(applied)})
print(json.dumps(answers))
