// A flower as the page knows it: { seed, steps, sampler, askedKind, url, kind }. The url names the bundle that made it;
// its kind is null where the bundle knows no kinds, and in beds that were kept before pages knew of kinds; askedKind is
// null where its seed decided.

const SAMPLERS = { ddim: "", multistep: ", multistep" };

export const inSteps = ({ steps, sampler }) => `${steps} ${steps === 1 ? "step" : "steps"}${SAMPLERS[sampler] ?? ""}`;
export const captionOf = ({ seed, kind }) => (kind ? `${seed}, ${kind}` : String(seed));
export const nameOf = (flower) => `Seed ${captionOf(flower)}`;
export const linkTo = (url) => new URL(url, location.href).href;
const inFile = (kind) => (kind ? `-${kind.toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, "-")}` : "");
export const fileOf = ({ seed, steps, sampler, askedKind }) =>
  `bouquet-${seed}-${steps}${sampler === "multistep" ? "-multistep" : ""}${inFile(askedKind)}.png`;

// The address of the flower as it was after so many of its steps.
export const addressAfter = ({ url, steps }, step) => (step >= steps ? url : url.replace(/\.png$/, `-after${step}.png`));

// Where seeds decide, kinds change on the way. One that was asked for stays, so both ends must be of it.
const isChosen = (from, to) => Boolean(from.askedKind || to.askedKind);
export const canMorph = (from, to) => from.seed !== to.seed && (!isChosen(from, to) || from.kind === to.kind);
export const addressOfMorph = (from, to, frames) =>
  `/morphs/${from.seed}-${to.seed}.webp?frames=${frames}&steps=${from.steps}&sampler=${from.sampler}` +
  (isChosen(from, to) ? `&kind=${encodeURIComponent(from.kind)}` : "");
