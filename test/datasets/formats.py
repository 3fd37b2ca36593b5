"""A data set in every format, written and read by Python's own libraries: numpy, Pillow, tarfile, csv, json, and pyarrow where it is.

    formats.py write DRAWN OUT      from DRAWN/index.json and the files that it names
    formats.py read FORMAT PATH...  a line of JSON for each sample: key, label, SHA-256 of pixels and of the mask's file;
                                    before them one with the path
"""
import csv
import glob
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import zipfile

import numpy as np
from PIL import Image

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    pa = None


def sha(data):
    return hashlib.sha256(data).hexdigest()


def pixels(data):
    return sha(np.asarray(Image.open(io.BytesIO(data))).tobytes())


def content(path):
    with open(path, "rb") as file:
        return file.read()


def put(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def write(drawn, out):
    index = json.load(open(f"{drawn}/index.json"))
    images = [content(f"{drawn}/{one['image']}") for one in index]
    masks = [content(f"{drawn}/{one['mask']}") for one in index]
    arrays = np.stack([np.asarray(Image.open(io.BytesIO(image))) for image in images])
    labels = np.array([[one["number"]] for one in index], dtype=np.uint8)

    rows = []
    for i, (one, image) in enumerate(zip(index, images)):
        x, y = 96 * i, 32 * i
        patient = f"{7 * one['center'] + 4:03d}"
        folder = f"patient_{patient}_node_{one['center']}"
        put(f"{out}/camelyon/patches/{folder}/patch_{folder}_x_{x}_y_{y}.png", image)
        rows.append([i, patient, one["center"], x, y, one["number"], one["center"], one["center"], 0])
    with open(f"{out}/camelyon/metadata.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "patient", "node", "x_coord", "y_coord", "tumor", "slide", "center", "split"])
        writer.writerows(rows)

    for one, image, mask in zip(index, images, masks):
        put(f"{out}/table/tiles/{one['key']}.png", image)
        put(f"{out}/table/masks/{one['key']}.png", mask)
    with open(f"{out}/table/labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["note", "path", "label", "mask", "hospital"])
        for one in index:
            writer.writerow([f'so, "{one["key"]}"', f"tiles/{one['key']}.png", one["label"], f"masks/{one['key']}.png", one["center"]])

    more = {"val_images": arrays[:3], "val_labels": labels[:3], "test_images": arrays[3:5, ::2, ::2], "test_labels": labels[3:5]}
    centers = np.array([one["center"] for one in index], dtype=np.int64)
    train = {"train_images": arrays, "train_labels": labels, "train_center": centers}
    np.savez(f"{out}/plain.npz", **train, **more)
    np.savez_compressed(f"{out}/packed.npz", **train, **more)
    np.savez(f"{out}/grey.npz", train_images=arrays[..., 0], train_labels=np.hstack([labels, 1 - labels, labels]).astype("<i4"))
    with zipfile.ZipFile(f"{out}/versions.npz", "w") as archive:
        for i, (name, array) in enumerate(train.items()):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, version=((2, 0), (3, 0), (1, 0))[i])

    os.makedirs(f"{out}/shards")
    for kind, mode in (("tar", "w"), ("tar.gz", "w:gz")):
        for shard in range(2):
            name = f"{out}/shards/tiles-{shard:06d}.tar" if kind == "tar" else f"{out}/tiles-{shard}.tar.gz"
            with tarfile.open(name, mode) as archive:
                for one, image, mask in list(zip(index, images, masks))[shard::2]:
                    extra = json.dumps({"center": one["center"], "exact": 0.1}).encode()
                    members = {"png": image, "cls": str(one["number"]).encode(), "mask.png": mask, "json": extra}
                    long = "x" * 120 if kind == "tar" and one is index[0] else one["key"]
                    for ending, data in members.items():
                        info = tarfile.TarInfo(f"{long}.{ending}")
                        info.size = len(data)
                        archive.addfile(info, io.BytesIO(data))

    for name in ("hf", "hf-csv"):
        os.makedirs(f"{out}/{name}")
        for one, image, mask in zip(index, images, masks):
            put(f"{out}/{name}/{one['key']}.png", image)
            put(f"{out}/{name}/masks/{one['key']}.png", mask)
    with open(f"{out}/hf/metadata.jsonl", "w") as file:
        for one in index:
            line = {"label": one["label"], "file_name": f"{one['key']}.png", "mask_file_name": f"masks/{one['key']}.png"}
            # Numbers that JavaScript would write in another way.
            file.write(json.dumps(line)[:-1] + f', "center": {one["center"]}, "big": 12345678901234567890, "float": 1.0}}\n')
    with open(f"{out}/hf-csv/metadata.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "label", "mask_file_name", "center"])
        for one in index:
            writer.writerow([f"{one['key']}.png", one["label"], f"masks/{one['key']}.png", one["center"]])

    if pa:
        write_parquet(out, index, images, masks)
    print("pyarrow" if pa else "no pyarrow")


def write_parquet(out, index, images, masks):
    names = sorted({one["label"] for one in index})
    image = {"_type": "Image"}
    features = {"image": image, "label": {"names": names, "_type": "ClassLabel"}, "mask": image,
                "center": {"dtype": "int32", "_type": "Value"}}  # fmt: skip
    os.makedirs(f"{out}/parquet/data")
    for part, codec in enumerate(("snappy", "zstd")):
        some = list(zip(index, images, masks))[part * len(index) // 2 : (part + 1) * len(index) // 2]
        struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.table({
            "image": pa.array([{"bytes": i, "path": f"{one['key']}.png"} for one, i, _ in some], struct),
            "label": pa.array([names.index(one["label"]) for one, _, _ in some], pa.int64()),
            "mask": pa.array([{"bytes": m, "path": None} for _, _, m in some], struct),
            "center": pa.array([one["center"] for one, _, _ in some], pa.int32()),
            "when": pa.array([1_700_000_000_123 + i for i in range(len(some))], pa.timestamp("ms")),
            "weights": pa.array([[0.5, i / 3] if i else [] for i in range(len(some))], pa.list_(pa.float64())),
            "words": pa.array([None if i % 3 == 0 else f"é{i}" for i in range(len(some))], pa.string()).dictionary_encode(),
        })  # fmt: skip
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, f"{out}/parquet/data/train-{part:05d}-of-00002.parquet", compression=codec, row_group_size=4)


def line(key, label, image, mask, **more):
    print(json.dumps({"key": key, "label": label, "pixels": image, "mask": mask, **more}))


def read_folder(root):
    for path in sorted(glob.glob(f"{root}/**/*.png", recursive=True)):
        stem = path[:-4]
        if not stem.endswith("_mask"):
            mask = f"{stem}_mask.png"
            name = os.path.relpath(stem, root)
            line(name, name.split("/")[0], pixels(content(path)), sha(content(mask)) if os.path.exists(mask) else None)


def read_csv(root):
    for row in csv.DictReader(open(f"{root}/metadata.csv", newline="")):
        mask = sha(content(f"{root}/{row['mask']}")) if row.get("mask") else None
        name = row.get("path") or row["file_name"]
        mask = sha(content(f"{root}/{row['mask_file_name']}")) if row.get("mask_file_name") else mask
        line(name[:-4], row.get("label", row.get("tumor")), pixels(content(f"{root}/{name}")), mask, row=row)


def read_hf(root):
    for text in open(f"{root}/metadata.jsonl"):
        row = json.loads(text)
        mask = sha(content(f"{root}/{row['mask_file_name']}")) if "mask_file_name" in row else None
        line(row["file_name"][:-4], row.get("label"), pixels(content(f"{root}/{row['file_name']}")), mask, text=text)


def read_npz(path):
    with np.load(path) as archive:
        for i, (image, label) in enumerate(zip(archive["train_images"], archive["train_labels"])):
            line(str(i), label.tolist(), sha(image.tobytes()), None)
        for name in archive.files:
            array = archive[name]
            print(json.dumps({"array": name, "sha": sha(array.tobytes()), "shape": array.shape, "type": array.dtype.str}))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def read_wds(root):
    for shard in sorted(glob.glob(f"{root}/*.tar")):
        groups = {}
        with tarfile.open(shard) as archive:
            for member in archive:
                assert (member.mtime, member.mode, member.uid) == (0, 0o644, 0), member
                key, ending = member.name.split(".", 1)
                groups.setdefault(key, {})[ending] = archive.extractfile(member).read()
        for key, one in groups.items():
            mask = sha(one["mask.png"]) if "mask.png" in one else None
            label = int(one["cls"]) if "cls" in one else None
            line(key, label, pixels(one["png"]), mask, json=one.get("json", b"").decode())


def read_parquet(root):
    for path in sorted(glob.glob(f"{root}/data/*.parquet")):
        table = pq.read_table(path)
        names = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["label"].get("names")
        for row in table.to_pylist():
            mask = sha(row["mask"]["bytes"]) if row.get("mask") else None
            label = names[row["label"]] if names else row["label"]
            rest = {name: str(value) for name, value in row.items() if name not in ("image", "mask", "label")}
            line(row["image"]["path"][:-4], label, pixels(row["image"]["bytes"]), mask, rest=rest, schema=str(table.schema.remove_metadata()))


if __name__ == "__main__":
    if sys.argv[1] == "write":
        shutil.rmtree(sys.argv[3], ignore_errors=True)
        os.makedirs(sys.argv[3] + "/camelyon")
        write(sys.argv[2], sys.argv[3])
    else:
        read = {"folder": read_folder, "csv": read_csv, "hf": read_hf, "hf-csv": read_csv,
                "npz": read_npz, "wds": read_wds, "parquet": read_parquet}  # fmt: skip
        for kind, path in zip(sys.argv[2::2], sys.argv[3::2]):
            print(json.dumps({"path": path}))
            read[kind](path)
