// A patch of noise for a flower that has not bloomed yet: always the same for the same seed.

const SIZE = 32;

export function noise(seed) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIZE;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(SIZE, SIZE);
  let state = (Number(BigInt(seed) % 4294967291n) ^ 0x9e3779b9) >>> 0 || 1;
  for (let index = 0; index < pixels.data.length; index += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    pixels.data[index] = index % 4 === 3 ? 255 : (state >>> 0) % 256;
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
