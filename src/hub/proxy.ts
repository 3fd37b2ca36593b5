import { messageOf, StylizingError } from "../errors.js";

const VARIABLES = ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"] as const;

/**
 * `fetch` by way of the proxy that the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, and `NO_PROXY` for hosts without; small letters
 * win), which Node's own passes over; that one where none is named.
 * @throws StylizingError `ARGUMENT` where what is named is no proxy
 */
export async function fetchByProxy(): Promise<typeof globalThis.fetch> {
  const named = VARIABLES.filter((name) => process.env[name]);
  if (named.length === 0) return globalThis.fetch;
  const { EnvHttpProxyAgent, fetch } = await import("undici");
  try {
    // Tunnels for https alone: many proxies refuse one to port 80.
    const dispatcher = new EnvHttpProxyAgent({ proxyTunnel: false });
    // One of undici's agents works with its own `fetch` alone, whose types differ from those of the one in Node.
    return ((url: string, init: object) => fetch(url, { ...init, dispatcher })) as unknown as typeof globalThis.fetch;
  } catch (error) {
    const values = named.map((name) => `${name} is "${process.env[name]}"`);
    throw new StylizingError(
      "ARGUMENT",
      `${values.join(", ")}, and that is no proxy (${messageOf(error)}).`,
      "Give an address like http://proxy.example:3128, or unset it.",
      { cause: error },
    );
  }
}
