// Talks to the server. Every error becomes a Problem that a page can show as it is.

import { pause } from "./pause.js";

const PATIENCE = 10; // times that a picture under way is asked for again

export class Problem extends Error {
  constructor({ title, detail, code, status, errors = [], retryAfter = null }) {
    super(detail);
    Object.assign(this, { title, detail, code, status, errors, retryAfter });
  }
}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      title: "The server cannot be reached",
      detail: "Is it running, and is this computer online?",
      code: "unreachable",
      status: 0,
    });
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Problem({
    title: problem.title ?? "The server answered with an error",
    detail: problem.detail ?? `Status ${response.status}.`,
    code: problem.code ?? "unknown",
    status: response.status,
    errors: problem.errors,
    retryAfter: Number(response.headers.get("Retry-After")) || null,
  });
}

const ask = async (path, options) => (await request(path, options)).json();

// The file of a picture that may have to be made first. A `signal` that is aborted ends it with an AbortError.
export async function readPicture(path, signal) {
  for (let turn = 0; ; turn += 1) {
    try {
      return await (await request(path, { signal })).blob();
    } catch (problem) {
      const isUnderWay = problem.code === "flower-pending" || problem.code === "queue-full";
      if (!isUnderWay || turn === PATIENCE) throw problem;
      await pause(Math.min(problem.retryAfter ?? 1, 10), signal);
    }
  }
}

export const makeFlowers = (wish, key) =>
  ask("/generate", {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": key },
    body: JSON.stringify(wish),
  });

export const readJob = (id) => ask(`/jobs/${encodeURIComponent(id)}`);

export const cancelJob = (id) => ask(`/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });

export const readModel = () => ask("/model");
