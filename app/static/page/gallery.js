// Draws beds of flowers.

import { askAgain, giveUp } from "./again.js";
import { Bloom } from "./bloom.js";
import { captionOf, fileOf, inSteps, linkTo, nameOf } from "./flower.js";
import { remember } from "./growth.js";
import { noise } from "./noise.js";

const bedTemplate = document.getElementById("bed-template");
const flowerTemplate = document.getElementById("flower-template");
const bedsElement = document.getElementById("beds");
const flowers = new WeakMap(); // element -> flower

const bedName = ({ seed, count, kind, ...way }) =>
  `${count === 1 ? `Seed ${seed}` : `Seeds ${seed} to ${seed + count - 1}`}, ${kind ? `${kind}, ` : ""}${inSteps(way)}`;

// One bed on the page. `actions` has open(flower), copy(link), more(flower) and cancel().
export class Bed {
  constructor({ request }, actions) {
    this.request = { sampler: "ddim", ...request };
    this.actions = actions;
    this.element = bedTemplate.content.firstElementChild.cloneNode(true);
    this.element.querySelector(".bed-name").textContent = bedName(this.request);
    this.line = this.element.querySelector(".progress-line");
    this.words = this.element.querySelector(".progress-words");
    this.bar = this.element.querySelector("progress");
    this.bar.setAttribute("aria-label", `Progress, seed ${request.seed}`);
    this.list = this.element.querySelector(".flowers");
    this.blooms = new Map();
    this.element.querySelector(".cancel").addEventListener("click", () => actions.cancel());
    bedsElement.prepend(this.element);
    showWhetherEmpty();
  }

  grow() {
    const seeds = Array.from({ length: this.request.count }, (_, index) => this.request.seed + index);
    this.list.replaceChildren(...seeds.map((seed) => this.#waiting(seed)));
  }

  progress(share, words) {
    this.line.hidden = false;
    this.bar.value = share;
    this.words.textContent = words;
  }

  // A flower as it is predicted so far.
  show({ seed, steps_done: step, png }) {
    this.blooms.get(seed)?.show(png);
    remember(this.#flower(seed), step, png);
  }

  bloom(images) {
    this.line.hidden = true;
    this.list.replaceChildren(...images.map(({ seed, url, kind }) => this.#grown({ ...this.#flower(seed), url, kind })));
  }

  remove() {
    this.element.remove();
    showWhetherEmpty();
  }

  #flower(seed) {
    const { steps, sampler, kind } = this.request;
    return { seed, steps, sampler, askedKind: kind ?? null };
  }

  #item(flower) {
    const item = flowerTemplate.content.firstElementChild.cloneNode(true);
    item.querySelector(".name").textContent = captionOf(flower);
    item.querySelector(".name").title = nameOf(flower);
    return item;
  }

  #waiting(seed) {
    const flower = this.#flower(seed);
    const item = this.#item(flower);
    item.classList.add("waiting");
    const picture = item.querySelector(".picture");
    picture.disabled = true;
    picture.setAttribute("aria-label", `${nameOf(flower)}, growing`);
    const placeholder = noise(seed);
    picture.append(placeholder);
    this.blooms.set(seed, new Bloom(placeholder));
    return item;
  }

  #grown(flower) {
    const item = this.#item(flower);
    const name = nameOf(flower);
    const image = new Image(64, 64);
    image.alt = `A flower: ${name}, ${inSteps(flower)}`;
    image.decoding = "async";
    const picture = item.querySelector(".picture");
    picture.setAttribute("aria-label", `Enlarge ${name}`);
    const grown = this.blooms.get(flower.seed)?.canvas;
    if (grown) {
      // It has bloomed before everyone's eyes: the picture takes its place once it is there, without a show.
      image.className = "grown";
      picture.append(grown);
      image.addEventListener("load", () => grown.replaceWith(image));
    } else {
      image.loading = "lazy";
      picture.append(image);
    }
    image.src = flower.url;
    image.addEventListener("error", () => this.#fetchAgain(item, image), { once: true });
    flowers.set(item, flower);
    picture.addEventListener("click", () => {
      if (item.classList.contains("absent")) this.#fetchAgain(item, image);
      else this.actions.open(flower);
    });
    const copy = item.querySelector(".copy");
    const download = item.querySelector(".download");
    const more = item.querySelector(".more");
    copy.addEventListener("click", () => this.actions.copy(linkTo(flower.url)));
    more.addEventListener("click", () => this.actions.more(flower));
    download.href = flower.url;
    download.download = fileOf(flower);
    copy.setAttribute("aria-label", `Copy link to ${name}`);
    download.setAttribute("aria-label", `Save ${name}`);
    more.setAttribute("aria-label", `More like ${name}`);
    return item;
  }

  // An image that did not come does not tell why; the server does.
  async #fetchAgain(item, image) {
    const picture = item.querySelector(".picture");
    if (picture.ariaDisabled) return;
    const flower = flowers.get(item);
    const name = nameOf(flower);
    const tell = (words) => {
      picture.textContent = words;
      picture.setAttribute("aria-label", `${name}: ${words}`);
    };
    item.classList.add("absent");
    picture.ariaDisabled = "true"; // and not really disabled, which would lose the focus
    picture.setAttribute("aria-label", `${name}, growing again`);
    picture.replaceChildren(this.blooms.get(flower.seed)?.canvas ?? noise(flower.seed));
    try {
      await fill(image, await askAgain(flower.url));
      item.classList.remove("absent");
      picture.setAttribute("aria-label", `Enlarge ${name}`);
      picture.replaceChildren(image);
    } catch (problem) {
      if (problem.code === "image-not-found") {
        item.classList.replace("absent", "gone");
        picture.disabled = true;
        tell("No longer kept. Make it again with its seed.");
      } else {
        tell(`${problem.title ?? "The picture cannot be shown"}. Try again.`);
      }
    }
    picture.ariaDisabled = null;
  }
}

async function fill(image, file) {
  const address = URL.createObjectURL(file);
  try {
    image.loading = "eager"; // it may be out of sight by now, and the file is here
    image.src = address;
    await image.decode();
  } finally {
    URL.revokeObjectURL(address);
  }
}

// The flower so many places after one in the gallery, if there is one.
export function neighbour(flower, distance) {
  const there = bedsElement.querySelectorAll(".flower:not(.waiting, .absent, .gone)");
  const all = Array.from(there, (item) => flowers.get(item));
  const place = all.indexOf(flower); // by itself, since another bed may have its like
  return place < 0 ? undefined : all[place + distance];
}

export function clearBeds() {
  giveUp();
  bedsElement.replaceChildren();
  showWhetherEmpty();
}

function showWhetherEmpty() {
  const empty = bedsElement.childElementCount === 0;
  document.getElementById("empty").hidden = !empty;
  document.getElementById("gallery-tools").hidden = empty;
}

showWhetherEmpty();
