// Choosing two flowers for a morph: one is there, the other is the next that is chosen in the gallery.

import { nameOf } from "./flower.js";

const bar = document.getElementById("picking");
let from = null;

export const isPicking = () => from !== null;

export function begin(flower) {
  from = flower;
  document.getElementById("picking-picture").src = flower.url;
  document.getElementById("picking-name").textContent = nameOf(flower).toLowerCase();
  bar.hidden = false;
  document.body.classList.add("is-picking");
}

// Returns the flower that was chosen first, and ends.
export function end() {
  const first = from;
  from = null;
  bar.hidden = true;
  document.body.classList.remove("is-picking");
  return first;
}

document.getElementById("picking-cancel").addEventListener("click", end);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && from) end();
});
