"""Recomputes every draw of a manifest: python3 augment_draws.py OUT/manifest.jsonl (the standard library alone; see augment.md)."""
import json, math, sys

M = 0xFFFFFFFF

def mix32(x):
    x = (x ^ x >> 16) * 0x21F0AAAD & M
    x = (x ^ x >> 15) * 0x735A2D97 & M
    return x ^ x >> 15

def fnv1a(text):
    h = 0x811C9DC5
    for byte in text.encode(): h = (h ^ byte) * 0x01000193 & M
    return h

def draw(*numbers):
    """[0, 1), of seed, epoch, fnv1a(key), fnv1a(operation) and the draw's number."""
    x = 0x9E3779B9
    for word in (half for n in numbers for half in (n & M, n >> 32 & M)): x = mix32(x * 0x85EBCA6B + word & M)
    return x / 2**32

def standard(kind, u, v):
    if kind == "uniform": return 2 * u - 1
    if kind == "normal": return math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v)
    return math.copysign(math.log(1 - 2 * abs(max(u, 2**-33) - 0.5)), u - 0.5)

def drawn(name, given, d):
    theta, kind = given.get("theta", 0.05), given.get("distribution", "normal")
    if name == "randstainna":
        z = [standard(kind, d(2 * i), d(2 * i + 1)) for i in range(6)]
        return {"zMean": z[:3], "zDeviation": z[3:]}
    n, reach, shift = {"macenko-augment": (2, 0.2, 0.2), "he-stain": (2, 0.3, 0.2), "hed-jitter": (3, theta, theta)}.get(name, (0, 0, 0))
    around = lambda first, low, high: [low + (high - low) * d(first + i) for i in range(n)]
    return {"scale": around(0, 1 - reach, 1 + reach), "shift": around(n, -shift, shift)} if n else {}

header, *lines = map(json.loads, open(sys.argv[1], encoding="utf-8"))
way, copies = header["pipeline"], [line for line in lines if line["copy"] > 0 and "error" not in line]
for line in copies:
    of = lambda operation, number=0: draw(way["seed"], line["copy"], fnv1a(line["key"]), fnv1a(operation), number)
    assert (of("apply") < way["p"]) == bool(line["ops"]), line
    for op in line["ops"]:
        left = of("method") * sum(method["weight"] for method in way["methods"])
        method = next(m for m in way["methods"] if (left := left - m["weight"]) < 0)
        wanted = drawn(method["name"], method["params"], lambda number: of(method["name"], number)) | method["params"]
        assert method["name"] == op["op"], line
        assert op.get("strength", 1) == way["strength"][0] + (way["strength"][1] - way["strength"][0]) * of("strength"), line
        numbers = [(a, b) for name in ("scale", "shift", "zMean", "zDeviation") if name in wanted for a, b in zip(wanted[name], op["params"][name])]
        assert all(abs(a - b) < 1e-12 for a, b in numbers), line
print(f"{len(copies)} outputs: all that was drawn is as the manifest says")
