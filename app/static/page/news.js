// One line that tells what has happened: shown for a while, and read out.

const SHOWN = 3500; // milliseconds

const element = document.getElementById("news");
let timer = 0;

export function say(words) {
  // What is outside of an open dialog is neither seen nor read out.
  (document.querySelector("dialog[open]") ?? document.body).append(element);
  element.textContent = words;
  element.classList.add("shown");
  clearTimeout(timer);
  timer = setTimeout(() => element.classList.remove("shown"), SHOWN);
}
