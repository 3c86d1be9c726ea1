// Which model makes the flowers. While it warms up nobody can tell, so the page asks until somebody does.

import { readModel } from "./api.js";
import { pause } from "./pause.js";

const PAUSE = 5; // seconds, where the server names none
const PASSING = new Set([0, 502, 503, 504]); // out of reach, of itself or of what stands before it; or not ready

// `tellTrouble(problem)` hears each time that there is no answer yet. What will not pass by itself is an error.
export async function awaitModel(tellTrouble) {
  for (;;) {
    try {
      return await readModel();
    } catch (problem) {
      if (!PASSING.has(problem.status)) throw problem;
      tellTrouble(problem);
      await pause(problem.retryAfter ?? PAUSE);
    }
  }
}
