import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

/** What gauges read when they are asked. */
export interface Levels {
  images(): number;
  bytes(): number;
  styles(): number;
}

/** What `/metrics` says, in Prometheus' text format. */
export class ServiceMetrics {
  readonly registry = new Registry();
  readonly #requests: Counter<"route" | "code">;
  readonly #seconds: Histogram<"route">;
  readonly #bytes: Counter<"direction">;
  readonly #images: Counter;
  readonly #batches: Counter;
  readonly #fill: Histogram;
  readonly #batch: number;

  /** @param batch images of a full one. */
  constructor(batch: number, levels: Levels) {
    this.#batch = batch;
    const registers = [this.registry];
    const gauge = (name: string, help: string, read: () => number) =>
      new Gauge({
        ...{ name, help, registers },
        collect() {
          this.set(read());
        },
      });
    // Memory, above all, by the names that Prometheus' own libraries give it.
    collectDefaultMetrics({ register: this.registry });
    gauge("stylizing_vit_queue_images", "Images that wait", levels.images);
    gauge("stylizing_vit_held_bytes", "Bytes of bodies that are held", levels.bytes);
    gauge("stylizing_vit_styles", "Styles that are kept", levels.styles);
    this.#requests = new Counter({
      ...{ name: "stylizing_vit_requests_total", help: "Requests by status", labelNames: ["route", "code"], registers },
    });
    this.#seconds = new Histogram({
      ...{ name: "stylizing_vit_request_seconds", help: "From a request's header to its answer's last byte", registers },
      ...{ labelNames: ["route"], buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] },
    });
    this.#bytes = new Counter({
      ...{ name: "stylizing_vit_bytes_total", help: "Bytes of bodies", labelNames: ["direction"], registers },
    });
    this.#images = new Counter({ name: "stylizing_vit_images_total", help: "Images of batches", registers });
    this.#batches = new Counter({ name: "stylizing_vit_batches_total", help: "Batches", registers });
    this.#fill = new Histogram({
      ...{ name: "stylizing_vit_batch_fill", help: "Images of a batch over those of a full one", registers },
      buckets: [0.1, 0.25, 0.5, 0.75, 0.9, 1],
    });
  }

  batch(images: number): void {
    this.#batches.inc();
    this.#images.inc(images);
    this.#fill.observe(images / this.#batch);
  }

  bytes(direction: "in" | "out", count: number): void {
    this.#bytes.inc({ direction }, count);
  }

  /** @param code an HTTP status, or 499 where the client hung up first, as nginx counts it. */
  request(route: string, code: number, seconds: number): void {
    this.#requests.inc({ route, code: String(code) });
    this.#seconds.observe({ route }, seconds);
  }
}
