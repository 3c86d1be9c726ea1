// Draws beds of flowers, and the large view of one.

import { Bloom } from "./bloom.js";
import { noise } from "./noise.js";

const bedTemplate = document.getElementById("bed-template");
const flowerTemplate = document.getElementById("flower-template");
const bedsElement = document.getElementById("beds");
const emptyElement = document.getElementById("empty");
const viewer = document.getElementById("viewer");

const nameOf = (seed, steps) => `Seed ${seed} · ${steps} ${steps === 1 ? "step" : "steps"}`;
const linkTo = (url) => new URL(url, location.href).href;

// One bed on the page. `actions` has copy(link), more(seed, steps) and cancel().
export class Bed {
  constructor({ request }, actions) {
    this.request = request;
    this.actions = actions;
    this.element = bedTemplate.content.firstElementChild.cloneNode(true);
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
  show({ seed, png }) {
    this.blooms.get(seed)?.show(png);
  }

  bloom(images) {
    this.line.hidden = true;
    this.list.replaceChildren(...images.map((image) => this.#flower(image)));
  }

  remove() {
    this.element.remove();
    showWhetherEmpty();
  }

  #waiting(seed) {
    const item = flowerTemplate.content.firstElementChild.cloneNode(true);
    item.classList.add("waiting");
    const picture = item.querySelector(".picture");
    picture.disabled = true;
    picture.setAttribute("aria-label", `${nameOf(seed, this.request.steps)}, growing`);
    const placeholder = noise(seed);
    picture.append(placeholder);
    this.blooms.set(seed, new Bloom(placeholder));
    item.querySelector(".name").textContent = nameOf(seed, this.request.steps);
    return item;
  }

  #flower({ seed, url }) {
    const { steps } = this.request;
    const item = flowerTemplate.content.firstElementChild.cloneNode(true);
    const name = nameOf(seed, steps);
    const image = new Image(64, 64);
    image.alt = `A flower: ${name}`;
    image.decoding = "async";
    const picture = item.querySelector(".picture");
    picture.setAttribute("aria-label", `Enlarge ${name}`);
    const grown = this.blooms.get(seed)?.canvas;
    if (grown) {
      // It has bloomed before everyone's eyes: the picture takes its place once it is there, without a show.
      image.className = "grown";
      picture.append(grown);
      image.addEventListener("load", () => grown.replaceWith(image));
    } else {
      image.loading = "lazy";
      picture.append(image);
    }
    image.src = url;
    picture.addEventListener("click", () => enlarge({ seed, steps, url }, this.actions));
    image.addEventListener("error", () => {
      item.classList.add("gone");
      picture.disabled = true;
      picture.textContent = "No longer kept. Make it again with its seed.";
    });
    item.querySelector(".name").textContent = name;
    wire(item, { seed, steps, url }, this.actions, name);
    return item;
  }
}

function wire(root, { seed, steps, url }, actions, name, prefix = ".") {
  const copy = root.querySelector(`${prefix}copy`);
  const download = root.querySelector(`${prefix}download`);
  const more = root.querySelector(`${prefix}more`);
  copy.onclick = () => actions.copy(linkTo(url));
  more.onclick = () => actions.more(seed, steps);
  download.href = url;
  download.download = `bouquet-${seed}-${steps}.png`;
  copy.setAttribute("aria-label", `Copy link to ${name}`);
  download.setAttribute("aria-label", `Save ${name}`);
  more.setAttribute("aria-label", `Similar to ${name}`);
}

function enlarge(flower, actions) {
  const name = nameOf(flower.seed, flower.steps);
  const picture = document.getElementById("viewer-picture");
  picture.src = flower.url;
  picture.alt = `A flower: ${name}`;
  document.getElementById("viewer-caption").textContent = name;
  const closing = { ...actions, more: (...wish) => (viewer.close(), actions.more(...wish)) };
  wire(viewer, flower, closing, name, "#viewer-");
  viewer.showModal();
}

viewer.addEventListener("click", (event) => {
  if (event.target === viewer) viewer.close(); // the backdrop
});

export function clearBeds() {
  bedsElement.replaceChildren();
  showWhetherEmpty();
}

function showWhetherEmpty() {
  const empty = bedsElement.childElementCount === 0;
  emptyElement.hidden = !empty;
  document.getElementById("clear").hidden = empty;
}

showWhetherEmpty();

export const setCrisp = (crisp) => document.body.classList.toggle("crisp", crisp);
