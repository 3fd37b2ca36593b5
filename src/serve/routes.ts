import type { FastifyInstance, FastifyRequest } from "fastify";
import type { AugmentOptions } from "../augment/augment-options.js";
import type { AugmentItem } from "../augment/augmenter.js";
import type { Chances } from "../augment/draws.js";
import { sha256 } from "../augment/style-source.js";
import { StylizingError } from "../errors.js";
import type { PixelImage } from "../image/types.js";
import { VERSION } from "../version.js";
import type { Batcher } from "./batcher.js";
import { type Body, imagesOf, parseShape, RAW, rawBody, SAFETENSORS, safetensorsBody, safetensorsOf } from "./body.js";
import type { Gate } from "./gate.js";
import type { ServiceMetrics } from "./metrics.js";
import type { NamedStyles } from "./named-styles.js";
import { chancesOf, epochOf, keysOf, WISHES, wishesOf } from "./wishes.js";

export interface RouteOptions {
  /** What the service was started with, and that settled. */
  own: AugmentOptions;
  plan: Chances;
  batcher: Batcher;
  styles: NamedStyles;
  metrics: ServiceMetrics;
  gate: Gate;
  stopping(): boolean;
}

export function addRoutes(app: FastifyInstance, { own, plan, batcher, styles, metrics, gate, stopping }: RouteOptions): void {
  app.get("/health", async (_request, reply) =>
    reply.code(stopping() ? 503 : 200).send({ status: stopping() ? "stopping" : "ok", version: VERSION }),
  );

  app.get("/metrics", async (_request, reply) => reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()));

  app.post<{ Params: { name: string } }>("/v1/styles/:name", async (request, reply) => {
    const { shape } = wishesOf(request.query, ["shape"]);
    const [image] = imagesOf("image", tensorOf(bodyOf(request, "image", shape), "image"), 3);
    const { style, created } = styles.put(request.params.name, image!);
    const { width, height, channels } = style.image;
    return reply.code(created ? 201 : 200).send({ name: style.key, sha256: style.sha256, shape: [height, width, channels] });
  });

  app.delete<{ Params: { name: string } }>("/v1/styles/:name", async (request, reply) => {
    styles.delete(request.params.name);
    return reply.code(204).send();
  });

  app.post("/v1/augment", async (request, reply) => {
    const wishes = wishesOf(request.query, WISHES);
    const body = bodyOf(request, "images", wishes.shape);
    const tensor = tensorOf(body, "images");
    const images = imagesOf("images", tensor, 4);
    const keys = keysOf(wishes.keys ?? body.metadata.get("keys"), images.length);
    const chances = chancesOf(wishes, own, plan);
    const epoch = epochOf(wishes);
    const beside = stylesBeside(body, images.length);
    if (beside && wishes.styles !== undefined)
      throw new StylizingError("ARGUMENT", "Styles are named, and others sent beside the images.", "Name them, or send them.");
    const source = wishes.styles === undefined ? undefined : styles.among(wishes.styles.split(","));
    const items = images.map(
      (content, index): AugmentItem => ({
        ...{ key: keys[index]!, epoch, content, chances, source },
        style: beside && styleOf(keys[index]!, beside[index]!),
      }),
    );
    const done = await batcher.submit(items, request.raw.socket, gate.signalOf(request));
    const pixels = done.map(({ image }) => image.data);
    if (typeOf(request) === RAW) return reply.type(RAW).header("shape", tensor.shape.join(",")).send(Buffer.concat(pixels));
    const ops = JSON.stringify(done.map((one) => one.ops));
    return reply.type(SAFETENSORS).send(safetensorsOf("images", tensor.shape, pixels, { ops }));
  });
}

/** One style an image, where a body has some. @throws StylizingError `ARGUMENT` */
function stylesBeside({ tensors }: Body, count: number): PixelImage[] | undefined {
  const tensor = tensors.get("styles");
  if (!tensor) return undefined;
  const styles = imagesOf("styles", tensor, 4);
  if (styles.length === count) return styles;
  throw new StylizingError("ARGUMENT", `There are ${count} images and ${styles.length} styles.`, "Send one for each.");
}

/** As `Augmenter.apply` names it; hashed only where the image is restyled. */
const styleOf = (key: string, image: PixelImage): NonNullable<AugmentItem["style"]> => ({
  ...{ key, image },
  get sha256() {
    return sha256(image.data);
  },
});

/** A body by its type. @throws StylizingError `ARGUMENT` @param name of a raw one's tensor */
function bodyOf({ headers, body }: FastifyRequest, name: string, shape: string | undefined): Body {
  if (!(body instanceof Buffer))
    throw new StylizingError("ARGUMENT", "The request has no body.", `Send ${RAW} or ${SAFETENSORS}.`);
  return headers["content-type"]?.startsWith(RAW) ? rawBody(name, parseShape(shape), body) : safetensorsBody(body);
}

function tensorOf({ tensors }: Body, name: string) {
  const tensor = tensors.get(name);
  if (tensor) return tensor;
  throw new StylizingError("ARGUMENT", `The body has no tensor "${name}".`, `Send safetensors with one, uint8.`);
}

/** What an answer is in: what the client accepts, else what it sent. */
function typeOf({ headers }: FastifyRequest): string {
  const { accept = "", "content-type": sent = "" } = headers;
  const asked = [RAW, SAFETENSORS].find((type) => accept.includes(type));
  return asked ?? (sent.startsWith(RAW) ? RAW : SAFETENSORS);
}
