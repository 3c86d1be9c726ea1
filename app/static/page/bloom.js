// Lets a flower come out of its noise on a canvas: each preview is laid over the one before, so that they flow.

const FADE = 180; // milliseconds in which a preview has taken the place of the one before
const CALM = 1000; // milliseconds between previews for those who want less motion; theirs do not fade

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Bloom {
  #canvas = document.createElement("canvas");
  #context = this.#canvas.getContext("2d");
  #shown = -Infinity;
  #turn = 0;

  // `placeholder` is the canvas that is there at first; this one takes its place with the first preview.
  constructor(placeholder) {
    this.placeholder = placeholder;
    this.#canvas.className = "blooming";
  }

  get canvas() {
    return this.hasBegun ? this.#canvas : null;
  }

  get hasBegun() {
    return this.#shown > -Infinity;
  }

  // `png` is in base64. Previews that come faster than they can be drawn are left out.
  async show(png) {
    const now = performance.now();
    if (calm.matches && now - this.#shown < CALM) return;
    const turn = (this.#turn += 1);
    const image = new Image();
    image.src = `data:image/png;base64,${png}`;
    try {
      await image.decode();
    } catch {
      return; // one preview less
    }
    if (turn !== this.#turn) return;
    this.#begin(image);
    this.#shown = now;
    if (calm.matches) this.#draw(image, 1);
    else this.#fade(image, turn, now, 0);
  }

  #begin(image) {
    if (this.hasBegun) return;
    this.#canvas.width = image.naturalWidth;
    this.#canvas.height = image.naturalHeight;
    this.#draw(this.placeholder, 1);
    this.placeholder.replaceWith(this.#canvas);
  }

  // What is still to be done after `part` of the way, in shares that add up to all of it.
  #fade(image, turn, began, part) {
    requestAnimationFrame((now) => {
      if (turn !== this.#turn) return;
      const next = Math.min(Math.max((now - began) / FADE, 0), 1);
      if (next > part) this.#draw(image, (next - part) / (1 - part));
      if (next < 1) this.#fade(image, turn, began, Math.max(part, next));
    });
  }

  #draw(image, share) {
    this.#context.globalAlpha = share;
    this.#context.drawImage(image, 0, 0, this.#canvas.width, this.#canvas.height);
  }
}
