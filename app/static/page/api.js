// Talks to the server. Every error becomes a Problem that a page can show as it is.

export class Problem extends Error {
  constructor({ title, detail, code, status, errors = [], retryAfter = null }) {
    super(detail);
    Object.assign(this, { title, detail, code, status, errors, retryAfter });
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Problem({
      title: "The server cannot be reached",
      detail: "Is it running, and is this computer online?",
      code: "unreachable",
      status: 0,
    });
  }
  if (response.ok) return response.json();
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

export const makeFlowers = (wish, key) =>
  ask("/generate", {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": key },
    body: JSON.stringify(wish),
  });

export const readJob = (id) => ask(`/jobs/${encodeURIComponent(id)}`);

export const cancelJob = (id) => ask(`/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });

export const readModel = () => ask("/model");
