"""Client of `stylizing-vit serve`: restyles batches of images for training loops. Needs numpy and nothing else.

    from stylizing_vit import Augmenter

    augment = Augmenter("http://127.0.0.1:8787", method="colorist", seed=7)
    restyled = augment(images, keys, epoch=1, styles=np.roll(images, 1, axis=0))  # uint8, [n, h, w, c]

The same seed, epoch and keys give the same bytes, whatever the batch: `augment.ops` says what was done to each image.
"""

import http.client
import json
import os
import socket
import struct
import threading
import time
import urllib.parse

import numpy as np

__all__ = ["Augmenter", "AugmenterError"]


class AugmenterError(Exception):
    """What the service refused: `code`, a stable word to branch on, `fix`, what to do, and `status`, HTTP's."""

    def __init__(self, code, message, fix, status=None):
        super().__init__(message)
        self.code, self.fix, self.status = code, fix, status

    def __reduce__(self):
        return AugmenterError, (self.code, str(self), self.fix, self.status)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Augmenter:
    """Restyles images by a running service, over one connection.

    address: the service's URL, or the path of its Unix socket.
    token: what its token file holds, where it has one.
    method, params, p (or portion), strength, style_crop, seed: as `stylizing-vit augment` has them; what is not given is as the service was started.
    patience: seconds to go on asking while the service is busy or cannot be reached.
    timeout: seconds to wait for one answer.

    It may be used by several threads, which take turns, and handed to worker processes, each of which opens a connection of its own.
    """

    def __init__(self, address="http://127.0.0.1:8787", *, token=None, method=None, params=None, p=None, portion=None,
                 strength=None, style_crop=None, seed=None, patience=60.0, timeout=300.0):
        url = urllib.parse.urlsplit(address)
        if url.scheme not in ("", "http", "https"):
            raise ValueError(f"{address} is neither a URL nor the path of a socket")
        self.address, self.ops = address, []
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._patience, self._timeout = patience, timeout
        if isinstance(strength, (tuple, list)):
            strength = ":".join(map(str, strength))
        wishes = {
            "method": method, "params": None if params is None else json.dumps(params), "p": p, "portion": portion,
            "strength": strength, "style-crop": None if style_crop is None else str(bool(style_crop)).lower(), "seed": seed,
        }
        self._wishes = {name: value for name, value in wishes.items() if value is not None}
        self._forget()

    def __call__(self, images, keys, epoch=1, styles=None):
        """Restyles images, uint8 [n, h, w, c] with 1 or 3 channels, and returns them so.

        keys: one text an image: what is drawn hangs on it, so that an image keeps its key in every epoch.
        epoch: other draws for the same keys.
        styles: an array of as many images, of any size; or names of uploaded styles (`style`), of which one is drawn for each.
        """
        images = _pixels("images", images, 4)
        tensors, query = {"images": images}, {**self._wishes, "epoch": epoch}
        styles = [styles] if isinstance(styles, str) else styles
        if styles is not None and all(isinstance(style, str) for style in styles):
            query["styles"] = ",".join(styles)
        elif styles is not None:
            tensors["styles"] = _pixels("styles", styles, 4)
        body = _write(tensors, {"keys": json.dumps([str(key) for key in keys])})
        answer = self._send("POST", "/v1/augment?" + urllib.parse.urlencode(query), body)
        restyled, metadata = _read(answer)
        self.ops = json.loads(metadata["ops"])
        return restyled

    def style(self, name, image):
        """Uploads an image, uint8 [h, w, c], to be named in `styles`. The name stands for these pixels until it is deleted."""
        self._send("POST", "/v1/styles/" + urllib.parse.quote(name, ""), _write({"image": _pixels("image", image, 3)}, {}))

    def delete_style(self, name):
        self._send("DELETE", "/v1/styles/" + urllib.parse.quote(name, ""))

    def close(self):
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name not in ("_connection", "_lock")}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._forget()

    def _forget(self):
        self._connection, self._lock, self._process = None, threading.Lock(), os.getpid()

    def _send(self, verb, path, body=None):
        if self._process != os.getpid():  # Forked: the parent's connection and lock are its own.
            self._forget()
        with self._lock:
            until, pause = time.monotonic() + self._patience, 0.1
            while True:
                try:
                    status, headers, answer = self._ask(verb, path, body)
                except socket.timeout as error:
                    self._drop()
                    raise AugmenterError("TIMEOUT", f"The service at {self.address} did not answer in {self._timeout} s.",
                                         "Send fewer images at a time, or give a longer timeout.") from error
                except (OSError, http.client.HTTPException) as error:
                    # Asking twice does no harm: an answer is a function of what is asked.
                    self._drop()
                    if time.monotonic() + pause > until:
                        raise AugmenterError("UNREACHABLE", f"The service at {self.address} cannot be reached ({error}).",
                                             "Start it with `stylizing-vit serve`, or give its address.") from error
                else:
                    if status < 300:
                        return answer
                    error = _error(status, answer)
                    if status != 429 or time.monotonic() >= until:
                        raise error
                    after = headers.get("Retry-After", "")
                    pause = float(after) if after.isdigit() else pause
                time.sleep(max(0.0, min(pause, until - time.monotonic())))
                pause = min(2 * pause, 2.0)

    def _ask(self, verb, path, body):
        if self._connection is None:
            url = urllib.parse.urlsplit(self.address)
            if url.scheme:
                kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
                self._connection = kind(url.hostname, url.port, timeout=self._timeout)
            else:
                self._connection = _UnixConnection(self.address, self._timeout)
        headers = dict(self._headers)
        if body is not None:
            headers.update({"Content-Type": "application/safetensors", "Content-Length": str(sum(map(len, body)))})
        try:
            self._connection.request(verb, path, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            # It may have answered before it was sent all, and closed the connection.
            if self._connection.sock is None:
                raise
        response = self._connection.getresponse()
        answer = response.read()
        if response.will_close:
            self._drop()
        return response.status, response.headers, answer

    def _drop(self):
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _pixels(what, images, rank):
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise AugmenterError("ARGUMENT", f"{what} are {images.dtype}.", "Give uint8 from 0 to 255: (255 * x).round().astype(np.uint8).")
    if images.ndim != rank or images.shape[-1] not in (1, 3):
        raise AugmenterError("ARGUMENT", f"{what} have the shape {images.shape}.",
                             f"Give {'n, h, w, c' if rank == 4 else 'h, w, c'}, with 1 or 3 channels, channels last.")
    return np.ascontiguousarray(images)


def _write(tensors, metadata):
    """Safetensors, in pieces: the length of a JSON header, the header, the arrays."""
    header, end = {"__metadata__": metadata} if metadata else {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": "U8", "shape": array.shape, "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header).encode()
    return [struct.pack("<Q", len(text)), text, *(memoryview(array).cast("B") for array in tensors.values())]


def _read(answer):
    (length,) = struct.unpack("<Q", answer[:8])
    header = json.loads(answer[8 : 8 + length])
    images = header["images"]
    # A copy, since bytes cannot be written to.
    return np.frombuffer(answer, np.uint8, offset=8 + length).reshape(images["shape"]).copy(), header["__metadata__"]


def _error(status, answer):
    try:
        error = json.loads(answer)["error"]
        return AugmenterError(error["code"], error["message"], error["fix"], status)
    except (ValueError, KeyError, TypeError):
        return AugmenterError("UNEXPECTED", f"The service answered {status}: {answer[:200]!r}", "Is it stylizing-vit's?", status)
