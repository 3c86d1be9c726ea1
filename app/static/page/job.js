// Follows one job to its end: by its events, or by asking again and again where these are not to be had.

import { readJob } from "./api.js";
import { canListen, listen } from "./events.js";
import { pause } from "./pause.js";

const PAUSES = [0.12, 0.2, 0.3, 0.5, 0.8, 1]; // seconds
const PATIENCE = 5;
const MOST_REFUSALS = 2;
const UNREACHABLE = { title: "The connection was lost" };

const ENDS = new Set(["succeeded", "failed", "canceled"]);

export const hasEnded = (job) => ENDS.has(job.status);

// Calls `tell(job)` for each state until the job has ended, and returns the last one; `show(preview)` gets its images as
// they are predicted so far. A server that does not answer is asked again and again (`tellTrouble` hears of it); a job
// that is gone is an error.
export async function follow(job, { tell, show, tellTrouble }) {
  const take = (news) => {
    job = { ...job, ...news };
    tell(job);
  };
  take(job);
  let refusals = 0;
  for (let turn = 0; !hasEnded(job); turn += 1) {
    if (refusals < MOST_REFUSALS && canListen()) {
      const progress = ({ queue, ...done }) => take({ queue, progress: done });
      const trouble = () => tellTrouble(UNREACHABLE);
      const began = performance.now();
      const ended = await listen(job.id, { status: take, progress, preview: show, trouble });
      if (ended) {
        take(ended);
        break;
      }
      if (performance.now() - began < PATIENCE * 1000 && !document.hidden) refusals += 1;
    }
    try {
      take(await readJob(job.id));
    } catch (problem) {
      if (problem.status === 404 || problem.status === 401) throw problem;
      tellTrouble(problem);
      await pause(problem.retryAfter ?? PATIENCE);
      continue;
    }
    if (!hasEnded(job)) await pause(PAUSES[Math.min(turn, PAUSES.length - 1)]);
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
