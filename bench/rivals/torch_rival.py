"""PyTorch as a rival: reads requests from stdin, one JSON document a line, and answers each with one line on stdout.

The model is written down here once more, as it is published, so that it runs with torch and numpy alone (torch 1.13 and
later). Variants: `eager f32` (every one of the 4L block passes, no TF32), `eager f16` (16-bit weights and activations,
fused attention) and `compile f16` (the same through torch.compile). Training knows the first two, `eager f16` being
autocast with a gradient scaler. On CUDA where torch sees it, else on the CPU.
"""

import json
import os
import struct
import sys
import time

# Whatever libraries print must not stand between the answers.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(document):
    ANSWERS.write(json.dumps(document) + "\n")
    ANSWERS.flush()


try:
    import numpy as np
    import torch
    import torch.nn.functional as F
except Exception as error:  # noqa: BLE001 - a broken installation fails in many ways
    answer({"skip": f"{sys.executable}: {error}"})
    sys.exit()

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
SDPA = getattr(F, "scaled_dot_product_attention", None)
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False


class Skip(Exception):
    """A variant that cannot be had here; its text is the reason."""


# ------------------------------------------------------------------------------------------------ safetensors
KINDS = {"F32": np.float32, "F16": np.float16}


def load_tensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = np.fromfile(file, dtype=np.uint8)
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            tensors[name] = data[begin:end].view(KINDS[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def save_tensor(path, name, values):
    values = np.ascontiguousarray(values, dtype=np.float32)
    header = json.dumps({name: {"dtype": "F32", "shape": list(values.shape), "data_offsets": [0, values.nbytes]}}).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + values.tobytes())


# ------------------------------------------------------------------------------------------------ the model
class Block(torch.nn.Module):
    """Pre-norm attention from x to y and MLP; the norm of the input stands before both."""

    def __init__(self, config, fused):
        super().__init__()
        width, bias = config["embed_dim"], config["qkv_bias"]
        hidden = int(width * config["mlp_ratio"] + 1e-6)
        self.heads, self.fused = config["num_heads"], fused
        self.norm_input = torch.nn.LayerNorm(width, eps=1e-6)
        self.norm_context = torch.nn.LayerNorm(width, eps=1e-6)
        self.attn = torch.nn.ModuleDict(
            {name: torch.nn.Linear(width, width, bias=bias) for name in ("q_proj", "k_proj", "v_proj")}
        )
        self.attn["out_proj"] = torch.nn.Linear(width, width)
        self.mlp = torch.nn.ModuleDict({"fc1": torch.nn.Linear(width, hidden), "fc2": torch.nn.Linear(hidden, width)})

    def attention(self, x, y):
        def heads(z, name):
            return self.attn[name](z).unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = heads(x, "q_proj"), heads(y, "k_proj"), heads(y, "v_proj")
        if self.fused:
            mixed = SDPA(q, k, v)
        else:
            mixed = ((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5).softmax(-1) @ v
        return self.attn["out_proj"](mixed.transpose(1, 2).flatten(2))

    def forward(self, x, y):
        x = x + self.attention(self.norm_input(x), self.norm_context(y))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm_input(x))))


class StylizingViT(torch.nn.Module):
    def __init__(self, config, fused):
        super().__init__()
        width, channels, patch = config["embed_dim"], config["in_channels"], config["patch_size"]
        self.channels, self.patch, self.side = channels, patch, config["image_size"] // patch
        self.encoder = torch.nn.Module()
        self.encoder.cls_token = torch.nn.Parameter(torch.empty(1, 1, width))
        self.encoder.pos_embed = torch.nn.Parameter(torch.empty(1, self.side**2 + 1, width))
        self.encoder.patch_embed = torch.nn.ModuleDict({"proj": torch.nn.Conv2d(channels, width, patch, patch)})
        self.encoder.blocks = torch.nn.ModuleList(Block(config, fused) for _ in range(config["depth"]))
        self.encoder.norm = torch.nn.LayerNorm(width, eps=1e-6)
        hidden = int(width * config["bottleneck_mlp_ratio"] + 1e-6)
        self.bottleneck = torch.nn.ModuleDict(
            {"fc1": torch.nn.Linear(width, hidden), "fc2": torch.nn.Linear(hidden, width)}
        )
        kernel = config["post_process_conv_kernel_size"]
        self.post_process_conv = torch.nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)

    def embed(self, image):
        tokens = self.encoder.patch_embed["proj"](image).flatten(2).transpose(1, 2)
        cls = self.encoder.cls_token.expand(len(image), -1, -1)
        return torch.cat((cls, tokens), 1) + self.encoder.pos_embed

    def encode(self, content, style):
        """The three streams behind the last layer, not normalised: anatomy, style, stylized."""
        anatomy, style = self.embed(content), self.embed(style)
        query = anatomy
        for block in self.encoder.blocks:
            anatomy = block(anatomy, anatomy)
            stylized = block(query, style)
            style = block(style, style)
            query = block(anatomy, stylized)
        return anatomy, style, stylized

    def forward(self, content, style):
        return self.decode(self.encoder.norm(self.encode(content, style)[2]))

    def decode(self, tokens):
        tokens = self.bottleneck["fc2"](F.gelu(self.bottleneck["fc1"](tokens)))[:, 1:]
        batch, channels, patch, side = len(tokens), self.channels, self.patch, self.side
        left, right = tokens.chunk(2, -1)
        product = left.reshape(batch, side**2, channels, patch, -1) @ right.reshape(batch, side**2, channels, -1, patch)
        # [C, P, P] in memory is read back as [P, P, C]: that is what the weights were trained with.
        image = product.reshape(batch, side, side, patch, patch, channels).permute(0, 5, 1, 3, 2, 4)
        return self.post_process_conv(image.reshape(batch, channels, side * patch, side * patch))


# ------------------------------------------------------------------------------------------------ training
VGG19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
LOSS_WEIGHTS = {"identity": 70.0, "consistency": 1.0, "anatomical": 7.0, "style": 10.0}


class Vgg(torch.nn.Module):
    """VGG-19's six maps: behind the last ReLU of every stage, and behind the last pooling."""

    def __init__(self, channels):
        super().__init__()
        self.stages, index = [], 0
        for outputs, count in VGG19:
            self.stages.append([f"features_{index + 2 * at}" for at in range(count)])
            for name in self.stages[-1]:
                self.add_module(name, torch.nn.Conv2d(channels, outputs, 3, padding=1))
                channels = outputs
            index += 2 * count + 1

    def forward(self, x):
        maps = []
        for stage in self.stages:
            for name in stage:
                x = F.relu(getattr(self, name)(x), inplace=True)
            maps.append(x)
            x = F.max_pool2d(x, 2)
        return [*maps, x]


def statistics(maps):
    variance, mean = torch.var_mean(maps.flatten(2), dim=2, unbiased=False)
    return mean[..., None, None], variance.clamp(min=1e-5).sqrt()[..., None, None]


def training_losses(model, vgg, content, style):
    """The four terms as published: three decodings, and VGG-19 over five batches of images."""
    decoded = [model.decode(model.encoder.norm(stream)) for stream in model.encode(content, style)]
    reconstruction, style_reconstruction, stylized = decoded
    terms = {
        "identity": F.mse_loss(reconstruction, content) + F.mse_loss(style_reconstruction, style),
        "consistency": 0.0,
        "anatomical": 0.0,
        "style": 0.0,
    }
    images = (content, style, stylized, reconstruction, style_reconstruction)
    for maps in zip(*(vgg(image) for image in images)):
        # Under autocast the maps are of 16 bits; sums over them are not.
        of_content, of_style, of_stylized, of_reconstruction, of_style_reconstruction = (one.float() for one in maps)
        (content_mean, content_std), (style_mean, style_std) = statistics(of_content), statistics(of_style)
        mean, std = statistics(of_stylized)
        terms["consistency"] += F.mse_loss(of_content, of_reconstruction) + F.mse_loss(of_style, of_style_reconstruction)
        terms["anatomical"] += F.mse_loss((of_content - content_mean) / content_std, (of_stylized - mean) / std)
        terms["style"] += F.mse_loss(style_mean, mean) + F.mse_loss(style_std, std)
    return terms


class Training:
    """A model, the losses' network and an optimiser, and steps over one batch of images."""

    def __init__(self, rival, variant, vgg, learning_rate):
        self.float16 = variant.endswith("f16")
        self.rival = rival
        # Sizes never change: the best convolutions are looked for once, as whoever trains would have it.
        torch.backends.cudnn.benchmark = True
        self.model = StylizingViT(rival.config, fused=self.float16)
        self.model.load_state_dict({name: torch.from_numpy(values.copy()) for name, values in rival.weights.items()})
        self.model.to(DEVICE).train()
        self.vgg = Vgg(rival.config["in_channels"])
        prefix = "vgg_encoder."
        tensors = load_tensors(vgg).items()
        self.vgg.load_state_dict({name[len(prefix) :]: torch.from_numpy(values.copy()) for name, values in tensors})
        self.vgg.to(DEVICE).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=learning_rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
        )
        self.scaler = torch.cuda.amp.GradScaler(enabled=self.float16)

    def step(self):
        """From 8-bit images in host memory to new weights; the style of each image is the next one."""
        start = time.perf_counter()
        content = self.rival.normalised(self.rival.pixels[0])
        with torch.enable_grad():
            with torch.autocast(DEVICE.type, torch.float16 if self.float16 else torch.bfloat16, enabled=self.float16):
                terms = training_losses(self.model, self.vgg, content, content.roll(-1, 0))
            total = sum(weight * terms[name] for name, weight in LOSS_WEIGHTS.items())
            self.optimizer.zero_grad()
            self.scaler.scale(total).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        losses = torch.stack([terms[name].detach() for name in LOSS_WEIGHTS]).tolist()
        synchronize()
        return {"milliseconds": 1000 * (time.perf_counter() - start), "losses": dict(zip(LOSS_WEIGHTS, losses))}


# ------------------------------------------------------------------------------------------------ requests
def synchronize():
    if CUDA:
        torch.cuda.synchronize()


class Rival:
    def __init__(self):
        self.variants = {}
        self.training = None

    def load(self, weights=None, config=None, inputs=None):
        """Weights with their configuration, a batch of normalised planes [B, C, S, S], or both."""
        if weights:
            self.config, self.weights, self.variants = config, load_tensors(weights), {}
        if inputs:
            planes = load_tensors(inputs)
            self.planes = [torch.from_numpy(planes[name]) for name in ("content", "style")]
            shape = (1, -1, 1, 1)
            self.mean = torch.tensor(self.config["mean"]).reshape(shape).to(DEVICE)
            self.std = torch.tensor(self.config["std"]).reshape(shape).to(DEVICE)
            # The images that the planes were made from, [B, S, S, C]: whole numbers, so that rounding finds them again.
            self.pixels = [
                ((x * self.std.cpu() + self.mean.cpu()) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
                for x in self.planes
            ]
            if CUDA:
                self.pixels = [x.pin_memory() for x in self.pixels]
        return {}

    def prepare(self, variant):
        """Makes a variant and runs it once, which compiles what is to be compiled."""
        float16 = variant.endswith("f16")
        if float16 and not CUDA:
            raise Skip("16-bit floats on a CPU are no rival: torch sees no CUDA device")
        if float16 and SDPA is None:
            raise Skip(f"torch {torch.__version__} has no scaled_dot_product_attention")
        if variant.startswith("compile") and not hasattr(torch, "compile"):
            raise Skip(f"torch {torch.__version__} has no torch.compile")
        start = time.perf_counter()
        model = StylizingViT(self.config, fused=float16)
        parameters = {name: torch.from_numpy(values.copy()) for name, values in self.weights.items()}
        model.load_state_dict(parameters)
        model = model.to(DEVICE, torch.float16 if float16 else torch.float32).eval()
        run = model
        if variant.startswith("compile"):
            run = torch.compile(model, dynamic=False)
        self.variants[variant] = (run, torch.float16 if float16 else torch.float32)
        try:
            self.run(variant)
        except Exception as error:  # noqa: BLE001 - compilers are missing or fail in many ways
            del self.variants[variant]
            if variant.startswith("compile"):
                raise Skip(f"torch.compile failed: {str(error).strip().splitlines()[0][:200]}") from error
            raise
        return {"seconds": time.perf_counter() - start, "cuda": CUDA}

    def free(self, variant):
        self.variants.pop(variant, None)
        if CUDA:
            torch.cuda.empty_cache()
        return {}

    def check(self, variant, output, images):
        """The whole batch from planes; `stylized` of some images goes to a file, in F32.

        Also by how many levels the images of `run` are off from those planes."""
        run, kind = self.variants[variant]
        content, style = (x.to(DEVICE).to(kind) for x in self.planes)
        stylized = run(content, style)
        save_tensor(output, "stylized", stylized[images].float().cpu().numpy())
        self.run(variant)
        wanted = ((stylized.float() * self.std + self.mean).clamp(0, 1) * 255).permute(0, 2, 3, 1).cpu()
        return {"levels": round((self.painted.float() - wanted).abs().max().item() - 0.5)}

    def run(self, variant):
        """From 8-bit images in host memory to 8-bit images in host memory, as anyone would do it on the device."""
        run, kind = self.variants[variant]
        synchronize()
        start = time.perf_counter()
        content, style = (self.normalised(x).to(kind).contiguous() for x in self.pixels)
        synchronize()
        before = time.perf_counter()
        stylized = run(content, style)
        synchronize()
        after = time.perf_counter()
        painted = ((stylized.float() * self.std + self.mean).clamp(0, 1) * 255).round().to(torch.uint8)
        self.painted = painted.permute(0, 2, 3, 1).contiguous().cpu()
        end = time.perf_counter()
        return {"milliseconds": 1000 * (end - start), "model": 1000 * (after - before)}

    def normalised(self, pixels):
        """[B, S, S, C] bytes on the host to [B, C, S, S] on the device."""
        return (pixels.to(DEVICE, non_blocking=True).permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std

    def train(self, variant, vgg, learning_rate):
        """Prepares training over the loaded weights and contents and does the first step, whose losses are answered."""
        if variant.endswith("f16") and not CUDA:
            raise Skip("16-bit floats on a CPU are no rival: torch sees no CUDA device")
        if variant.endswith("f16") and SDPA is None:
            raise Skip(f"torch {torch.__version__} has no scaled_dot_product_attention")
        self.training = Training(self, variant, vgg, learning_rate)
        return self.training.step()

    def train_step(self):
        return self.training.step()

    def train_free(self):
        self.training = None
        if CUDA:
            torch.cuda.empty_cache()
        return {}

    def gemm(self, rows, depth, cols):
        """Milliseconds of one float16 GEMM, rows x depth x cols."""
        self.need_cuda()
        left = torch.randn(rows, depth, device=DEVICE, dtype=torch.float16)
        right = torch.randn(depth, cols, device=DEVICE, dtype=torch.float16)
        return self.repeat(lambda: left @ right)

    def attention(self, sequences, heads, tokens, head):
        """Milliseconds of one fused float16 attention."""
        self.need_cuda()
        if SDPA is None:
            raise Skip(f"torch {torch.__version__} has no scaled_dot_product_attention")
        q, k, v = (torch.randn(sequences, heads, tokens, head, device=DEVICE, dtype=torch.float16) for _ in range(3))
        return self.repeat(lambda: SDPA(q, k, v))

    @staticmethod
    def need_cuda():
        if not CUDA:
            raise Skip("torch sees no CUDA device")

    @staticmethod
    def repeat(work, times=20):
        for _ in range(3):
            work()
        events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(times)]
        for begin, end in events:
            begin.record()
            work()
            end.record()
        torch.cuda.synchronize()
        return {"samples": [begin.elapsed_time(end) for begin, end in events]}


def main():
    name = torch.cuda.get_device_name() if CUDA else f"CPU, {torch.get_num_threads()} threads"
    answer({"name": f"PyTorch {torch.__version__}", "device": name, "cuda": CUDA})
    rival = Rival()
    with torch.no_grad():
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer({"ok": getattr(rival, request.pop("do"))(**request)})
            except Skip as reason:
                answer({"skip": str(reason)})
            except Exception as error:  # noqa: BLE001 - the bench wants to know, whatever it is
                answer({"error": f"{type(error).__name__}: {error}"})


main()
