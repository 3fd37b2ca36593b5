import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const REPO = "sdoerrich97/stylizing_vit_tiny_epistr";

export interface Served {
  method: string;
  path: string;
  range: string | undefined;
  authorization: string | undefined;
  /** Bytes of the body that were sent. */
  bytes: number;
}

/** Answers before the ordinary handling does; true when it did. `bytes` are those that would be sent. */
export type Interference = (
  request: Served,
  response: ServerResponse,
  bytes: Uint8Array | undefined,
) => boolean | Promise<boolean>;

/** A small Hugging Face Hub with one repository, on 127.0.0.1. */
export class HubServer implements AsyncDisposable {
  readonly requests: Served[] = [];
  readonly branches = new Map<string, string>([["main", COMMIT]]);
  /** Contents, and whether they are stored as large files. */
  readonly files = new Map<string, { bytes: Uint8Array; lfs: boolean; oid?: string }>();
  interfere: Interference = () => false;
  readonly #server: Server;
  readonly #repo: string;

  private constructor(repo: string) {
    this.#repo = repo;
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch(() => response.destroy());
    });
  }

  static async start(repo = REPO): Promise<HubServer> {
    const hub = new HubServer(repo);
    await new Promise<void>((resolve) => hub.#server.listen(0, "127.0.0.1", resolve));
    return hub;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Requests for the contents of a file. */
  downloads(file = "model.safetensors"): Served[] {
    return this.requests.filter((r) => r.path.endsWith(`/${file}`) && r.path.includes("/resolve/"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = decodeURIComponent(new URL(request.url ?? "/", this.url).pathname);
    const { range, authorization } = request.headers;
    const served: Served = { method: request.method ?? "", path, range, authorization, bytes: 0 };
    this.requests.push(served);
    const write = response.write.bind(response);
    response.write = ((chunk: Uint8Array) => {
      served.bytes += chunk.length;
      return write(chunk);
    }) as typeof response.write;
    const file = path.startsWith(`/${this.#repo}/resolve/`) ? this.files.get(path.split("/").at(-1)!) : undefined;
    const offset = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
    const bytes = file?.bytes.subarray(offset);
    if (await this.interfere(served, response, bytes)) return;

    const json = (status: number, value: unknown) => {
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    };
    const api = `/api/models/${this.#repo}`;
    if (path.startsWith(`${api}/revision/`)) {
      const revision = path.slice(`${api}/revision/`.length);
      const sha = this.branches.get(revision);
      return sha ? json(200, { _id: "1", id: this.#repo, sha, lastModified: 0 }) : json(404, { error: "Invalid rev id" });
    }
    if (path.startsWith(`${api}/paths-info/`) && request.method === "POST") {
      const body: Buffer[] = [];
      for await (const chunk of request) body.push(chunk as Buffer);
      const { paths } = JSON.parse(Buffer.concat(body).toString()) as { paths: string[] };
      return json(
        200,
        paths.flatMap((name) => {
          const found = this.files.get(name);
          return found === undefined ? [] : [{ type: "file", path: name, size: found.bytes.length, ...digests(found) }];
        }),
      );
    }
    if (file === undefined || bytes === undefined) return json(404, { error: "Entry not found" });
    if (range !== undefined && offset >= file.bytes.length) {
      response.writeHead(416, { "content-range": `bytes */${file.bytes.length}` }).end();
      return;
    }
    const headers = { "content-length": bytes.length, etag: `"${file.oid ?? "x"}"` };
    if (range === undefined) response.writeHead(200, headers);
    else
      response.writeHead(206, { ...headers, "content-range": `bytes ${offset}-${file.bytes.length - 1}/${file.bytes.length}` });
    response.write(bytes);
    response.end();
  }
}

function digests({ bytes, lfs, oid }: { bytes: Uint8Array; lfs: boolean; oid?: string }): object {
  const sha1 = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
  if (!lfs) return { oid: oid ?? sha1 };
  const sha256 = oid ?? createHash("sha256").update(bytes).digest("hex");
  return { oid: sha1, lfs: { oid: sha256, size: bytes.length, pointerSize: 134 } };
}
