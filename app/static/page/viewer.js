// One flower, large: the way it grew, its neighbours in the gallery; or the way from one flower to another.

import { readPicture } from "./api.js";
import { addressOfMorph, fileOf, inSteps, linkTo, nameOf } from "./flower.js";
import { Growth } from "./growth.js";

const FRAMES = 24;
const PLAY = 130; // milliseconds for a step

const byId = (id) => document.getElementById(id);
const dialog = byId("viewer");
const picture = byId("viewer-picture");
const slider = byId("growth-slider");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

let close = () => {}; // what is to be undone when something else is shown
let actions = {};
let shown = null; // the flower, null for a morph
let playing = 0;

// `given` has copy(link), more(flower), morph(flower), neighbour(flower, distance).
export function install(given) {
  actions = given;
}

function open(title, about) {
  close();
  close = () => {};
  stop();
  byId("viewer-title").textContent = title;
  byId("viewer-about").textContent = about;
  tell(null);
  if (!dialog.open) dialog.showModal();
}

function tell(problem) {
  byId("viewer-trouble").hidden = problem === null;
  byId("viewer-trouble").textContent = problem === null ? "" : `${problem.title ?? "Something went wrong"}. ${problem.detail ?? ""}`;
}

function offer(isFlower) {
  for (const id of ["viewer-more", "viewer-morph"]) byId(id).hidden = !isFlower;
  slider.hidden = !isFlower;
}

export function showFlower(flower) {
  open(nameOf(flower), inSteps(flower));
  shown = flower;
  offer(true);
  byId("growth").hidden = flower.steps === 1;
  byId("viewer-back").hidden = !actions.neighbour(flower, -1);
  byId("viewer-next").hidden = !actions.neighbour(flower, 1);
  picture.src = flower.url;
  picture.alt = `A flower: ${nameOf(flower)}, ${inSteps(flower)}`;
  byId("viewer-download").href = flower.url;
  byId("viewer-download").download = fileOf(flower);
  byId("viewer-copy").onclick = () => actions.copy(linkTo(flower.url));

  const growth = new Growth(flower, {
    changed: () => { tell(null); look(false); },
    trouble: (problem) => { stop(); tell(problem); },
  });
  close = () => growth.end();
  slider.max = String(growth.stops.length - 1);
  slider.value = slider.max;

  function look(asks = true) {
    const index = Number(slider.value);
    const step = growth.stops[index];
    const words = step === flower.steps ? "in bloom" : `step ${step} of ${flower.steps}`;
    byId("growth-words").textContent = words;
    slider.setAttribute("aria-valuetext", words);
    if (asks && !growth.isWhole) growth.load(index);
    const address = growth.at(index);
    if (picture.getAttribute("src") !== address) picture.src = address;
    picture.classList.toggle("coming", !growth.has(index));
  }
  slider.oninput = () => { stop(); look(); };
  byId("growth-play").onclick = () => (playing ? stop() : play());
  look(false);

  function play() {
    if (!growth.isWhole) growth.load(0);
    setPlaying(true);
    slider.value = "0";
    look();
    const turn = () => {
      const index = Number(slider.value);
      // What has not come yet is waited for, so that it is seen to grow and not to jump.
      if (index === growth.stops.length - 1) return stop();
      if (growth.has(index + 1) || growth.isWhole) {
        slider.value = String(index + 1);
        look();
      }
      playing = setTimeout(turn, PLAY);
    };
    playing = setTimeout(turn, PLAY);
  }
}

function setPlaying(isPlaying) {
  byId("growth-play").setAttribute("aria-label", isPlaying ? "Pause" : shown ? "Watch it grow" : "Play");
  byId("growth-play").querySelector("use").setAttribute("href", isPlaying ? "#i-pause" : "#i-play");
}

function stop() {
  clearTimeout(playing);
  playing = 0;
  setPlaying(false);
}

// The way from one flower to another, as an animation that can be stopped.
export async function showMorph(from, to) {
  const address = addressOfMorph(from, to, FRAMES);
  const ending = new AbortController();
  open(`Seed ${from.seed} to ${to.seed}`, `Morph, ${inSteps(from)}`);
  shown = null;
  offer(false);
  byId("growth").hidden = false;
  byId("viewer-back").hidden = byId("viewer-next").hidden = true;
  picture.src = from.url;
  picture.alt = `The way from the flower of ${nameOf(from).toLowerCase()} to that of ${nameOf(to).toLowerCase()}`;
  picture.classList.add("coming");
  byId("growth-words").textContent = "growing …";
  byId("growth-play").hidden = true;
  byId("viewer-download").hidden = true;
  byId("viewer-copy").onclick = () => actions.copy(linkTo(address));
  let file = null;
  close = () => {
    ending.abort();
    if (file) URL.revokeObjectURL(file);
    byId("growth-play").hidden = byId("viewer-download").hidden = false;
  };
  try {
    file = URL.createObjectURL(await readPicture(address, ending.signal));
  } catch (problem) {
    if (!ending.signal.aborted) {
      byId("growth-words").textContent = "";
      picture.classList.remove("coming");
      tell(problem);
    }
    return;
  }
  if (ending.signal.aborted) return URL.revokeObjectURL(file);
  picture.classList.remove("coming");
  byId("growth-words").textContent = `${FRAMES} pictures on the way`;
  byId("growth-play").hidden = byId("viewer-download").hidden = false;
  byId("viewer-download").href = file;
  byId("viewer-download").download = `bouquet-${from.seed}-to-${to.seed}.webp`;
  const run = (isRunning) => {
    picture.src = isRunning ? file : from.url;
    playing = isRunning ? 1 : 0;
    setPlaying(isRunning);
  };
  byId("growth-play").onclick = () => run(!playing);
  run(!calm.matches);
}

const turnTo = (distance) => {
  const other = shown && actions.neighbour(shown, distance);
  if (other) showFlower(other);
};
byId("viewer-back").addEventListener("click", () => turnTo(-1));
byId("viewer-next").addEventListener("click", () => turnTo(1));
byId("viewer-more").addEventListener("click", () => { const flower = shown; dialog.close(); actions.more(flower); });
byId("viewer-morph").addEventListener("click", () => { const flower = shown; dialog.close(); actions.morph(flower); });
byId("viewer-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close(); // the backdrop
});
dialog.addEventListener("keydown", (event) => {
  if (event.target === slider || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "ArrowLeft") turnTo(-1);
  if (event.key === "ArrowRight") turnTo(1);
});
dialog.addEventListener("close", () => {
  stop();
  close();
  close = () => {};
  shown = null;
});
