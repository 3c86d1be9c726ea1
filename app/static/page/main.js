// The page: a wish becomes a job, the job a bed of flowers.

import { Problem, cancelJob, makeFlowers } from "./api.js";
import { canMorph } from "./flower.js";
import { Bed, clearBeds, neighbour } from "./gallery.js";
import { follow, inWords } from "./job.js";
import * as memory from "./memory.js";
import { awaitModel } from "./model.js";
import { say } from "./news.js";
import * as picking from "./picking.js";
import * as viewer from "./viewer.js";
import { WishError, drawSeed, mark, offerKinds, readWish, writeWish } from "./wish.js";

const byId = (id) => document.getElementById(id);

function show(problem) {
  byId("problem-title").textContent = problem.title ?? "Something went wrong on this page";
  byId("problem-detail").textContent = problem.detail ?? String(problem.message ?? problem);
  byId("problem").hidden = false;
}

const hideProblem = () => { byId("problem").hidden = true; };

async function copy(link) {
  try {
    await navigator.clipboard.writeText(link);
    say("The link was copied.");
  } catch {
    window.prompt("The link to this flower:", link); // no clipboard without https, but on localhost
  }
}

function more({ seed, steps, sampler, askedKind }) {
  const first = Math.max(0, Math.min(seed - 4, Number.MAX_SAFE_INTEGER - 8));
  writeWish({ seed: first, steps, count: 9, sampler, kind: askedKind });
  byId("wish").requestSubmit();
}

function morph(flower) {
  picking.begin(flower);
  say("Choose another flower.");
}

function open(flower) {
  if (!picking.isPicking()) {
    viewer.showFlower(flower);
    return;
  }
  const from = picking.end();
  if (canMorph(from, flower)) viewer.showMorph(from, flower);
  else if (from.seed !== flower.seed) {
    show({ title: "These two cannot be morphed", detail: "A kind that was chosen stays on the way: choose two of one." });
  }
}

const actions = { open, copy, more, morph, neighbour };
viewer.install(actions);

// Draws a job's bed and follows the job.
async function plant(job) {
  const bed = new Bed(job, {
    ...actions,
    cancel: () => cancelJob(job.id).catch((problem) => problem.code !== "job-ended" && show(problem)),
  });
  bed.grow();
  try {
    const ended = await follow(job, {
      tell: (now) => bed.progress(now.progress.steps_done / now.progress.steps_total, inWords(now)),
      show: (preview) => bed.show(preview),
      tellTrouble: (problem) => bed.progress(0, `${problem.title}. Trying again …`),
    });
    if (ended.status === "succeeded") {
      const images = ended.images.map(({ seed, url, kind }) => ({ seed, url, kind }));
      memory.update({ id: job.id, request: job.request, images });
      bed.bloom(images);
      say(images.length === 1 ? "Your flower is in bloom." : `${images.length} flowers are in bloom.`);
      return;
    }
    if (ended.status === "failed") show({ title: "The flowers could not be made", detail: ended.error?.detail });
    else say("Canceled.");
  } catch (problem) {
    show(problem);
  }
  memory.forget(job.id);
  bed.remove();
}

byId("wish").addEventListener("submit", async (event) => {
  event.preventDefault();
  hideProblem();
  const button = byId("make");
  button.disabled = true;
  try {
    const wish = readWish();
    const key = [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(16)).join("-");
    const job = await makeFlowers(wish, key);
    memory.keep({ id: job.id, request: job.request, images: [] });
    say("Your flowers are growing.");
    plant(job);
  } catch (problem) {
    if (problem instanceof WishError) return;
    if (problem instanceof Problem && problem.errors.length) {
      for (const { field, message } of problem.errors) mark(field, `${message[0].toUpperCase()}${message.slice(1)}.`);
    }
    show(problem);
  } finally {
    button.disabled = false;
  }
});

byId("draw").addEventListener("click", drawSeed);
byId("problem-close").addEventListener("click", hideProblem);
byId("clear").addEventListener("click", () => {
  memory.forgetAll();
  clearBeds();
  say("The gallery is empty.");
  byId("seed").focus();
});
const crispSwitches = [byId("crisp"), byId("viewer-crisp")];
function setCrisp(crisp) {
  for (const control of crispSwitches) control.checked = crisp;
  document.body.classList.toggle("crisp", crisp);
}
setCrisp(memory.isCrisp());
for (const control of crispSwitches) {
  control.addEventListener("change", () => {
    memory.setCrisp(control.checked);
    setCrisp(control.checked);
  });
}

for (const idea of document.querySelectorAll("[data-wish]")) {
  idea.addEventListener("click", () => {
    writeWish(JSON.parse(idea.dataset.wish));
    byId("wish").requestSubmit();
  });
}

// What the browser kept, oldest first since each new bed goes to the top.
for (const kept of memory.beds().reverse()) {
  const growing = { id: kept.id, request: kept.request, status: "queued", queue: null, images: [],
    progress: { steps_done: 0, steps_total: kept.request.steps * kept.request.count, images_done: 0 } };
  if (kept.images.length === 0) plant(growing);
  else new Bed(kept, { ...actions, cancel: () => {} }).bloom(kept.images);
}

// A wish may come with the address: /?seed=7&steps=20&count=4&sampler=multistep&kind=sunflower
const { seed, steps, count, sampler, kind } = Object.fromEntries(new URLSearchParams(location.search));
// Steps without a sampler are those of DDIM, as in a request to the API.
writeWish({ seed, steps, count, sampler: sampler || (steps && "ddim"), kind });

const tellNoModel = ({ code, title = "The model is not known" }) => {
  byId("about").textContent = code === "not-ready" ? "No worker has told its model yet" : title;
};
awaitModel(tellNoModel)
  .then((model) => {
    offerKinds(model.classes ?? []);
    byId("about").textContent = `Grown by ${model.name}, ${model.image_size} × ${model.image_size} pixels`;
  })
  .catch(tellNoModel);
