// Follows one job to its end.

import { readJob } from "./api.js";

const PAUSES = [120, 200, 300, 500, 800, 1000]; // milliseconds
const PATIENCE = 5000;

const ENDS = new Set(["succeeded", "failed", "canceled"]);

export const hasEnded = (job) => ENDS.has(job.status);

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Calls `tell(job)` for each state until the job has ended, and returns the last one. A server that does not answer is
// asked again and again (`tellTrouble` hears of it); a job that is gone is an error.
export async function follow(job, tell, tellTrouble) {
  tell(job);
  for (let turn = 0; !hasEnded(job); turn += 1) {
    await sleep(PAUSES[Math.min(turn, PAUSES.length - 1)]);
    try {
      job = await readJob(job.id);
    } catch (problem) {
      if (problem.status === 404 || problem.status === 401) throw problem;
      tellTrouble(problem);
      await sleep(problem.retryAfter ? problem.retryAfter * 1000 : PATIENCE);
      continue;
    }
    tell(job);
  }
  return job;
}

export function inWords(job) {
  const { steps_done: done, steps_total: total } = job.progress;
  if (job.status === "queued") {
    const ahead = job.queue ? job.queue.position - 1 : 0;
    const place = ahead > 0 ? `${ahead} ${ahead === 1 ? "job" : "jobs"} ahead` : "next in the queue";
    const eta = job.queue?.eta_seconds;
    if (eta === null || eta === undefined) return `Waiting for a worker, ${place}`;
    return `Waiting, ${place}, ${duration(eta)} to go`;
  }
  if (job.status === "running") return `Growing, ${Math.floor((100 * done) / total)} %`;
  return { succeeded: "In bloom", failed: "Failed", canceled: "Canceled" }[job.status];
}

function duration(seconds) {
  if (seconds < 1.5) return "about a second";
  if (seconds < 90) return `about ${Math.round(seconds)} seconds`;
  return `about ${Math.round(seconds / 60)} minutes`;
}
