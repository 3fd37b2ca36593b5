/** Pixels of a batch: in host memory, in one array or image by image, or in a buffer of the same device. */
export type Pixels = Uint8Array | Float32Array | readonly Uint8Array[] | { buffer: GPUBuffer; offset?: number };

/** Whether pixels lie in a buffer of the caller's. */
export const onDevice = (pixels: Pixels | undefined): boolean =>
  pixels !== undefined && !Array.isArray(pixels) && !ArrayBuffer.isView(pixels);

/**
 * Puts a batch's pixels at the start of a buffer, which has room for whole words.
 * @param bytes of the batch, for pixels that are on the device
 */
export function writePixels(queue: GPUQueue, encoder: GPUCommandEncoder, target: GPUBuffer, pixels: Pixels, bytes: number): void {
  if (Array.isArray(pixels)) writeEach(queue, target, pixels as readonly Uint8Array[]);
  else if (ArrayBuffer.isView(pixels)) writeArray(queue, target, pixels as Uint8Array | Float32Array);
  else {
    const { buffer, offset = 0 } = pixels as { buffer: GPUBuffer; offset?: number };
    encoder.copyBufferToBuffer(buffer, offset, target, 0, bytes);
  }
}

/** WebGPU takes no memory that threads share: that is copied. */
const unshared = <T extends Uint8Array | Uint32Array | Float32Array>(data: T): T =>
  (data.buffer instanceof SharedArrayBuffer ? data.slice() : data) as T;

/**
 * WebGPU writes whole words; the rest of the last one is padding that no kernel reads as a pixel.
 * @param offset where it goes, in bytes: a multiple of 4.
 */
export function writeArray(queue: GPUQueue, target: GPUBuffer, given: Uint8Array | Uint32Array | Float32Array, offset = 0): void {
  const data = unshared(given);
  const whole = data.byteLength - (data.byteLength % 4);
  queue.writeBuffer(target, offset, data.buffer as ArrayBuffer, data.byteOffset, whole);
  if (whole === data.byteLength) return;
  const word = new Uint8Array(4);
  word.set(new Uint8Array(data.buffer, data.byteOffset + whole, data.byteLength - whole));
  queue.writeBuffer(target, offset + whole, word);
}

/** Images one by one, each from where it lies: cheaper than laying them side by side first. */
function writeEach(queue: GPUQueue, target: GPUBuffer, images: readonly Uint8Array[]): void {
  const each = images[0]!.byteLength;
  if (each % 4 === 0) {
    for (const [index, image] of images.entries())
      queue.writeBuffer(target, index * each, unshared(image) as Uint8Array<ArrayBuffer>);
    return;
  }
  const packed = new Uint8Array(Math.ceil((images.length * each) / 4) * 4);
  for (const [index, image] of images.entries()) packed.set(image, index * each);
  queue.writeBuffer(target, 0, packed);
}

/** The same bytes as 32-bit floats; the array must start on a multiple of 4, as all that are read back do. */
export function asFloats(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

/** Rows of `stride` numbers without what lies behind the first `cols`. */
export function unpadded(padded: Float32Array, stride: number, cols: number): Float32Array {
  if (stride === cols) return padded;
  const rows = padded.length / stride;
  const result = new Float32Array(rows * cols);
  for (let row = 0; row < rows; row++) result.set(padded.subarray(row * stride, row * stride + cols), row * cols);
  return result;
}
