// How a flower grew: its images on the way out of the noise. Some were seen while it bloomed; others are asked for.

import { readPicture } from "./api.js";
import { addressAfter } from "./flower.js";

const MOST_STOPS = 24;
const AT_A_TIME = 3;
const MOST_REMEMBERED = 64; // flowers

const seen = new Map(); // flower -> Map of step -> address of the picture

const keyOf = ({ seed, steps, sampler, askedKind }) => `${seed} ${steps} ${sampler} ${askedKind ?? ""}`;

// Keeps a preview, for as long as the page is open.
export function remember(flower, step, png) {
  const key = keyOf(flower);
  const pictures = seen.get(key) ?? new Map();
  seen.delete(key); // the latest are the last
  seen.set(key, pictures.set(step, `data:image/png;base64,${png}`));
  if (seen.size > MOST_REMEMBERED) seen.delete(seen.keys().next().value);
}

// The steps at which a flower is looked at: all of them, or some at equal distances. The last one is the flower.
export function stopsOf(steps) {
  const count = Math.min(steps, MOST_STOPS);
  return Array.from({ length: count }, (_, index) => Math.round(((index + 1) * steps) / count));
}

export class Growth {
  #pictures;
  #flower;
  #changed;
  #ending = new AbortController();
  #waiting = null;

  // `changed()` is called when pictures have come, `trouble(problem)` when no more will.
  constructor(flower, { changed, trouble }) {
    this.#flower = flower;
    this.#changed = changed;
    this.trouble = trouble;
    this.stops = stopsOf(flower.steps);
    this.#pictures = new Map([[flower.steps, flower.url]]);
    for (const [step, address] of seen.get(keyOf(flower)) ?? []) {
      if (this.stops.includes(step) && step < flower.steps) this.#pictures.set(step, address);
    }
  }

  get isWhole() {
    return this.#pictures.size >= this.stops.length;
  }

  // The address of the picture at a stop, or of the nearest that is there.
  at(index) {
    const wanted = this.stops[index];
    let nearest = this.#flower.steps;
    for (const step of this.#pictures.keys()) {
      if (Math.abs(step - wanted) < Math.abs(nearest - wanted)) nearest = step;
    }
    return this.#pictures.get(nearest);
  }

  has(index) {
    return this.#pictures.has(this.stops[index]);
  }

  // Fetches what is missing, first of all the stop that is looked at. Asked again, it only takes note of that.
  load(index) {
    const isUnderWay = this.#waiting !== null;
    const missing = this.stops.filter((stop) => !this.#pictures.has(stop));
    const wanted = this.stops[index];
    this.#waiting = (isUnderWay ? this.#waiting : missing).toSorted((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted));
    if (!isUnderWay) for (let turn = 0; turn < AT_A_TIME; turn += 1) this.#fetchOn();
  }

  async #fetchOn() {
    while (this.#waiting?.length) {
      const stop = this.#waiting.shift();
      try {
        const file = await readPicture(addressAfter(this.#flower, stop), this.#ending.signal);
        if (this.#ending.signal.aborted) return;
        this.#pictures.set(stop, URL.createObjectURL(file));
        this.#changed();
      } catch (problem) {
        if (!this.#ending.signal.aborted) {
          this.#waiting = null; // the next look is another try
          this.trouble(problem);
        }
        return;
      }
    }
  }

  end() {
    this.#ending.abort();
    for (const address of this.#pictures.values()) if (address.startsWith("blob:")) URL.revokeObjectURL(address);
  }
}
