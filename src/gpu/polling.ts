let calm = false;

/**
 * Lets Dawn's Node binding ask a software adapter for finished work at once, and then once a millisecond. By itself it asks in every
 * turn of the event loop for as long as anything is awaited, by the process's `setImmediate`, which it looks up anew each time:
 * that keeps a core busy, of those that the adapter computes with (on two cores the demo takes a third less time without). On
 * a GPU the binding is left alone: there a core is free, and an answer is worth having at once. Everybody else's calls of
 * `setImmediate` go where they went.
 */
export function calmPolling(): void {
  if (calm) return;
  calm = true;
  const immediately = globalThis.setImmediate;
  let asking = false;
  const polling = (callback: (...args: unknown[]) => void, ...args: unknown[]) => {
    if (!isNative(callback)) return immediately(callback, ...args);
    const ask = () => {
      asking = true;
      try {
        callback(...args);
      } finally {
        asking = false;
      }
    };
    return asking ? setTimeout(ask, 1) : immediately(ask);
  };
  // With what hangs on the original, such as its promised form.
  globalThis.setImmediate = Object.defineProperties(
    polling,
    Object.getOwnPropertyDescriptors(immediately),
  ) as typeof setImmediate;
}

/** Whether a function is one of a native module's: a bound one looks alike, and has no prototype. */
function isNative(callback: unknown): boolean {
  return (
    typeof callback === "function" &&
    Object.hasOwn(callback, "prototype") &&
    /\{\s*\[native code\]\s*\}\s*$/.test(Function.prototype.toString.call(callback))
  );
}
