// A flower as the page knows it: { seed, steps, sampler, url, kind }. The url names the bundle that made it;
// its kind is null where the bundle knows no kinds, and in beds that were kept before pages knew of kinds.

const SAMPLERS = { ddim: "", multistep: ", multistep" };

export const inSteps = ({ steps, sampler }) => `${steps} ${steps === 1 ? "step" : "steps"}${SAMPLERS[sampler] ?? ""}`;
export const captionOf = ({ seed, kind }) => (kind ? `${seed}, ${kind}` : String(seed));
export const nameOf = (flower) => `Seed ${captionOf(flower)}`;
export const linkTo = (url) => new URL(url, location.href).href;
export const fileOf = ({ seed, steps, sampler }) =>
  `bouquet-${seed}-${steps}${sampler === "multistep" ? "-multistep" : ""}.png`;

// The address of the flower as it was after so many of its steps.
export const addressAfter = ({ url, steps }, step) => (step >= steps ? url : url.replace(/\.png$/, `-after${step}.png`));

export const addressOfMorph = (from, to, frames) =>
  `/morphs/${from.seed}-${to.seed}.webp?frames=${frames}&steps=${from.steps}&sampler=${from.sampler}`;
