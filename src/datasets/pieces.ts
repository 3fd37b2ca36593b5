/** Bytes of a piece that is written at once. */
const PIECE = 1 << 18;

/** Many small pieces as fewer large ones: each that is written costs a call of the system. */
export async function* inPieces(chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let [held, size]: [Uint8Array[], number] = [[], 0];
  for (const chunk of chunks) {
    held.push(chunk);
    size += chunk.length;
    if (size < PIECE) continue;
    yield Buffer.concat(held);
    [held, size] = [[], 0];
  }
  if (size > 0) yield Buffer.concat(held);
}
