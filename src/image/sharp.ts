/**
 * sharp, loaded when the first file is read or written: libvips takes longer to load than the rest of the library, and whoever
 * has pixels in memory, or lets threads do the reading, needs none of it.
 */
export const loadSharp = async () => (await import("sharp")).default;
