// Pictures that did not come, asked for again: the server may be making them anew, or have been away for a moment.

import { readPicture } from "./api.js";

const AT_A_TIME = 2; // each may be held for long, and what is left of the six connections is for the rest of the page

const waiting = []; // those whose turn has not come yet
let underWay = 0;
let ending = new AbortController();

// The file of a picture, or a Problem. After `giveUp` it is an AbortError.
export async function askAgain(path) {
  const { signal } = ending;
  if (underWay < AT_A_TIME) underWay += 1;
  else await new Promise((resolve) => waiting.push(resolve));
  try {
    return await readPicture(path, signal);
  } finally {
    if (waiting.length) waiting.shift()(); // which takes this one's place
    else underWay -= 1;
  }
}

export function giveUp() {
  ending.abort();
  ending = new AbortController();
}
