import { homedir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { hubCache, modelFolder } from "../../src/hub/api.js";

afterEach(() => vi.unstubAllEnvs());

const NAMES = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"] as const;

// As huggingface_hub's constants.py has it.
it.each([
  [{}, join(homedir(), ".cache", "huggingface", "hub")],
  [{ XDG_CACHE_HOME: "/x" }, join("/x", "huggingface", "hub")],
  [{ XDG_CACHE_HOME: "/x", HF_HOME: "/h" }, join("/h", "hub")],
  [{ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old" }, "/old"],
  [{ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old", HF_HUB_CACHE: "/c" }, "/c"],
  [{ HF_HUB_CACHE: "~/c" }, join(homedir(), "c")],
  [{ HF_HOME: "~" }, join(homedir(), "hub")],
  [{ XDG_CACHE_HOME: "~/x" }, join(homedir(), "x", "huggingface", "hub")],
  [{ HF_HOME: "/h/~/~user" }, join("/h", "~", "~user", "hub")],
  [{ HF_HOME: "", HF_HUB_CACHE: "" }, join(homedir(), ".cache", "huggingface", "hub")],
] as readonly (readonly [Partial<Record<(typeof NAMES)[number], string>>, string])[])("with %j the cache is %s", (env, path) => {
  for (const name of NAMES) vi.stubEnv(name, env[name]);
  expect(hubCache()).toBe(path);
});

it("a model's folder is called as Hugging Face tools call it", () => {
  expect(modelFolder("timm/vgg19.tv_in1k")).toBe("models--timm--vgg19.tv_in1k");
});
